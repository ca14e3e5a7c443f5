/** When a changed value takes effect: at once, at the next start of the agent, or only on a drained node. */
export type Liveness = "live" | "restart" | "drain";

/** One option: its default (which also gives its type), what it does, and when a change takes effect. */
export interface Option<T> {
  readonly default: T;
  readonly doc: string;
  readonly liveness: Liveness;
  /** Allowed values, for words. */
  readonly oneOf?: readonly T[];
  /** Allowed elements, for lists of words. */
  readonly each?: readonly string[];
  /** Inclusive bounds, for numbers. */
  readonly min?: number;
  readonly max?: number;
  /** What a number counts when it is a time: durations ("1m30s") are then understood where values are text. */
  readonly unit?: "s" | "ms";
  /** Its name where the field has one that means the same; default: the option's own, in words. */
  readonly key?: string;
  /** Words of the list may have commas: where the list is text, only blanks part them. */
  readonly commas?: true;
  /** Said at the start of the process, by its file or flags: what is in the API cannot change it. */
  readonly atStart?: true;
}

/** A described set of options, by name. */
export type OptionSet = Readonly<Record<string, Option<string | number | boolean | readonly string[]>>>;

type Widen<T> = T extends string
  ? string
  : T extends number
    ? number
    : T extends boolean
      ? boolean
      : readonly string[];

/** The values of an option set. A word with `oneOf` keeps its literal type. */
export type Values<S extends OptionSet> = {
  readonly [K in keyof S]: S[K] extends { oneOf: readonly (infer W)[] } ? W : Widen<S[K]["default"]>;
};

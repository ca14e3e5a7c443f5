import { readFileSync } from "node:fs";
import { AxonError } from "@axoneme/base";
import { load } from "js-yaml";

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

/**
 * Checks raw values against the options and fills in defaults.
 * @throws AxonError `config.invalid` naming every unknown option and every bad value at once.
 */
export function parseOptions<S extends OptionSet>(
  options: S,
  raw: Readonly<Record<string, unknown>>,
): Values<S> {
  const problems: string[] = [];
  for (const name of Object.keys(raw)) {
    if (!(name in options)) problems.push(`unknown option "${name}"`);
  }
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const value = raw[name] ?? option.default;
    const problem = check(option, value);
    if (problem) problems.push(`"${name}" ${problem}, got ${JSON.stringify(value)}`);
    values[name] = value;
  }
  if (problems.length > 0) {
    throw new AxonError("config.invalid", `configuration refused: ${problems.join("; ")}`);
  }
  return values as Values<S>;
}

/**
 * Reads a YAML or JSON configuration file.
 * @throws AxonError `config.unreadable` when the file is missing or not a mapping, `config.invalid` as parseOptions.
 */
export function loadOptions<S extends OptionSet>(options: S, path: string): Values<S> {
  let raw: unknown;
  try {
    raw = load(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new AxonError("config.unreadable", `cannot read the configuration ${path}: ${String(cause)}`, {
      cause,
    });
  }
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
    throw new AxonError(
      "config.unreadable",
      `the configuration ${path} is not a mapping of option names to values`,
    );
  }
  return parseOptions(options, raw as Record<string, unknown>);
}

function check(option: Option<unknown>, value: unknown): string | undefined {
  if (Array.isArray(option.default)) {
    if (!Array.isArray(value) || !value.every((v) => typeof v === "string"))
      return "must be a list of strings";
    const { each } = option;
    return each && !value.every((v) => each.includes(v)) ? `may contain only ${each.join(", ")}` : undefined;
  }
  if (typeof value !== typeof option.default) return `must be a ${typeof option.default}`;
  if (option.oneOf && !option.oneOf.includes(value)) return `must be one of ${option.oneOf.join(", ")}`;
  if (typeof value === "number") {
    if (!Number.isInteger(value)) return "must be a whole number";
    if (option.min !== undefined && value < option.min) return `must be at least ${option.min}`;
    if (option.max !== undefined && value > option.max) return `must be at most ${option.max}`;
  }
  return undefined;
}

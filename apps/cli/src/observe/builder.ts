import type { FlowFilter } from "@axoneme/flow";
import { usageError } from "../errors.ts";

/** Side of a flow that a selector is about: `--from-x`, `--to-x`, or `--x` (either). */
export type Side = "from" | "to" | "any";
/** Selectors that exist for both sides of a flow: the field's name without `source_`/`destination_`. */
export type Selector =
  | "pod"
  | "namespace"
  | "label"
  | "fqdn"
  | "ip"
  | "service"
  | "port"
  | "identity"
  | "workload"
  | "cluster_name"
  | "process";

type Values = unknown[];

/** The flags given for one list (white or black). */
class Tracker {
  readonly #sides = new Map<string, Values>();
  readonly #plain = new Map<keyof FlowFilter, Values>();

  side(side: Side, selector: Selector, value: unknown): void {
    const key = `${side} ${selector}`;
    this.#sides.set(key, [...(this.#sides.get(key) ?? []), value]);
  }

  plain(field: keyof FlowFilter, value: unknown): void {
    this.#plain.set(field, [...(this.#plain.get(field) ?? []), value]);
  }

  /** `left` OR `right`: a selector without a side is the source in one and the destination in the other. */
  filters(): FlowFilter[] {
    this.#checkConflicts();
    const left: Record<string, Values> = {};
    const right: Record<string, Values> = {};
    for (const [field, values] of this.#plain) left[field] = right[field] = values;
    for (const side of ["from", "to", "any"] as const) {
      for (const [selector, values] of this.#selectors(side)) {
        if (side !== "to") left[`source_${selector}`] = values;
        if (side === "from") right[`source_${selector}`] = values;
        if (side !== "from") right[`destination_${selector}`] = values;
        if (side === "to") left[`destination_${selector}`] = values;
      }
    }
    if (Object.keys(left).length === 0) return [];
    return JSON.stringify(left) === JSON.stringify(right) ? [left] : [left, right];
  }

  /** Values of one side by selector, the namespaces merged into the pods. */
  #selectors(side: Side): Map<string, Values> {
    const found = new Map<string, Values>();
    for (const [key, values] of this.#sides) {
      const [of, selector] = key.split(" ");
      if (of === side && selector !== undefined) found.set(selector, values);
    }
    const namespaces = (found.get("namespace") ?? []) as string[];
    found.delete("namespace");
    if (namespaces.length > 0) found.set("pod", podsIn(namespaces, (found.get("pod") ?? []) as string[]));
    return found;
  }

  #checkConflicts(): void {
    for (const key of this.#sides.keys()) {
      const [side, selector] = key.split(" ");
      if (side !== "any") continue;
      const other = ["from", "to"].find((of) => this.#sides.has(`${of} ${selector}`));
      if (other === undefined) continue;
      const flag = selector?.replace("_name", "");
      throw usageError(
        `--${flag} and --${other}-${flag} cannot be combined`,
        `--${flag} means either side: use --from-${flag} and --to-${flag}`,
      );
    }
  }
}

/** Pods are looked for in the namespaces given; without pods, all of the namespaces. */
function podsIn(namespaces: readonly string[], pods: readonly string[]): string[] {
  if (pods.length === 0) return namespaces.map((namespace) => `${namespace}/`);
  return pods.flatMap((pod) => {
    if (pod === "/") throw usageError("--namespace and --all-namespaces cannot be combined");
    const slash = pod.indexOf("/");
    if (slash <= 0) return namespaces.map((namespace) => `${namespace}/${pod.slice(slash + 1)}`);
    if (namespaces.includes(pod.slice(0, slash))) return [pod];
    throw usageError(`--pod ${pod} is in none of the namespaces given (${namespaces.join(", ")})`);
  });
}

/**
 * Collects the filter flags of `hubble observe` in the order of the command line (`--not` is about the next one) and
 * makes the two lists of a request of them.
 */
export class FilterBuilder {
  readonly #white = new Tracker();
  readonly #black = new Tracker();
  readonly #rawWhite: FlowFilter[] = [];
  readonly #rawBlack: FlowFilter[] = [];
  #negated = false;

  /** The next filter excludes. */
  not(): void {
    if (this.#negated) throw usageError("--not is given twice in a row");
    this.#negated = true;
  }

  side(side: Side, selector: Selector, value: unknown): void {
    this.#next().side(side, selector, value);
  }

  plain(field: keyof FlowFilter, ...values: unknown[]): void {
    const tracker = this.#next();
    for (const value of values) tracker.plain(field, value);
  }

  /** A whole FlowFilter, given as JSON. */
  raw(list: "allow" | "deny", filter: FlowFilter): void {
    (list === "allow" ? this.#rawWhite : this.#rawBlack).push(filter);
  }

  /** @throws CliError usage, for flags that contradict each other */
  build(): { whitelist: FlowFilter[]; blacklist: FlowFilter[] } {
    if (this.#negated)
      throw usageError("--not must be followed by a filter", "as in: --not --pod kube-system/coredns");
    return {
      whitelist: [...this.#white.filters(), ...this.#rawWhite],
      blacklist: [...this.#black.filters(), ...this.#rawBlack],
    };
  }

  #next(): Tracker {
    const tracker = this.#negated ? this.#black : this.#white;
    this.#negated = false;
    return tracker;
  }
}

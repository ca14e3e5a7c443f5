import { AxonError } from "@axoneme/base";
import type { FlowFilter, FlowMatcher } from "@axoneme/flow";

/** Metrics that are counted. */
export const metricNames = [
  "dns",
  "drop",
  "tcp",
  "flow",
  "flows-to-world",
  "icmp",
  "port-distribution",
  "policy",
] as const;
export type MetricName = (typeof metricNames)[number];

/** Metrics of the field that need what is not observed yet. They are accepted, so that its settings can be used. */
const laterNames = new Set(["http", "httpV2", "kafka", "sctp"]);

/** What `sourceContext` and `destinationContext` choose from. */
export const identifiers = [
  "identity",
  "namespace",
  "pod",
  "pod-name",
  "dns",
  "ip",
  "reserved-identity",
  "workload",
  "workload-name",
  "app",
] as const;
export type Identifier = (typeof identifiers)[number];

/** What `labelsContext` chooses from, in the order in which labels are written. */
export const contextLabels = [
  "source_ip",
  "source_pod",
  "source_namespace",
  "source_workload",
  "source_workload_kind",
  "source_app",
  "destination_ip",
  "destination_pod",
  "destination_namespace",
  "destination_workload",
  "destination_workload_kind",
  "destination_app",
  "traffic_direction",
] as const;
export type ContextLabel = (typeof contextLabels)[number];

/** The first of the list that is known names a side; `egress` and `ingress` replace `any` for flows of that direction. */
export interface SideContext {
  readonly any?: readonly Identifier[];
  readonly egress?: readonly Identifier[];
  readonly ingress?: readonly Identifier[];
}

/** Which labels about the two sides a metric has. */
export interface ContextSpec {
  readonly source: SideContext;
  readonly destination: SideContext;
  readonly labels: readonly ContextLabel[];
}

/** One metric as asked for. */
export interface MetricSpec {
  readonly name: MetricName;
  readonly context: ContextSpec;
  /**
   * Options of `dns`: `query` adds a label, `ignoreAAAA` leaves questions for IPv6 addresses out. Options of
   * `flows-to-world`: `port` adds a label, `any-drop` counts drops for any reason, `syn-only` the first packets of TCP.
   */
  readonly options: ReadonlySet<string>;
  /** Which flows are counted; absent: all. */
  readonly filter?: MetricFilter;
}

/** The flows that a metric counts: as in a request for flows. */
export interface MetricFilter {
  readonly include: readonly FlowFilter[];
  readonly exclude: readonly FlowFilter[];
  readonly matcher: FlowMatcher;
}

/** Metrics that are asked for, and those of the field that cannot be counted yet. */
export interface MetricSpecs {
  readonly specs: readonly MetricSpec[];
  readonly later: readonly string[];
}

const ownOptions: Partial<Record<MetricName, readonly string[]>> = {
  dns: ["query", "ignoreAAAA"],
  "flows-to-world": ["any-drop", "port", "syn-only"],
};

/**
 * Reads metrics as the field writes them: `name[:option[=value][;option...]]`, several in a text apart by blanks, as
 * `flow:sourceContext=workload-name|reserved-identity;labelsContext=source_namespace`.
 * @throws AxonError `observe.metric_invalid` naming the metric, what of it is wrong, and what would be right
 */
export function parseMetricSpecs(texts: readonly string[]): MetricSpecs {
  const specs = new Map<string, MetricSpec>();
  const later: string[] = [];
  for (const text of texts.flatMap((part) => part.split(/\s+/)).filter((part) => part !== "")) {
    const colon = text.indexOf(":");
    const name = colon < 0 ? text : text.slice(0, colon);
    if (laterNames.has(name)) {
      later.push(name);
      continue;
    }
    const known = metricNames.find((candidate) => candidate === name);
    if (known === undefined) throw bad(text, `"${name}" is unknown`, metricNames);
    if (specs.has(known)) throw bad(text, `"${name}" is listed twice; give all its options in one`);
    specs.set(known, parseSpec(text, known, colon < 0 ? "" : text.slice(colon + 1)));
  }
  return { specs: [...specs.values()], later };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function parseSpec(text: string, name: MetricName, options: string): MetricSpec {
  const source: Mutable<SideContext> = {};
  const destination: Mutable<SideContext> = {};
  let labels: readonly ContextLabel[] = [];
  const own = new Set<string>();
  for (const option of options.split(";").filter((part) => part !== "")) {
    const equal = option.indexOf("=");
    const key = equal < 0 ? option : option.slice(0, equal);
    const value = equal < 0 ? "" : option.slice(equal + 1);
    const side = /^(source|destination)(Egress|Ingress|)Context$/.exec(key);
    if (side !== null) {
      const of = side[1] === "source" ? source : destination;
      of[directionKeys[side[2] ?? ""] ?? "any"] = pick(text, key, value.split("|"), identifiers);
    } else if (key === "labelsContext") {
      const chosen = new Set(pick(text, key, value.split(","), contextLabels));
      labels = contextLabels.filter((label) => chosen.has(label));
    } else if (ownOptions[name]?.includes(key) === true) {
      if (value !== "false") own.add(key);
    } else {
      throw bad(text, `has no option "${key}"`, [...contextOptions, ...(ownOptions[name] ?? [])]);
    }
  }
  return { name, context: { source, destination, labels }, options: own };
}

const directionKeys: Readonly<Record<string, keyof SideContext>> = { Egress: "egress", Ingress: "ingress" };
const contextOptions = [
  "sourceContext",
  "sourceEgressContext",
  "sourceIngressContext",
  "destinationContext",
  "destinationEgressContext",
  "destinationIngressContext",
  "labelsContext",
];

function pick<T extends string>(text: string, key: string, values: string[], from: readonly T[]): T[] {
  return values.map((value) => {
    const known = from.find((candidate) => candidate === value);
    if (known === undefined) throw bad(text, `${key} has the unknown value "${value}"`, from);
    return known;
  });
}

function bad(text: string, why: string, known?: readonly string[]): AxonError {
  const choice = known === undefined ? "" : ` (known: ${known.join(", ")})`;
  return new AxonError("observe.metric_invalid", `metric "${text}": ${why}${choice}`);
}

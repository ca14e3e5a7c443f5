import { type LabelSource, type Labels, splitKey } from "@axoneme/identity";

/** One condition on the labels of an identity. Source `any` looks at every source. */
export interface Requirement {
  source: LabelSource;
  key: string;
  op: "In" | "NotIn" | "Exists" | "DoesNotExist";
  /** For In and NotIn. */
  values: readonly string[];
}

/** All requirements must hold; none = everything. */
export interface Selector {
  requirements: readonly Requirement[];
}

/** Labels by key, each with the sources it comes from: the form selectors look at. */
export type LabelMap = ReadonlyMap<string, readonly { source: string; value: string }[]>;

/** Files labels by key. A world identity of one family also counts as `reserved:world`. */
export function labelMap(labels: Labels): LabelMap {
  const map = new Map<string, { source: string; value: string }[]>();
  const file = (source: string, key: string, value: string): void => {
    const entries = map.get(key);
    if (entries === undefined) map.set(key, [{ source, value }]);
    else entries.push({ source, value });
  };
  let family = false;
  for (const [text, value] of Object.entries(labels)) {
    const { source, key } = splitKey(text, "unspec");
    file(source, key, value);
    if (source === "reserved" && (key === "world-ipv4" || key === "world-ipv6")) family = true;
  }
  if (family && labels["reserved:world"] === undefined) file("reserved", "world", "");
  return map;
}

/** Whether a requirement holds. NotIn holds when the key is absent, as in Kubernetes. */
function holds(requirement: Requirement, labels: LabelMap): boolean {
  const { source, key, op, values } = requirement;
  let present = false;
  let valued = false;
  for (const entry of labels.get(key) ?? []) {
    if (source !== "any" && entry.source !== source) continue;
    present = true;
    if (values.includes(entry.value)) valued = true;
  }
  if (op === "In") return valued;
  if (op === "NotIn") return !valued;
  return op === "Exists" ? present : !present;
}

/** Whether the selector selects these labels. */
export function selects(selector: Selector, labels: LabelMap): boolean {
  return selector.requirements.every((requirement) => holds(requirement, labels));
}

/** The same text for selectors that say the same in another order. */
export function selectorText(selector: Selector): string {
  const texts = selector.requirements.map(({ source, key, op, values }) => {
    const name = `${source}:${key}`;
    if (op === "Exists") return name;
    if (op === "DoesNotExist") return `!${name}`;
    return `${name} ${op === "In" ? "in" : "notin"} (${[...new Set(values)].sort().join(",")})`;
  });
  return [...new Set(texts)].sort().join(" && ");
}

/** A requirement that `source:key` exists. */
export function exists(source: LabelSource, key: string): Requirement {
  return { source, key, op: "Exists", values: [] };
}

/** A requirement that `source:key` has this value. */
export function equals(source: LabelSource, key: string, value: string): Requirement {
  return { source, key, op: "In", values: [value] };
}

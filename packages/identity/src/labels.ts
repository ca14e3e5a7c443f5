import { AxonError } from "@axoneme/base";

/**
 * Labels of an identity: `source:key` -> value, the form of CiliumIdentity's `security-labels`
 * (`{"k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "shop"}`, `{"reserved:host": ""}`).
 */
export type Labels = Readonly<Record<string, string>>;

/** Where labels come from; `any` occurs in selectors only. */
export const labelSources = [
  "any",
  "k8s",
  "reserved",
  "cidr",
  "cidrgroup",
  "node",
  "fqdn",
  "gen",
  "cni",
  "directory",
  "unspec",
] as const;
export type LabelSource = (typeof labelSources)[number];

const SOURCES: ReadonlySet<string> = new Set(labelSources);

/** Keys that carry meaning of their own; all with source `k8s`. */
export const labelKeys = {
  namespace: "io.kubernetes.pod.namespace",
  namespaceLabels: "io.cilium.k8s.namespace.labels.",
  cluster: "io.cilium.k8s.policy.cluster",
  serviceAccount: "io.cilium.k8s.policy.serviceaccount",
} as const;

/** Splits `source:key` at the first colon; without a known source before it, the source is `fallback`. */
export function splitKey(text: string, fallback: LabelSource = "any"): { source: LabelSource; key: string } {
  const colon = text.indexOf(":");
  const source = colon < 0 ? "" : text.slice(0, colon);
  if (!SOURCES.has(source)) return { source: fallback, key: text };
  return { source: source as LabelSource, key: text.slice(colon + 1) };
}

/** Labels as lines `source:key=value` (`source:key` when the value is empty), sorted: for people and flows. */
export function labelLines(labels: Labels): string[] {
  const lines: string[] = [];
  for (const key in labels) lines.push(labels[key] === "" ? key : `${key}=${labels[key]}`);
  return lines.sort();
}

/** Parses a line of {@link labelLines}. Throws `label.invalid` for an empty key. */
export function parseLabelLine(line: string): [sourceKey: string, value: string] {
  const equals = line.indexOf("=");
  const text = equals < 0 ? line : line.slice(0, equals);
  const { source, key } = splitKey(text, "unspec");
  if (key === "") throw new AxonError("label.invalid", `label "${line}" has no key`);
  // Without a source it gets one; any other text is taken as it is.
  const sourceKey = key === text ? `${source}:${key}` : text;
  return [sourceKey, equals < 0 ? "" : line.slice(equals + 1)];
}

/** Parses what {@link labelLines} made. Throws `label.invalid` for an empty key. */
export function parseLabelLines(lines: readonly string[]): Labels {
  const labels: Record<string, string> = {};
  for (const line of lines) {
    const [sourceKey, value] = parseLabelLine(line);
    labels[sourceKey] = value;
  }
  return labels;
}

/** The canonical text of a set of labels: `source:key=value;` each, in order of key. Equal sets, equal texts. */
export function identityKey(labels: Labels): string {
  const texts = Object.keys(labels);
  // Nearly always: with one source, the order of the whole texts is the order of the keys.
  if (texts.every((text) => text.startsWith("k8s:"))) {
    let joined = "";
    for (const text of texts.sort()) joined += `${text}=${labels[text]};`;
    return joined;
  }
  return Object.entries(labels)
    .map(([text, value]) => ({ ...splitKey(text, "unspec"), value }))
    .sort((a, b) => order(a.key, b.key) || order(a.source, b.source))
    .map(({ source, key, value }) => `${source}:${key}=${value};`)
    .join("");
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

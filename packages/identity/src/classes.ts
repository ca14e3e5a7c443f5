import { type Labels, labelKeys, splitKey } from "./labels.ts";

/** First and last number of classes that one node keeps for itself; they never leave it. */
export const classScope = { first: 0x0300_0001, last: 0x03ff_ffff } as const;

/** Whether the number is of a class that this node keeps for itself. */
export function isClassIdentity(id: number): boolean {
  return id >>> 24 === 3;
}

const portPrefix = "axoneme.io/port.";

/** A container port with a name, as far as classes look at it. */
export interface ClassPort {
  readonly name: string;
  readonly port: number;
  /** TCP, UDP or SCTP. */
  readonly protocol: string;
}

/** The key under which a port's name takes part in classes: `axoneme.io/port.http.TCP`. */
export function portKey(name: string, protocol: string): string {
  return `${portPrefix}${name}.${protocol}`;
}

/** What a key of {@link portKey} says; undefined for any other. */
export function readPortKey(key: string): { name: string; protocol: string } | undefined {
  const dot = key.lastIndexOf(".");
  if (!key.startsWith(portPrefix) || dot < portPrefix.length) return undefined;
  return { name: key.slice(portPrefix.length, dot), protocol: key.slice(dot + 1) };
}

/** Whether a label (`source:key`, or a line of it) only says what a port is called: nothing for people. */
export function isPortLabel(text: string): boolean {
  return text.startsWith(`gen:${portPrefix}`);
}

/** A pod's labels and, as labels of source `gen`, what its ports are called. */
export function withPorts(labels: Labels, ports: readonly ClassPort[]): Labels {
  if (ports.length === 0) return labels;
  const numbers = new Map<string, Set<number>>();
  for (const { name, port, protocol } of ports) {
    const key = `gen:${portKey(name, protocol)}`;
    numbers.set(key, (numbers.get(key) ?? new Set()).add(port));
  }
  const texts = [...numbers].map(([key, set]) => [key, [...set].sort((a, b) => a - b).join("_")] as const);
  return { ...labels, ...Object.fromEntries(texts) };
}

/** Named by nearly every policy, and one class a namespace at most: always part of a class. */
const always: ReadonlySet<string> = new Set([
  labelKeys.namespace,
  labelKeys.cluster,
  `${labelKeys.namespaceLabels}kubernetes.io/metadata.name`,
]);

/** Which label keys tell pods apart. Keys are without source. */
export class RelevantKeys {
  readonly #mode: "classes" | "labels";
  readonly #keys = new Set<string>();

  /** @param mode `labels`: every label does, as in the field; ports have no part then. */
  constructor(mode: "classes" | "labels" = "classes") {
    this.#mode = mode;
  }

  has(key: string): boolean {
    if (this.#mode === "labels") return !key.startsWith(portPrefix);
    return always.has(key) || this.#keys.has(key);
  }

  /** Adds keys; those that were not relevant before. */
  add(keys: Iterable<string>): string[] {
    if (this.#mode === "labels") return [];
    const fresh = [...new Set(keys)].filter((key) => !this.has(key));
    for (const key of fresh) this.#keys.add(key);
    return fresh;
  }

  delete(key: string): boolean {
    return this.#keys.delete(key);
  }

  /** Those that policies made relevant, besides the ones that always are. */
  named(): Iterable<string> {
    return this.#keys;
  }
}

/** The labels of the class a pod belongs to: those of its labels whose keys are relevant, and what is reserved. */
export function classLabels(labels: Labels, relevant: Pick<RelevantKeys, "has">): Labels {
  const kept: Record<string, string> = {};
  for (const text in labels) if (takesPart(text, relevant)) kept[text] = labels[text] ?? "";
  return kept;
}

function takesPart(text: string, relevant: Pick<RelevantKeys, "has">): boolean {
  const { source, key } = splitKey(text, "unspec");
  return source === "reserved" || relevant.has(key);
}

/**
 * Whether an identity with these labels answers every selector on relevant keys as the pod itself would: it says
 * nothing that is not so, and nothing relevant is missing.
 */
export function answersFor(identity: Labels, pod: Labels, relevant: Pick<RelevantKeys, "has">): boolean {
  for (const text in identity) if (pod[text] !== identity[text]) return false;
  for (const text in pod) if (identity[text] === undefined && takesPart(text, relevant)) return false;
  return true;
}

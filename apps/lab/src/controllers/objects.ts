import type { Pod, PodTemplateSpec } from "kubernetes-types/core/v1";
import type {
  LabelSelector,
  LabelSelectorRequirement,
  ObjectMeta,
  OwnerReference,
} from "kubernetes-types/meta/v1";

/** Any Kubernetes object as it comes from the API: the parts every controller may rely on. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** A condition as it stands in the status of workloads, pods and nodes. */
export interface StatusCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
  lastUpdateTime?: string;
}

export function meta(object: KubeObject): ObjectMeta {
  return object.metadata ?? {};
}

export function nameOf(object: KubeObject): string {
  return object.metadata?.name ?? "";
}

export function uidOf(object: KubeObject): string {
  return object.metadata?.uid ?? "";
}

/** "namespace/name", or "name" for what has no namespace: the key of caches and queues. */
export function keyOf(object: KubeObject): string {
  return joinKey(object.metadata?.namespace, nameOf(object));
}

export function joinKey(namespace: string | undefined, name: string): string {
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

/** Splits what {@link joinKey} made. */
export function splitKey(key: string): { namespace: string | undefined; name: string } {
  const slash = key.indexOf("/");
  return slash < 0
    ? { namespace: undefined, name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

export function isDeleting(object: KubeObject): boolean {
  return object.metadata?.deletionTimestamp !== undefined;
}

/** The owner marked `controller: true`, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((owner) => owner.controller === true);
}

export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return controllerOf(object)?.uid === uidOf(owner);
}

/** The owner reference that marks `owner` as the managing controller of an object. */
export function controllerRef(owner: KubeObject, apiVersion: string, kind: string): OwnerReference {
  return {
    apiVersion,
    kind,
    name: nameOf(owner),
    uid: uidOf(owner),
    controller: true,
    blockOwnerDeletion: true,
  };
}

export type Labels = Readonly<Record<string, string>>;

/** `undefined` selects nothing, an empty selector everything, as in the API. */
export function selectorMatches(selector: LabelSelector | undefined, labels: Labels | undefined): boolean {
  if (selector === undefined) return false;
  return (
    mapMatches(selector.matchLabels, labels) &&
    (selector.matchExpressions ?? []).every((term) => requirementMatches(term, labels ?? {}))
  );
}

/** True when every pair of `wanted` is among `labels`. */
export function mapMatches(wanted: Labels | undefined, labels: Labels | undefined): boolean {
  return Object.entries(wanted ?? {}).every(([key, value]) => labels?.[key] === value);
}

/** One `matchExpressions` term; also understands node affinity's `Gt` and `Lt`. */
export function requirementMatches(term: LabelSelectorRequirement, labels: Labels): boolean {
  const value = labels[term.key];
  switch (term.operator) {
    case "In":
      return value !== undefined && (term.values ?? []).includes(value);
    case "NotIn":
      return value === undefined || !(term.values ?? []).includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(term.values?.[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(term.values?.[0]);
    default:
      return false;
  }
}

export function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** Counts towards a controller's replicas: neither finished nor being deleted. */
export function isActive(pod: Pod): boolean {
  return !isTerminal(pod) && !isDeleting(pod);
}

export function condition<C extends { type: string }>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((candidate) => candidate.type === type);
}

export function isReady(pod: Pod): boolean {
  return condition(pod.status?.conditions, "Ready")?.status === "True";
}

/** Milliseconds until a ready pod counts as available (0: it does now; Infinity: it is not ready). */
export function untilAvailable(pod: Pod, minReadySeconds: number, now: number): number {
  const ready = condition(pod.status?.conditions, "Ready");
  if (ready?.status !== "True") return Number.POSITIVE_INFINITY;
  if (minReadySeconds === 0) return 0;
  const since = Date.parse(ready.lastTransitionTime ?? "");
  if (Number.isNaN(since)) return Number.POSITIVE_INFINITY;
  return Math.max(0, since + minReadySeconds * 1000 - now);
}

export function isAvailable(pod: Pod, minReadySeconds: number, now: number): boolean {
  return untilAvailable(pod, minReadySeconds, now) === 0;
}

/** The API's timestamps have whole seconds. */
export function timestamp(now: number): string {
  return new Date(now).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/**
 * The conditions with `next` in place of its type. `lastTransitionTime` moves only when the status
 * changes; the same array comes back when nothing does, so that callers may compare by identity.
 */
export function withCondition<C extends StatusCondition>(
  conditions: readonly C[] | undefined,
  next: C,
  now: number,
): readonly C[] {
  const list = conditions ?? [];
  const old = condition(list, next.type);
  if (old?.status === next.status && old.reason === next.reason && old.message === next.message) return list;
  const lastTransitionTime =
    old !== undefined && old.status === next.status && old.lastTransitionTime !== undefined
      ? old.lastTransitionTime
      : timestamp(now);
  const merged: C = { ...next, lastTransitionTime };
  return old === undefined
    ? [...list, merged]
    : list.map((entry) => (entry.type === next.type ? merged : entry));
}

/** An absolute number or a percentage of `total`. */
export function resolveIntOrPercent(
  value: number | string | undefined,
  total: number,
  round: "up" | "down",
): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  const match = /^(\d+)%$/.exec(value);
  if (match === null) return Number.parseInt(value, 10) || 0;
  const share = (Number(match[1]) * total) / 100;
  return round === "up" ? Math.ceil(share) : Math.floor(share);
}

/** Structural equality of JSON values; a missing and an undefined field are the same. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  for (const key of keys) if (!sameJson(left[key], right[key])) return false;
  return true;
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(",")}}`;
}

const hashAlphabet = "bcdfghjklmnpqrstvwxz2456789";

/** A short name-safe hash of a JSON value that does not depend on the order of keys (FNV-1a, 64 bit). */
export function hashJson(value: unknown, salt = 0): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(`${salt}:${canonical(value)}`)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  let text = "";
  for (let i = 0; i < 10; i++) {
    text += hashAlphabet[Number(hash % 27n)];
    hash /= 27n;
  }
  return text;
}

/** Five characters for generated names, without vowels (no words) and easily confused digits. */
export function randomSuffix(random: () => number = Math.random): string {
  let text = "";
  for (let i = 0; i < 5; i++) text += hashAlphabet[Math.floor(random() * hashAlphabet.length)];
  return text;
}

/** The pod a template describes, without a name. */
export function podFromTemplate(template: PodTemplateSpec | undefined, namespace: string | undefined): Pod {
  const { labels, annotations, finalizers } = template?.metadata ?? {};
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels === undefined ? {} : { labels: { ...labels } }),
      ...(annotations === undefined ? {} : { annotations: { ...annotations } }),
      ...(finalizers === undefined ? {} : { finalizers: [...finalizers] }),
    },
    ...(template?.spec === undefined ? {} : { spec: structuredClone(template.spec) }),
  };
}

/** The items by key, in their order (Node 20 has no Map.groupBy). */
export function groupBy<T, K>(items: Iterable<T>, key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}

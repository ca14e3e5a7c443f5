import { type Prefix, prefixCovers } from "@axoneme/base";
import type { Labels } from "@axoneme/identity";
import { covers4, onePort } from "./l4.ts";
import type { ContainerPort } from "./peerports.ts";
import { isObject, type Raw } from "./reader.ts";
import type { Peer, Policy, Rule } from "./rule.ts";
import { parsePolicy } from "./sandbox.ts";
import { type LabelMap, labelMap, selects } from "./selector.ts";

/** The connection that an entry is known to match. */
export interface MatchedConnection {
  /** Of the peer's identity, those for DNS names too. */
  readonly labels: Labels;
  /** Its address, when it is outside of the cluster. */
  readonly prefix?: Prefix;
  /** Named ports of the destination. */
  readonly ports?: readonly ContainerPort[];
  readonly proto: number;
  /** Destination port; ICMP: the type. */
  readonly port: number;
}

const PORT_FIELDS: readonly string[] = ["toPorts", "ports", "protocols", "icmps"];
/** `from`, `toEndpoints`, `fromCIDRSet`, ...: whom an entry is about. */
const PEER_FIELD = /^(from|to)($|[A-Z])/;

/**
 * What in an entry of a policy object matches a connection: paths of peers and ports, as `spec.ingress[0].toPorts[1]`.
 * Each is tried alone, read as the whole object is. Peers that name other objects (groups, Services) are not looked up.
 */
export function matchedFields(object: unknown, path: string, connection: MatchedConnection): string[] {
  const entry = valueAt(object, path);
  if (!isObject(object) || !isObject(entry) || !path.includes("[")) return [];
  const labels = labelMap(connection.labels);
  const rulesOf = (changed: Raw): Rule[] => {
    const policy = parsePolicy(replaced(object, path, changed));
    return policy === undefined ? [] : rulesAt(policy, path);
  };
  const hasPeer = (changed: Raw) => rulesOf(changed).some((rule) => reaches(rule.peers, labels, connection));
  const hasPort = (changed: Raw) => rulesOf(changed).some((rule) => opens(rule, connection));
  return [...peersThat(entry, hasPeer), ...portsThat(entry, hasPort)].map((field) => `${path}.${field}`);
}

function rulesAt({ specs }: Policy, path: string): Rule[] {
  return specs.flatMap(({ rules }) => rules.filter((rule) => rule.path === path));
}

function opens({ l4, named }: Rule, { proto, port, ports = [] }: MatchedConnection): boolean {
  if (l4.some((outer) => covers4(outer, onePort(proto, port)))) return true;
  return ports.some(
    (its) =>
      its.proto === proto &&
      its.port === port &&
      named.some(({ name, proto: of }) => name === its.name && of === proto),
  );
}

function reaches(peers: readonly Peer[], labels: LabelMap, { prefix }: MatchedConnection): boolean {
  return peers.some((peer) => {
    if (peer.kind === "labels") return selects(peer.selector, labels);
    if (peer.kind !== "cidr") return peer.kind === "all";
    if (prefix === undefined || !prefixCovers(peer.prefix, prefix)) return false;
    return !peer.except.some((hole) => prefixCovers(hole, prefix));
  });
}

function peersThat(entry: Raw, holds: (entry: Raw) => boolean): string[] {
  const isPeer = (key: string) =>
    PEER_FIELD.test(key) && !PORT_FIELDS.includes(key) && !key.endsWith("Requires");
  const rest = Object.fromEntries(Object.entries(entry).filter(([key]) => !isPeer(key)));
  return Object.keys(entry)
    .filter(isPeer)
    .flatMap((key) => each(entry, key, (item) => holds({ ...rest, [key]: [item] })));
}

function portsThat(entry: Raw, holds: (entry: Raw) => boolean): string[] {
  return PORT_FIELDS.flatMap((key) =>
    each(entry, key, (item) => holds({ ...entry, [key]: [item] })).flatMap((field) => {
      const item = valueAt(entry, field);
      const list = key === "icmps" ? "fields" : "ports";
      const items = isObject(item) ? item[list] : undefined;
      if (!isObject(item) || !Array.isArray(items) || items.length < 2) return [field];
      const inner = each(item, list, (port) => holds({ ...entry, [key]: [{ ...item, [list]: [port] }] }));
      return inner.length === 0 ? [field] : inner.map((text) => `${field}.${text}`);
    }),
  );
}

function each(entry: Raw, key: string, holds: (item: unknown) => boolean): string[] {
  const list = entry[key];
  if (!Array.isArray(list)) return [];
  return list.flatMap((item, i) => (holds(item) ? [`${key}[${i}]`] : []));
}

/** A copy of the object with something else at a path. */
function replaced(object: unknown, path: string, value: unknown): unknown {
  const [first, ...rest] = stepsOf(path);
  const put = (into: unknown, step: string | number, steps: readonly (string | number)[]): unknown => {
    const [next, ...more] = steps;
    const below = Array.isArray(into) ? into[Number(step)] : isObject(into) ? into[String(step)] : undefined;
    const changed = next === undefined ? value : put(below, next, more);
    if (Array.isArray(into)) return into.map((item, i) => (i === step ? changed : item));
    return { ...(isObject(into) ? into : {}), [String(step)]: changed };
  };
  return first === undefined ? value : put(object, first, rest);
}

/** The steps of a path: `spec.ingress[0]` = spec, ingress, 0. */
export function stepsOf(path: string): (string | number)[] {
  return [...path.matchAll(/[^.[\]]+/g)].map(([step]) => (/^\d+$/.test(step) ? Number(step) : step));
}

/** What is at a path of an object; undefined: nothing. */
export function valueAt(object: unknown, path: string): unknown {
  let value: unknown = object;
  for (const step of stepsOf(path)) {
    if (Array.isArray(value) && typeof step === "number") value = value[step];
    else if (isObject(value)) value = value[String(step)];
    else return undefined;
  }
  return value;
}

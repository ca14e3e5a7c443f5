import { formatPrefix, isV4Prefix, type Prefix } from "@axoneme/base";
import type { Labels } from "./labels.ts";

/** Reserved numeric identities, numbers as in the field (and in `enum ax_identity`). */
export const reserved = {
  unknown: 0,
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  remoteNode: 6,
  kubeApiserver: 7,
  ingress: 8,
  worldIpv4: 9,
  worldIpv6: 10,
} as const;

const NAMES: readonly (readonly string[])[] = [
  ["unknown"],
  ["host"],
  ["world"],
  ["unmanaged"],
  ["health"],
  ["init"],
  ["remote-node"],
  ["kube-apiserver", "remote-node"],
  ["ingress"],
  ["world-ipv4"],
  ["world-ipv6"],
];

/** First and last number of identities shared by the cluster. */
export const clusterScope = { first: 256, last: 65_535 } as const;

/** First and last number of identities that never leave the node (CIDRs). */
export const localScope = { first: 0x0100_0001, last: 0x0100_ffff } as const;

/** First and last number of other nodes that rules tell apart by their labels; they never leave the node either. */
export const nodeScope = { first: 0x0200_0001, last: 0x0200_ffff } as const;

/** Labels of a reserved identity; undefined for any other number. */
export function reservedLabels(id: number): Labels | undefined {
  const names = NAMES[id];
  return names && Object.fromEntries(names.map((name) => [`reserved:${name}`, ""]));
}

/** Words for the reserved identities that packets can carry. */
export const reservedNames: readonly string[] = NAMES.slice(1).flatMap(([first = ""]) => first);

/** The reserved identity that policies and people call by this word; undefined for other words. */
export function reservedByName(name: string): number | undefined {
  const id = NAMES.findIndex(([first]) => first === name);
  return id > reserved.unknown ? id : undefined;
}

/** All reserved identities that packets can carry, with their labels. */
export function reservedIdentities(): { id: number; labels: Labels }[] {
  return NAMES.map((_, id) => ({ id, labels: reservedLabels(id) ?? {} })).filter(
    ({ id }) => id !== reserved.unknown,
  );
}

/** Text for tables: `reserved:host`, or the number. */
export function identityName(id: number): string {
  const first = NAMES[id]?.[0];
  return first === undefined ? String(id) : `reserved:${first}`;
}

/** Whether the number is of a node-local (CIDR) identity. */
export function isLocalIdentity(id: number): boolean {
  return id >>> 24 === 1;
}

/** Whether the number is of another node whose labels some rule names. */
export function isNodeIdentity(id: number): boolean {
  return id >>> 24 === 2;
}

/** Which world label and number an address family has: 9 and 10 with both families, else 2 for all. */
export function worldOf(v4: boolean, dualStack: boolean): { id: number; label: string } {
  if (!dualStack) return { id: reserved.world, label: "reserved:world" };
  if (v4) return { id: reserved.worldIpv4, label: "reserved:world-ipv4" };
  return { id: reserved.worldIpv6, label: "reserved:world-ipv6" };
}

/** Labels of a CIDR: `cidr:<prefix>` (IPv6 colons as dashes) and the world's; of a /0 only the world's. */
export function cidrLabels(prefix: Prefix, dualStack: boolean): Labels {
  const v4 = isV4Prefix(prefix);
  const world = { [worldOf(v4, dualStack).label]: "" };
  const everything = prefix.length === (v4 ? 96 : 0);
  return everything ? world : { [`cidr:${cidrText(prefix)}`]: "", ...world };
}

/** Key text of a CIDR label: no colons, and no dash at either end (`::1/128` is `0--1/128`). */
export function cidrText(prefix: Prefix): string {
  const text = formatPrefix(prefix);
  if (isV4Prefix(prefix)) return text;
  const [address = "", length = ""] = text.split("/");
  const dashed = address.replaceAll(":", "-");
  return `${dashed.startsWith("-") ? "0" : ""}${dashed}${dashed.endsWith("-") ? "0" : ""}/${length}`;
}

import { EpFlags } from "@axoneme/abi";
import { type Ip, isV4, parseIp } from "@axoneme/base";
import { type DatapathMaps, kernelSlots } from "@axoneme/datapath";
import {
  type BackendRow,
  choicesOf,
  type FrontendKey,
  Scope,
  ServiceFlag,
  type ServiceRow,
} from "@axoneme/loadbalancer";

/** Where a client is seen: the order of `enum ax_client_from` in bpf/lib/lb.h. */
export const ClientFrom = { outside: 0, inside: 1, socket: 2, host: 3 } as const;
export type ClientFrom = (typeof ClientFrom)[keyof typeof ClientFrom];

/** The rows by which the datapath decides, as they are in the kernel now. */
export interface DecisionRows {
  service(key: FrontendKey): ServiceRow | undefined;
  backend(id: number): BackendRow | undefined;
  /** The backend ids that a row chooses among. */
  choices(row: ServiceRow): Uint32Array;
  isNodePortAddress(ip: Ip): boolean;
  inSourceRanges(serviceId: number, client: Ip): boolean;
  isSkipped(serviceId: number, client: Ip): boolean;
  affinity(serviceId: number, client: Ip): { readonly backendId: number; readonly lastS: number } | undefined;
}

/** Bits before the address in the key of a source range. */
const wholeRange = 32 + 128;

/** Reads them from the maps. */
export function kernelRows(maps: DatapathMaps): DecisionRows {
  const slots = kernelSlots(maps.slots);
  return {
    service: (key) => maps.services.get(key),
    backend: (id) => maps.backends.get(id),
    choices: (row) => choicesOf(row, slots),
    isNodePortAddress: (ip) => ((maps.endpoints.get(ip)?.flags ?? 0) & EpFlags.NODEPORT) !== 0,
    inSourceRanges: (serviceId, client) =>
      maps.sourceRanges.get({ prefixlen: wholeRange, serviceId, addr: client }) !== undefined,
    isSkipped: (serviceId, client) => maps.skips.get({ serviceId, client }) !== undefined,
    affinity: (serviceId, client) => maps.affinity.get({ serviceId, client }),
  };
}

const wildcards = { v4: parseIp("0.0.0.0"), v6: parseIp("::") };

/** What a look-up found, and how it went on from the first row. */
export interface Found {
  readonly key: FrontendKey;
  readonly row: ServiceRow;
  readonly wildcard: boolean;
  readonly how: "first" | "internal" | "original";
}

/** The outcome of a look-up; `none` with the reason. */
export type Lookup =
  | { readonly found: Found }
  | { readonly none: string; readonly refused: boolean; readonly at?: Found };

/** What `service_for` in bpf/lib/lb.h does, step for step, with words for each way out. */
export function lookUp(
  rows: DecisionRows,
  dialled: Omit<FrontendKey, "scope">,
  client: Ip,
  from: ClientFrom,
): Lookup {
  const first = firstRow(rows, { ...dialled, scope: Scope.external }, from);
  if ("none" in first) return first;
  const { found } = first;
  const { flags, serviceId } = found.row;
  const outsideKinds =
    ServiceFlag.nodePort | ServiceFlag.loadBalancer | ServiceFlag.externalIp | ServiceFlag.hostPort;
  if (from === ClientFrom.outside && !(flags & outsideKinds))
    return { none: "a ClusterIP is not served to clients outside", refused: false, at: found };
  const restricted = (flags & ServiceFlag.sourceRanges) !== 0 && from !== ClientFrom.host;
  if (restricted && !rows.inSourceRanges(serviceId, client))
    return { none: "the client is in none of loadBalancerSourceRanges", refused: true, at: found };
  if (flags & ServiceFlag.skip && rows.isSkipped(serviceId, client))
    return again(rows, found, Scope.original, "original");
  if (flags & ServiceFlag.twoScopes && from !== ClientFrom.outside)
    return again(rows, found, Scope.internal, "internal");
  return { found };
}

function firstRow(rows: DecisionRows, key: FrontendKey, from: ClientFrom): Lookup {
  const exact = rows.service(key);
  if (exact) {
    if (exact.flags & ServiceFlag.loopbackOnly && from < ClientFrom.socket)
      return { none: "a host port on a loopback address is for sockets of this node", refused: false };
    return { found: { key, row: exact, wildcard: false, how: "first" } };
  }
  const loopback = from === ClientFrom.host && isLoopback(key.addr);
  if (!loopback && !rows.isNodePortAddress(key.addr))
    return {
      none: "no Service has this address and port, and it is no address of this node that serves NodePorts",
      refused: false,
    };
  const any = { ...key, addr: isV4(key.addr) ? wildcards.v4 : wildcards.v6 };
  const row = rows.service(any);
  if (!row) return { none: "no NodePort or host port has this number and protocol", refused: false };
  return { found: { key: any, row, wildcard: true, how: "first" } };
}

function again(rows: DecisionRows, found: Found, scope: number, how: "internal" | "original"): Lookup {
  const key = { ...found.key, scope };
  const row = rows.service(key);
  if (row) return { found: { key, row, wildcard: found.wildcard, how } };
  const none =
    how === "original"
      ? "the client is itself behind the local redirect, and nothing else serves the address"
      : "clients inside the cluster have no row";
  return { none, refused: false, at: found };
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(ip: Ip): boolean {
  if (isV4(ip)) return ip[12] === 127;
  return ip[15] === 1 && ip.subarray(0, 15).every((byte) => byte === 0);
}

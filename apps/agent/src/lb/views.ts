import { formatIp, type Ip } from "@axoneme/base";
import { protocolName } from "@axoneme/flow";
import {
  Algorithm,
  BackendFlag,
  type BackendRow,
  BackendState,
  Forwarding,
  type FrontendKey,
  Scope,
  ServiceFlag,
} from "@axoneme/loadbalancer";
import type { BackendView, FrontendScope, FrontendType } from "@axoneme/observe";

/** Who has an address, for people. */
export type PeerNames = (ip: Ip) => { readonly pod?: string; readonly node?: string };

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function socketOf({ addr, port }: { readonly addr: Ip; readonly port: number }): string {
  const ip = formatIp(addr);
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** A frontend's address; the wildcard of IPv4 as `0.0.0.0`. */
export function frontendOf({ addr, port, proto, scope }: FrontendKey) {
  return { address: formatIp(addr), port, protocol: protocolName(proto), scope: scopeOf(scope) };
}

/** The name of a scope. */
export function scopeOf(scope: number): FrontendScope {
  if (scope === Scope.internal) return "internal";
  return scope === Scope.original ? "original" : "external";
}

const types: readonly (readonly [bit: number, type: FrontendType])[] = [
  [ServiceFlag.localRedirect, "LocalRedirect"],
  [ServiceFlag.nodePort, "NodePort"],
  [ServiceFlag.loadBalancer, "LoadBalancer"],
  [ServiceFlag.externalIp, "ExternalIP"],
  [ServiceFlag.hostPort, "HostPort"],
];

/** What a frontend is, by its flags. A ClusterIP that is redirected stays one. */
export function typeOf(flags: number): FrontendType {
  if (flags & ServiceFlag.clusterIp) return "ClusterIP";
  return types.find(([bit]) => flags & bit)?.[1] ?? "ClusterIP";
}

const flagNames: readonly (readonly [bit: number, name: string])[] = [
  [ServiceFlag.twoScopes, "two-scopes"],
  [ServiceFlag.sourceRanges, "source-ranges"],
  [ServiceFlag.localOnly, "local-only"],
  [ServiceFlag.localRedirect, "local-redirect"],
  [ServiceFlag.skip, "skip"],
  [ServiceFlag.loopbackOnly, "loopback-only"],
  [ServiceFlag.topology, "topology"],
];

/** The names of what is special about a row. */
export function flagsOf(flags: number): string[] {
  return flagNames.filter(([bit]) => flags & bit).map(([, name]) => name);
}

/** The name of an algorithm. */
export function algorithmOf(algorithm: number): "random" | "maglev" {
  return algorithm === Algorithm.maglev ? "maglev" : "random";
}

/** The name of the way to other nodes. */
export function forwardingOf(forwarding: number): "snat" | "dsr" {
  return forwarding === Forwarding.dsr ? "dsr" : "snat";
}

/** A backend with the pod and node behind its address. */
export function backendOf(row: BackendRow, peers: PeerNames): BackendView {
  return {
    address: formatIp(row.addr),
    port: row.port,
    state: row.state === BackendState.terminating ? "terminating" : "active",
    local: (row.flags & BackendFlag.local) !== 0,
    ...peers(row.addr),
  };
}

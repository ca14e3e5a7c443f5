import { type Ip, ipCompare, isV4, tryParseIp } from "@axoneme/base";
import type { EndpointSliceObject, ServiceObject, ServicePort, SlicePort } from "./objects.ts";
import { BackendState, type FrontendKey, Scope, ServiceFlag, socketText } from "./rows.ts";

/** What the compiler must know of its node. */
export interface NodeContext {
  /** For traffic policy Local; undefined = not known, every endpoint counts. */
  nodeName: string | undefined;
  /** Addresses on which NodePorts are served. */
  nodeAddresses: readonly Ip[];
}

/** A backend of a service, usable for new connections or only kept for those it has. */
export interface DesiredBackend {
  addr: Ip;
  port: number;
  proto: number;
  state: number;
}

/** Backends a frontend chooses from, in slot order. */
export interface DesiredList {
  /** Names the list within its service. */
  key: string;
  backends: DesiredBackend[];
}

/** A frontend of a service. */
export interface DesiredFrontend {
  key: FrontendKey;
  flags: number;
  affinityTimeoutS: number;
  portName: string;
  list: DesiredList;
}

/** A service as it should stand in the maps. */
export interface DesiredService {
  frontends: DesiredFrontend[];
  /** Every endpoint there is: those not usable keep their row for the connections they have. */
  backends: DesiredBackend[];
}

const PROTO: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const DEFAULT_AFFINITY_S = 10_800;

/** One endpoint with the ports of its slice. */
interface Endpoint {
  addr: Ip;
  ports: readonly SlicePort[];
  local: boolean;
  ready: boolean;
  serving: boolean;
  terminating: boolean;
}

/** Whether the service is ours to balance: not headless, not external, not another proxy's. */
function isBalanced(service: ServiceObject): boolean {
  const labels = service.metadata?.labels ?? {};
  if (labels["service.kubernetes.io/service-proxy-name"] !== undefined) return false;
  if (labels["service.kubernetes.io/headless"] !== undefined) return false;
  return service.spec?.type !== "ExternalName" && service.spec?.clusterIP !== "None";
}

/** Compiles one service with its slices. Pure: equal input, equal output. */
export function compileService(
  service: ServiceObject | undefined,
  slices: Iterable<EndpointSliceObject>,
  node: NodeContext,
): DesiredService {
  if (service === undefined || !isBalanced(service)) return { frontends: [], backends: [] };
  const endpoints = endpointsOf(slices, node.nodeName, service.spec?.publishNotReadyAddresses === true);
  const lists = new Map<string, DesiredList>();
  const frontends: DesiredFrontend[] = [];
  const all = new Map<string, DesiredBackend>();
  for (const port of service.spec?.ports ?? []) {
    for (const backend of backendsOf(port, endpoints)) mergeBackend(all, backend);
    for (const address of addressesOf(service, port, node)) {
      frontends.push(...frontendsOf(service, port, address, endpoints, lists));
    }
  }
  return { frontends, backends: [...all.values()] };
}

interface FrontendAddress {
  addr: Ip;
  port: number;
  flag: number;
}

function addressesOf(service: ServiceObject, port: ServicePort, node: NodeContext): FrontendAddress[] {
  const { spec, status } = service;
  const clusterIps = spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
  const ingress = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => ip ?? []);
  const parse = (texts: readonly string[], flag: number): FrontendAddress[] =>
    texts.flatMap((text) => {
      const addr = tryParseIp(text);
      return addr === undefined ? [] : [{ addr, port: port.port ?? 0, flag }];
    });
  const nodePort = port.nodePort ?? 0;
  return [
    ...parse(clusterIps, ServiceFlag.clusterIp),
    ...(nodePort > 0
      ? node.nodeAddresses.map((addr) => ({ addr, port: nodePort, flag: ServiceFlag.nodePort as number }))
      : []),
    ...parse(spec?.type === "LoadBalancer" ? ingress : [], ServiceFlag.loadBalancer),
    ...parse(spec?.externalIPs ?? [], ServiceFlag.externalIp),
  ];
}

/** One row, or two when clients inside and outside of the cluster choose from different backends. */
function frontendsOf(
  service: ServiceObject,
  port: ServicePort,
  { addr, port: number, flag }: FrontendAddress,
  endpoints: readonly Endpoint[],
  lists: Map<string, DesiredList>,
): DesiredFrontend[] {
  const { spec } = service;
  const proto = PROTO[port.protocol ?? "TCP"];
  if (proto === undefined || number < 1) return [];
  const affinity = spec?.sessionAffinity === "ClientIP";
  const affinityTimeoutS = affinity
    ? (spec?.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_S)
    : 0;
  const row = (scope: number, localOnly: boolean): DesiredFrontend => ({
    key: { addr, port: number, proto, scope },
    flags: flag | (affinity ? ServiceFlag.affinity : 0),
    affinityTimeoutS,
    portName: port.name ?? "",
    list: listOf(port, isV4(addr), localOnly, endpoints, lists),
  });
  if (flag === ServiceFlag.clusterIp) return [row(Scope.external, spec?.internalTrafficPolicy === "Local")];
  if (spec?.externalTrafficPolicy !== "Local") return [row(Scope.external, false)];
  return [row(Scope.external, true), row(Scope.internal, false)];
}

/** Usable backends of a port: the ready ones; when there is none, those that still serve while terminating. */
function listOf(
  port: ServicePort,
  v4: boolean,
  localOnly: boolean,
  endpoints: readonly Endpoint[],
  lists: Map<string, DesiredList>,
): DesiredList {
  const key = `${port.name ?? ""}/${port.protocol ?? "TCP"}/${v4 ? 4 : 6}/${localOnly ? "local" : "all"}`;
  const known = lists.get(key);
  if (known !== undefined) return known;
  const candidates = endpoints.filter(
    (endpoint) => isV4(endpoint.addr) === v4 && (endpoint.local || !localOnly),
  );
  const ready = candidates.filter((endpoint) => endpoint.ready);
  const usable = ready.length > 0 ? ready : candidates.filter((e) => e.serving && e.terminating);
  const backends = new Map<string, DesiredBackend>();
  for (const backend of backendsOf(port, usable)) mergeBackend(backends, backend);
  const sorted = [...backends.values()].sort((a, b) => ipCompare(a.addr, b.addr) || a.port - b.port);
  const list = { key, backends: sorted };
  lists.set(key, list);
  return list;
}

/** The endpoints' sockets that stand behind a service port: ports pair up by name and protocol. */
function backendsOf(port: ServicePort, endpoints: readonly Endpoint[]): DesiredBackend[] {
  const protocol = port.protocol ?? "TCP";
  const proto = PROTO[protocol];
  if (proto === undefined) return [];
  return endpoints.flatMap(({ addr, ports, ready }) =>
    ports
      .filter(
        (p) =>
          (p.name ?? "") === (port.name ?? "") && (p.protocol ?? "TCP") === protocol && (p.port ?? 0) > 0,
      )
      .map((p) => ({
        addr,
        port: p.port ?? 0,
        proto,
        state: ready ? BackendState.active : BackendState.terminating,
      })),
  );
}

/** An endpoint that two slices list (it is moving between them) counts once, active if either says so. */
function mergeBackend(into: Map<string, DesiredBackend>, backend: DesiredBackend): void {
  const key = socketText(backend);
  const known = into.get(key);
  if (known === undefined || backend.state < known.state) into.set(key, backend);
}

function endpointsOf(
  slices: Iterable<EndpointSliceObject>,
  nodeName: string | undefined,
  publishNotReady: boolean,
): Endpoint[] {
  const endpoints: Endpoint[] = [];
  for (const slice of slices) {
    if (slice.addressType !== "IPv4" && slice.addressType !== "IPv6") continue;
    for (const { addresses, nodeName: on, conditions } of slice.endpoints ?? []) {
      // Absent conditions mean ready; absent serving follows ready (API doc of EndpointConditions).
      const ready = conditions?.ready ?? true;
      const terminating = conditions?.terminating ?? false;
      const flags = {
        ready: ready || (publishNotReady && !terminating),
        serving: conditions?.serving ?? ready,
        terminating,
        local: nodeName === undefined || on === nodeName,
      };
      // Of several addresses the first stands for all, as the API defines it.
      const addr = tryParseIp(addresses?.[0] ?? "");
      if (addr !== undefined) endpoints.push({ addr, ports: slice.ports ?? [], ...flags });
    }
  }
  return endpoints;
}

import { formatIp, hostPrefix, type Ip, isV4, parseIp, tryParseIp } from "@axoneme/base";
import type { Ipcache } from "@axoneme/identity";
import {
  apiPath,
  frontendTypes,
  type LoadBalancingStatus,
  type ServiceTraceView,
  type StatName,
  statNames,
} from "@axoneme/observe";
import { type ApiHandler, type ApiRequest, action, HttpError } from "../api-server.ts";
import { monotonicSeconds } from "../collector.ts";
import type { EndpointManager } from "../endpoint/manager.ts";
import type { NativeDevice } from "../node/local-node.ts";
import type { AgentConfig } from "../options.ts";
import { findEndpoint } from "../views/endpoints.ts";
import { kindsOf } from "./config.ts";
import { kernelRows } from "./kernel-rows.ts";
import type { LoadBalancing } from "./load-balancing.ts";
import { maglevViews } from "./maglev-views.ts";
import { flush, type MaintenanceSources, statView } from "./maintenance.ts";
import { serviceDetail, serviceViews } from "./service-views.ts";
import { type TraceClient, type TraceSources, trace } from "./trace.ts";
import type { PeerNames } from "./views.ts";

/** What the routes of Services answer from. */
export interface ServiceRouteSources extends Omit<MaintenanceSources, "services"> {
  readonly config: AgentConfig;
  readonly device: NativeDevice;
  readonly loadBalancing: LoadBalancing;
  readonly endpoints: EndpointManager;
  readonly ipcache: Ipcache;
}

/** The part of the agent API that is about Services. */
export function serviceRoutes(sources: ServiceRouteSources): [path: string, handler: ApiHandler][] {
  const { services } = sources.loadBalancing;
  const peers = peerNames(sources.ipcache);
  const maintenance = { ...sources, services };
  return [
    [
      apiPath.services,
      ({ rest, query }) => ({
        json: rest === "" ? serviceViews(services, filterOf(query), peers) : oneService(sources, rest, peers),
      }),
    ],
    [apiPath.trace, ({ query }) => ({ json: oneTrace(sources, query, peers) })],
    [
      apiPath.maglev,
      ({ query }) => ({
        json: maglevViews(services.compiler.views(named(query.get("name"))), kernelRows(sources.kernel.maps)),
      }),
    ],
    [apiPath.stat, (request) => ({ json: statView(statName(request), maintenance) })],
    [action(apiPath.flush), (request) => ({ json: flush(statName(request), maintenance) })],
  ];
}

function named(wanted: string | null): (object: { namespace: string; name: string }) => boolean {
  return ({ namespace, name }) => wanted === null || `${namespace}/${name}` === wanted;
}

/** Services in `axon status`. */
export function loadBalancingStatus({
  config,
  device,
  loadBalancing,
}: ServiceRouteSources): LoadBalancingStatus {
  const { services } = loadBalancing;
  const { frontends, backends, services: count } = services.compiler.stats();
  return {
    services: count,
    frontends,
    backends,
    problems: services.problems().length,
    kinds: [...kindsOf(config)],
    algorithm: config.loadBalancerAlgorithm,
    mode: config.loadBalancerMode,
    socket: config.socketLB,
    acceleration: [{ device: device.name, ...loadBalancing.acceleration.state }],
  };
}

function filterOf(query: URLSearchParams) {
  const type = query.get("type") ?? undefined;
  if (type !== undefined && !frontendTypes.some((known) => known === type))
    throw new HttpError(
      400,
      "bad_type",
      `no type of frontend: ${type}`,
      `types: ${frontendTypes.join(", ")}`,
    );
  return {
    namespace: query.get("namespace") ?? undefined,
    name: query.get("name") ?? undefined,
    type,
    problems: query.get("problems") === "1",
  };
}

function oneService({ loadBalancing }: ServiceRouteSources, rest: string, peers: PeerNames) {
  const [namespace = "", name = ""] = rest.split("/");
  const view = serviceDetail(loadBalancing.services, namespace, name, peers);
  if (view) return view;
  throw new HttpError(
    404,
    "service_not_found",
    `no Service ${namespace}/${name} is balanced on this node`,
    "headless Services and those of other proxies are not; axon service list shows all that are",
  );
}

function statName({ rest }: ApiRequest): StatName {
  const name = statNames.find((known) => known === rest);
  if (name) return name;
  throw new HttpError(
    404,
    "stat_not_found",
    `no statistics of "${rest}"`,
    `there are: ${statNames.join(", ")}`,
  );
}

/** The pod and the node behind an address, as the ipcache knows them. */
export function peerNames(ipcache: Ipcache): PeerNames {
  return (ip) => {
    const entry = ipcache.get(hostPrefix(ip));
    return {
      ...(entry?.pod ? { pod: `${entry.pod.namespace}/${entry.pod.name}` } : {}),
      ...(entry?.nodeIp ? { node: formatIp(entry.nodeIp) } : {}),
    };
  };
}

const protocols: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

function oneTrace(sources: ServiceRouteSources, query: URLSearchParams, peers: PeerNames): ServiceTraceView {
  const addr = tryParseIp(query.get("address") ?? "");
  const port = Number(query.get("port"));
  const proto = protocols[query.get("protocol") ?? "TCP"];
  if (!addr || !Number.isInteger(port) || port < 1 || port > 65_535 || proto === undefined) {
    const said = `${query.get("address")}:${query.get("port")}/${query.get("protocol")}`;
    throw new HttpError(400, "bad_frontend", `nothing a client could dial: ${said}`);
  }
  const client = clientOf(sources, query.get("client") ?? "", isV4(addr));
  return trace(traceSources(sources, peers), client, { addr, port, proto });
}

function traceSources(
  { config, device, kernel, loadBalancing }: ServiceRouteSources,
  peers: PeerNames,
): TraceSources {
  const { compiler } = loadBalancing.services;
  return {
    rows: kernelRows(kernel.maps),
    socketLB: config.socketLB,
    outside: loadBalancing.acceleration.state,
    peers,
    ownerOf: (key) => {
      const inside = key.scope === 1;
      return compiler.explain({ client: undefined, key, inside, nodePortAddress: true }).frontend;
    },
    nodeIp: (v4) => (v4 ? device.v4 : device.v6),
    nowS: monotonicSeconds,
  };
}

const outsiders = { v4: parseIp("192.0.2.1"), v6: parseIp("2001:db8::1") };

/** Who the user means, as this node sees it. A pod of another node is that node's to answer for. */
function clientOf(sources: ServiceRouteSources, text: string, v4: boolean): TraceClient {
  const { device, endpoints, ipcache, loadBalancing } = sources;
  const own = v4 ? device.v4 : device.v6;
  if (text === "host") return { kind: "host", name: "host", ip: own ?? outsiders[v4 ? "v4" : "v6"] };
  if (text === "world") return { kind: "world", name: "world", ip: outsiders[v4 ? "v4" : "v6"] };
  const live = findEndpoint(endpoints.endpoints(), text);
  if (live) {
    const ip = live.record.ips.map(parseIp).find((address) => isV4(address) === v4);
    const { pod } = live.record;
    const name = pod ? `${pod.namespace}/${pod.name}` : text;
    if (ip) return { kind: "pod", name, ip };
    throw new HttpError(400, "bad_family", `${name} has no IPv${v4 ? 4 : 6} address to dial from`);
  }
  const ip = tryParseIp(text);
  if (!ip || ipcache.get(hostPrefix(ip))?.pod)
    throw new HttpError(404, "client_not_found", `"${text}" is no pod of this node and no address of others`);
  return addressClient(ip, text, v4, loadBalancing);
}

function addressClient(ip: Ip, name: string, v4: boolean, { addresses }: LoadBalancing): TraceClient {
  if (isV4(ip) !== v4)
    throw new HttpError(400, "bad_family", `${name} cannot dial an address of the other family`);
  const isOwn = addresses.current.some((address) => formatIp(address.ip) === formatIp(ip));
  return { kind: isOwn ? "host" : "world", name, ip };
}

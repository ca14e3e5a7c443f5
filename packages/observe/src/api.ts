/**
 * Agent API v1: the JSON bodies served over the agent's UNIX socket (mode 0600, HTTP/1.1).
 *
 * | path                   | body                                                        |
 * |------------------------|-------------------------------------------------------------|
 * | GET /healthz           | 200 `ok` or 503 and the failed modules, text                |
 * | GET /metrics           | Prometheus text                                             |
 * | GET /v1/status         | StatusResponse                                              |
 * | GET /v1/endpoints      | EndpointView[]                                              |
 * | GET /v1/endpoints/<id> | EndpointView with `policy`; id = number, ns/pod, IP; or 404 |
 * | GET /v1/identities     | IdentityView[]                                              |
 * | GET /v1/ipcache        | IpcacheEntryView[]                                          |
 * | GET /v1/ipam           | IpamPoolView[]                                              |
 * | GET /v1/services?...   | ServiceView[]; `namespace`, `name`, `type`, `problems=1`    |
 * | GET /v1/services/<ns>/<name> | ServiceDetailView; or 404                             |
 * | GET /v1/trace?...      | ServiceTraceView; `client`, `address`, `port`, `protocol`   |
 * | GET /v1/maglev[?name=ns/name] | MaglevView[]                                         |
 * | GET /v1/policy[?name=ns/name] | PolicyView[] (an empty list for an unknown name)     |
 * | GET /v1/why?...        | WhySideView; `endpoint`, `direction`, `peer`, `proto`, `port`; or 404 |
 * | GET /v1/rules          | RuleUseView                                                 |
 * | POST /v1/confirm/<name> | ConfirmView; name of a host policy whose change is on trial |
 * | GET /v1/fqdn/cache?... | FqdnCacheView[]; `match`, `endpoint`, `ip`                   |
 * | POST /v1/fqdn/cache?... | FqdnCleanView; the same                                    |
 * | GET /v1/fqdn/names     | FqdnSelectorView[]                                          |
 * | GET /v1/maps/<name>    | MapDumpView; name of `MapName`                              |
 * | GET /v1/stat/<name>    | MapStatView; name of `StatName`                             |
 * | POST /v1/flush/<name>  | FlushView; name of `StatName`                               |
 * | GET /v1/events?q=      | NDJSON of MonitorLine; q = MonitorQuery as JSON             |
 * | GET /v1/flows?q=       | NDJSON of GetFlowsResponse; q = FlowsQuery as JSON          |
 *
 * Errors: status 400, 404, 500 or 503 with an `ApiError` body. Times are RFC 3339 UTC.
 * Lists are sorted by their natural key (id, prefix, namespace/name), so that two calls compare.
 */
import type { GetFlowsRequest } from "@axoneme/flow";

/** Paths of the API, so that server and client cannot drift. */
export const apiPath = {
  health: "/healthz",
  metrics: "/metrics",
  status: "/v1/status",
  endpoints: "/v1/endpoints",
  identities: "/v1/identities",
  ipcache: "/v1/ipcache",
  ipam: "/v1/ipam",
  services: "/v1/services",
  trace: "/v1/trace",
  maglev: "/v1/maglev",
  policy: "/v1/policy",
  why: "/v1/why",
  rules: "/v1/rules",
  confirm: "/v1/confirm",
  fqdnCache: "/v1/fqdn/cache",
  fqdnNames: "/v1/fqdn/names",
  maps: "/v1/maps",
  stat: "/v1/stat",
  flush: "/v1/flush",
  config: "/v1/config",
  events: "/v1/events",
  flows: "/v1/flows",
} as const;

/** Body of every answer that is not 2xx. */
export interface ApiError {
  /** Stable code, e.g. `endpoint_not_found`. */
  code: string;
  /** What, on which object, why. */
  message: string;
  /** How to mend it. */
  fix?: string;
}

/** One option of an agent. */
export interface ConfigOptionView {
  name: string;
  /** Its key in ConfigMaps and CiliumNodeConfigs. */
  key: string;
  running: string | number | boolean | readonly string[];
  desired: string | number | boolean | readonly string[];
  /** Where the desired value is from; "default". */
  origin: string;
  /** What a change of it needs. */
  change: "live" | "restart" | "drain";
  /** Desired is not running. */
  pending?: true;
}

/** The agent's configuration: what it should be, and what it is. */
export interface ConfigView {
  node: string;
  options: ConfigOptionView[];
  /** Why what is wanted now is not taken up. */
  problem?: string;
}

export type ModuleState = "ok" | "degraded" | "failed" | "stopped";

/** Health of one module of the agent. */
export interface ModuleStatus {
  name: string;
  state: ModuleState;
  /** One line: what it does now, or what is wrong. */
  message: string;
  /** When the state last changed. */
  since: string;
  /** Figures worth a look; snake_case, unit in the name. */
  metrics?: Record<string, number>;
}

/** `observer.ServerStatusResponse` in protojson form (uint64 as text). */
export interface ServerStatus {
  num_flows: string;
  max_flows: string;
  seen_flows: string;
  uptime_ns: string;
  version: string;
  /** Flows a second over the last minute. */
  flows_rate: number;
}

/** Services in one answer. */
export interface LoadBalancingStatus {
  services: number;
  frontends: number;
  backends: number;
  /** Services that could not be programmed as they ask. */
  problems: number;
  /** Kinds that are served here; the others are left to a kube-proxy. */
  kinds: string[];
  algorithm: "random" | "maglev";
  mode: "snat" | "dsr";
  /** Whether sockets are translated at connect. */
  socket: boolean;
  /** Per device, where packets from outside are balanced. */
  acceleration: { device: string; at: "xdp" | "tcx"; reason?: string }[];
}

/** The DNS proxy of a node in one answer. */
export interface DnsProxyStatus {
  /** Who starts it; `off`: nobody, DNS rules deny. */
  mode: "start" | "external" | "off";
  /** Connected to the agent, which it is once it takes queries. */
  serving: boolean;
  pid?: number;
  build?: string;
  /** Sets of DNS rules in force. */
  ruleSets: number;
  /** Why servers see the node as their client; absent: they see the pod, or no proxy serves. */
  asNode?: string;
}

export interface StatusResponse {
  api: "v1";
  version: string;
  node: string;
  cluster: string;
  /** The worst state of the modules. */
  state: ModuleState;
  started: string;
  pid: number;
  kernel: string;
  routing: "native" | "tunnel";
  /** The node's native device. */
  device: string;
  /** Node addresses, IPv4 first. */
  addresses: string[];
  podCidrs: string[];
  masquerade: { ipv4: boolean; ipv6: boolean };
  endpoints: { total: number; ready: number };
  identities: number;
  services: number;
  loadBalancing: LoadBalancingStatus;
  dnsProxy: DnsProxyStatus;
  policies: number;
  /** Whom rules on prefixes match by address; absent: everybody. */
  policyCIDRMatchMode?: "address" | "nodes" | "identity";
  modules: ModuleStatus[];
  flows: ServerStatus;
}

export type EndpointState = "creating" | "waiting-for-identity" | "ready" | "not-ready" | "disconnecting";

/** In which directions an endpoint's policy is enforced. */
export type Enforcement = "none" | "ingress" | "egress" | "both";

/** One row of a compiled policy, as the kernel holds it. */
export interface PolicyRowView {
  direction: "ingress" | "egress";
  /** 0 = any peer. */
  identity: number;
  /** Only at addresses in this prefix, and in no longer one that rules name. */
  prefix?: string;
  /** `ANY`, `TCP`, ... */
  protocol: string;
  /** `80`, `80-95`, or `ANY`. */
  port: string;
  verdict: "allow" | "deny" | "default-deny" | "audit";
  precedence: number;
  ruleId: number;
  /** `namespace/name` of the policies behind the rule. */
  policies: string[];
}

export interface EndpointView {
  /** 1..65535. */
  id: number;
  /** The node itself is an endpoint too: host policies select it. */
  kind: "pod" | "host";
  /** Empty for the host. */
  namespace: string;
  /** Of the host: the node's name. */
  pod: string;
  containerId?: string;
  /** Bits per second that the pod may send (its annotation), where its interface is set so (tbf). */
  egressBandwidth?: number;
  state: EndpointState;
  /** Why it is not ready. */
  message?: string;
  identity: number;
  /** Sorted, `source:key=value`. */
  labels: string[];
  ipv4?: string;
  ipv6?: string;
  mac?: string;
  /** Host side of the pod's veth. */
  interface?: string;
  ifindex?: number;
  policyId: number;
  enforcement: Enforcement;
  created: string;
  /** Policy reports what it would drop, and drops nothing: `axon endpoint config`. Absent: false. */
  policyAuditMode?: boolean;
  /** Which of its addresses stay with the pod's name, on whatever node it runs (FixedAddress). */
  fixedAddresses?: string[];
  /** Only in GET /v1/endpoints/<id>. */
  policy?: PolicyRowView[];
}

/** One family of a pool that pods of the node get addresses of. */
export interface IpamPoolView {
  /** `default`, or the name of a CiliumPodIPPool. */
  pool: string;
  family: 4 | 6;
  cidrs: string[];
  /** Addresses that can be given out at all; a decimal number, since IPv6 has more than JSON's numbers can tell. */
  capacity: string;
  /** In use, the node's own address among them. */
  used: number;
  /** Given back lately. */
  resting: number;
}

export interface IdentityView {
  id: number;
  /**
   * `reserved`, `cluster` (a CiliumIdentity object), or this node's only: `local` (CIDR), `node` (of nodes, by labels),
   * `class` (of pods, by labels that their published identities do not tell yet).
   */
  scope: "reserved" | "cluster" | "local" | "node" | "class";
  /** Sorted, `source:key=value`. */
  labels: string[];
  /** Local endpoints that carry it. */
  endpoints: number;
}

export interface IpcacheEntryView {
  prefix: string;
  identity: number;
  /** Node that hosts it; absent for local addresses and the world. */
  nodeIp?: string;
  /** `namespace/name`, when the prefix is a pod's address. */
  pod?: string;
  /** Where the entry came from: `endpoint`, `ciliumendpoint`, `node`, `policy`, `reserved`. */
  source: string;
}

export interface BackendView {
  address: string;
  port: number;
  state: "active" | "terminating";
  /** An endpoint of the node that answers. */
  local: boolean;
  /** `namespace/name`, when a pod has the address. */
  pod?: string;
  /** Address of the pod's node; absent for local ones. */
  node?: string;
}

export const frontendTypes = [
  "ClusterIP",
  "NodePort",
  "LoadBalancer",
  "ExternalIP",
  "HostPort",
  "LocalRedirect",
] as const;
export type FrontendType = (typeof frontendTypes)[number];

/** Which clients a frontend's row is for: all or those outside; those inside; those a local redirect leaves alone. */
export type FrontendScope = "external" | "internal" | "original";

/** One frontend of a Service, or a Service that has none because of a problem. */
export interface ServiceView {
  namespace: string;
  name: string;
  type: FrontendType;
  /** `0.0.0.0` or `::`: every address of the node that serves NodePorts. */
  frontend?: { address: string; port: number; protocol: string; id: number; scope: FrontendScope };
  portName?: string;
  affinitySeconds?: number;
  algorithm: "random" | "maglev";
  /** How packets reach backends on other nodes. */
  forwarding: "snat" | "dsr";
  /** `two-scopes`, `source-ranges`, `local-only`, `local-redirect`, `skip`, `loopback-only`, `topology`. */
  flags: string[];
  backends: BackendView[];
  /** pending until its rows are in the kernel. */
  status: "done" | "pending" | "error";
  message?: string;
}

/** A Service with all that is known of it. */
export interface ServiceDetailView {
  namespace: string;
  name: string;
  frontends: ServiceView[];
  /** Who may use its load balancer addresses; empty: everybody. */
  sourceRanges: string[];
  healthCheck?: { port: number; localEndpoints: number; message?: string };
  status: "done" | "pending" | "error";
  problems: string[];
  /** When a failed write is tried again. */
  nextRetry?: string;
}

/** Who asks, what, and what becomes of it: the datapath's decision, spelled out. */
export interface ServiceTraceView {
  client: { kind: "pod" | "host" | "world"; name: string; address: string };
  dialled: { address: string; port: number; protocol: string };
  verdict: "translated" | "refused" | "not-a-service";
  /** Why this verdict. */
  reason: string;
  /** Which programs translate: at connect and sendmsg, per packet at a device, or in the driver. */
  path: { at: "socket" | "tcx" | "xdp" | "none"; reason: string };
  service?: { namespace: string; name: string; portName: string; id: number };
  /** The row that was used. */
  frontend?: {
    address: string;
    port: number;
    type: FrontendType;
    scope: FrontendScope;
    /** Found as one of the node's addresses, not by the very address. */
    wildcard: boolean;
    reason: string;
  };
  /** Which policy of locality narrowed the backends. */
  policy?: { name: "all" | "local" | "topology" | "local-redirect"; reason: string };
  selection?: { algorithm: "random" | "maglev"; slots: number; reason: string };
  affinity?: { timeoutS: number; backend?: string; ageS?: number; honoured: boolean; reason: string };
  sourceRanges?: { allowed: boolean; reason: string };
  backends: (BackendView & { share: number; sees: string; why: string })[];
}

/** A Maglev table in the kernel: one for each list of backends of a Service port. */
export interface MaglevView {
  namespace: string;
  name: string;
  /** The frontends that use it, `address:port/protocol`. */
  frontends: string[];
  /** Slots: a prime. */
  size: number;
  backends: { address: string; port: number; slots: number; share: number }[];
}

export interface PolicyView {
  /** `NetworkPolicy`, `CiliumNetworkPolicy` or `CiliumClusterwideNetworkPolicy`. */
  kind: string;
  /** Empty for cluster-wide. */
  namespace: string;
  name: string;
  directions: ("ingress" | "egress")[];
  /** Ids of the local endpoints it selects. */
  endpoints: number[];
  rules: number;
  /** Ids that its rules have in events. */
  ruleIds: number[];
  /** What its rules decided on this node, default deny too. */
  use: UseView;
  status: "done" | "pending" | "error";
  /** What of it could not be applied. */
  message?: string;
  /** The object as the API server holds it. */
  object?: unknown;
}

/** What rules decided, counted from records of the datapath: established connections write none. */
export interface UseView {
  /** New connections that were let through (and living ones that were judged anew after a change). */
  allowed: number;
  /** Packets that were refused. */
  denied: number;
  /** Packets that would have been. */
  audited: number;
  /** RFC 3339; absent: never. */
  lastUsed?: string;
}

/** A rule and what it decided. */
export interface UsedRule extends UseView {
  kind: string;
  /** Empty for cluster-wide. */
  namespace: string;
  name: string;
  /** `spec.ingress[0]`. */
  path: string;
  action: "allow" | "deny" | "pass";
  /** Local endpoints that its policy selects. */
  endpoints: number;
}

/** What the rules of this node decided, and how well it was watched. */
export interface RuleUseView {
  /** Counting began, RFC 3339; before restarts of the agent. */
  since: string;
  /** Of the time since then: without an agent, seconds. */
  blindSeconds: number;
  /** Records that were lost: what they were about is not counted. */
  lost: number;
  rules: UsedRule[];
}

/** A change of host policies that stays now. */
export interface ConfirmView {
  /** Names of all policies that it changed. */
  policies: string[];
}

/** Short names of the maps for /v1/maps/<name> and `axon bpf <map> list`. */
export const mapNames = [
  "endpoints",
  "ipcache",
  "cidrs",
  "policy",
  "ct",
  "nat",
  "lb",
  "frags",
  "metrics",
  "config",
] as const;
export type MapName = (typeof mapNames)[number];

/** One row of a kernel map, decoded to flat texts and numbers: columns in the order of `columns`. */
export type MapEntryView = Record<string, string | number | boolean>;

/** An address that an endpoint learned under a name. */
export interface FqdnCacheView {
  endpoint: number;
  /** namespace/name */
  pod?: string;
  /** Without the final dot. */
  name: string;
  ip: string;
  /** As the answer had it, seconds. */
  ttl: number;
  /** `kept`: its TTL is over; it goes once no connection uses it. */
  state: "alive" | "kept";
  /** When the latest answer came. */
  learned: string;
  expires: string;
  /** That packets to it carry; absent: no policy names it. */
  identity?: number;
}

/** What cleaning the cache did. */
export interface FqdnCleanView {
  removed: number;
}

/** A name or pattern in `toFQDNs` of policies, and what it means now. */
export interface FqdnSelectorView {
  selector: string;
  /** `kind/namespace/name` */
  policies: string[];
  /** Names that were asked for and that it matches. */
  names: string[];
  /** Of its addresses: one for all that no rule tells apart. */
  identities: number[];
  addresses: { ip: string; identity: number }[];
}

export interface MapDumpView {
  name: MapName;
  /** Kernel map(s) read, e.g. `ax_ct`. */
  maps: string[];
  entries: number;
  maxEntries: number;
  /** Column names in display order; every entry has (a subset of) these. */
  columns: string[];
  rows: MapEntryView[];
  /** Set when `?limit=N` cut the rows short. */
  truncated?: boolean;
}

/** What `axon bpf <name> stat|flush` are about. */
export const statNames = ["lb", "ct", "nat"] as const;
export type StatName = (typeof statNames)[number];

/** How full a group of maps is, and what went wrong there. */
export interface MapStatView {
  name: StatName;
  maps: {
    name: string;
    entries: number;
    capacity: number;
    /** To which it may grow by itself; absent for maps of a fixed size. */
    limit?: number;
  }[];
  /** Counters since the maps exist; snake_case. */
  figures: Record<string, number>;
  /** Source ports for translation, by CPU. */
  pools?: NatPoolView[];
}

/** The ports of one CPU. Counters are since the maps exist. */
export interface NatPoolView {
  cpu: number;
  /** Its part of natPortRange, inclusive. */
  first: number;
  last: number;
  /** Translations that use one of its ports now; a port may be used towards several destinations. */
  mappings: number;
  /** Translations it made, and those of them with a port of another CPU. */
  allocated: number;
  stolen: number;
  /** Refused: no candidate was free, or the table was full. */
  noPort: number;
  tableFull: number;
}

/** What `axon bpf <name> flush` removed, by map. */
export interface FlushView {
  name: StatName;
  removed: Record<string, number>;
}

/** JSON in `?q=` of /v1/flows. */
export type FlowsQuery = GetFlowsRequest;

/** JSON in `?q=` of /v1/events. Fields are ANDed. */
export interface MonitorQuery {
  follow?: boolean;
  /** Start with the last N records of the store; default 0 with follow, else 100. */
  last?: number;
  type?: ("drop" | "trace" | "policy-verdict" | "trace-sock")[];
  /** Endpoint ids. */
  from?: number[];
  to?: number[];
}

/** One raw record, fields named after `struct ax_event`. */
export interface MonitorRecord {
  seq: number;
  time: string;
  type: "drop" | "trace" | "policy-verdict" | "trace-sock" | "unknown";
  /** Drop reason text, observation point, or empty. */
  subtype: string;
  /** Connection-tracking reason of a trace. */
  reason?: string;
  flags: string[];
  protocol: string;
  tcpFlags?: string;
  icmp?: string;
  source: string;
  destination: string;
  /** What the client dialled, when translated. */
  original?: string;
  srcIdentity: number;
  dstIdentity: number;
  srcEndpoint: number;
  dstEndpoint: number;
  ruleEgress: number;
  ruleIngress: number;
  ifindex: number;
  interface?: string;
  length: number;
  cpu: number;
}

/** One line of /v1/events. */
export type MonitorLine = { record: MonitorRecord } | { lost: number };

/** Query string of a `?q=` path. */
export function queryOf(query: FlowsQuery | MonitorQuery): string {
  return `?q=${encodeURIComponent(JSON.stringify(query))}`;
}

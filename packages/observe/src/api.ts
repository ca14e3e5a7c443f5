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
 * | GET /v1/services       | ServiceView[]                                               |
 * | GET /v1/policy[?name=ns/name] | PolicyView[] (an empty list for an unknown name)     |
 * | GET /v1/maps/<name>    | MapDumpView; name of `MapName`                              |
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
  services: "/v1/services",
  policy: "/v1/policy",
  maps: "/v1/maps",
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
  policies: number;
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
  /** What it is: endpoints are pods. The node itself has an identity (1), no policy of its own and no row here. */
  kind: "pod";
  namespace: string;
  pod: string;
  containerId?: string;
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
  /** Only in GET /v1/endpoints/<id>. */
  policy?: PolicyRowView[];
}

export interface IdentityView {
  id: number;
  /** `reserved`, `cluster` (a CiliumIdentity object) or `local` (CIDR, this node only). */
  scope: "reserved" | "cluster" | "local";
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
  node?: string;
}

/** One frontend of a Service. */
export interface ServiceView {
  namespace: string;
  name: string;
  type: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalIP" | "HostPort";
  frontend: { address: string; port: number; protocol: string; id: number };
  portName?: string;
  affinitySeconds?: number;
  backends: BackendView[];
  /** pending until its rows are in the kernel. */
  status: "done" | "pending" | "error";
  message?: string;
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
  status: "done" | "pending" | "error";
  /** What of it could not be applied. */
  message?: string;
  /** The object as the API server holds it. */
  object?: unknown;
}

/** Short names of the maps for /v1/maps/<name> and `axon bpf <map> list`. */
export const mapNames = [
  "endpoints",
  "ipcache",
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

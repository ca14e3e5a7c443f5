/** Answers of a fake agent. */
import type {
  EndpointView,
  FlushView,
  FqdnCacheView,
  FqdnSelectorView,
  IdentityView,
  IpamPoolView,
  IpcacheEntryView,
  MaglevView,
  MapDumpView,
  MapStatView,
  PolicyView,
  ServiceDetailView,
  ServiceTraceView,
  ServiceView,
  StatusResponse,
} from "@axoneme/observe";
import { ago } from "./fixture.ts";

export function statusOf(node: string, state: StatusResponse["state"] = "ok"): StatusResponse {
  return {
    api: "v1",
    version: "0.1.0",
    node,
    cluster: "default",
    state,
    started: ago(3700),
    pid: 42,
    kernel: "6.1.0",
    routing: "native",
    device: "eth0",
    addresses: ["172.30.0.11", "fd00:172:30::11"],
    podCidrs: ["10.200.0.0/24"],
    masquerade: { ipv4: true, ipv6: false },
    endpoints: { total: 3, ready: 2 },
    identities: 14,
    services: 2,
    loadBalancing: {
      services: 2,
      frontends: 3,
      backends: 4,
      problems: 1,
      kinds: ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs", "HostPort"],
      algorithm: "random",
      mode: "snat",
      socket: true,
      acceleration: [{ device: "eth0", at: "tcx", reason: "the driver has no XDP" }],
    },
    dnsProxy: { mode: "start", serving: true, pid: 77, build: "b1", ruleSets: 2 },
    policies: 1,
    modules: [
      { name: "kube", state: "ok", message: "synced", since: ago(3600), metrics: { objects: 40 } },
      { name: "policy", state, message: state === "ok" ? "12 rows" : "map full", since: ago(5) },
    ],
    flows: {
      num_flows: "100",
      max_flows: "65536",
      seen_flows: "100",
      uptime_ns: "3700000000000",
      version: "0.1.0",
      flows_rate: 1.25,
    },
  };
}

const endpoint: EndpointView = {
  id: 42,
  kind: "pod",
  namespace: "default",
  pod: "web-0",
  state: "ready",
  identity: 2000,
  labels: ["k8s:app=web", "k8s:io.cilium.k8s.namespace.labels.x=y"],
  ipv4: "10.200.0.7",
  ipv6: "fd10::7",
  mac: "02:00:00:00:00:01",
  interface: "lxc0000002a",
  ifindex: 9,
  policyId: 3,
  enforcement: "ingress",
  created: ago(65),
};

const other: EndpointView = {
  ...endpoint,
  id: 1,
  namespace: "kube-system",
  pod: "dns",
  identity: 2001,
  enforcement: "none",
};

const identities: IdentityView[] = [
  { id: 1, scope: "reserved", labels: ["reserved:host"], endpoints: 1 },
  {
    id: 2000,
    scope: "cluster",
    labels: ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=default"],
    endpoints: 1,
  },
];

const ipam: IpamPoolView[] = [
  { pool: "default", family: 4, cidrs: ["10.200.0.0/24"], capacity: "254", used: 3, resting: 1 },
];

const ipcache: IpcacheEntryView[] = [
  { prefix: "0.0.0.0/0", identity: 2, source: "reserved" },
  {
    prefix: "10.200.1.9/32",
    identity: 2000,
    nodeIp: "172.30.0.12",
    pod: "default/web-1",
    source: "ciliumendpoint",
  },
];

const common = { algorithm: "random", forwarding: "snat", flags: [] as string[], status: "done" } as const;
const backend = {
  address: "10.200.0.7",
  port: 8080,
  state: "active",
  local: true,
  pod: "default/web-0",
} as const;
const away = { address: "10.200.1.9", port: 8080, state: "active", local: false } as const;

const services: ServiceView[] = [
  {
    ...common,
    namespace: "default",
    name: "web",
    type: "ClusterIP",
    portName: "http",
    frontend: { address: "10.96.0.10", port: 80, protocol: "TCP", id: 1, scope: "external" },
    backends: [backend, { ...away, pod: "default/web-1", node: "172.30.0.12" }],
  },
  {
    ...common,
    namespace: "default",
    name: "web",
    type: "NodePort",
    portName: "http",
    algorithm: "maglev",
    forwarding: "dsr",
    affinitySeconds: 10_800,
    flags: ["two-scopes", "local-only"],
    frontend: { address: "0.0.0.0", port: 30080, protocol: "TCP", id: 1, scope: "external" },
    backends: [backend],
  },
  {
    ...common,
    namespace: "default",
    name: "empty",
    type: "ClusterIP",
    frontend: { address: "fd00::a", port: 443, protocol: "TCP", id: 2, scope: "external" },
    backends: [],
    status: "error",
    message: "map full",
  },
  {
    ...common,
    namespace: "default",
    name: "sctp",
    type: "ClusterIP",
    backends: [],
    status: "error",
    message: "port 80/SCTP: its target port differs, and SCTP ports cannot be rewritten",
  },
];

const detail: ServiceDetailView = {
  namespace: "default",
  name: "web",
  frontends: services.slice(0, 2),
  sourceRanges: ["192.0.2.0/24"],
  healthCheck: { port: 31000, localEndpoints: 1 },
  status: "error",
  problems: ["healthCheckNodePort 31000 cannot be opened: another process listens on it"],
  nextRetry: "2026-11-20T12:00:05Z",
};

const trace: ServiceTraceView = {
  client: { kind: "pod", name: "default/cart-0", address: "10.200.0.8" },
  dialled: { address: "10.96.0.10", port: 80, protocol: "TCP" },
  verdict: "translated",
  reason: "one of 2 backends",
  path: { at: "socket", reason: "pods of this node are translated at connect" },
  service: { namespace: "default", name: "web", portName: "http", id: 1 },
  frontend: {
    address: "10.96.0.10",
    port: 80,
    type: "ClusterIP",
    scope: "external",
    wildcard: false,
    reason: "the very address",
  },
  policy: { name: "all", reason: "internalTrafficPolicy is Cluster" },
  selection: { algorithm: "random", slots: 2, reason: "each of 2 slots alike" },
  affinity: { timeoutS: 10800, backend: "10.200.0.7:8080", ageS: 5, honoured: true, reason: "used 5s ago" },
  sourceRanges: { allowed: true, reason: "no ranges" },
  backends: [
    { ...backend, share: 0.5, sees: "10.200.0.8", why: "pods see pods" },
    { ...away, node: "172.30.0.12", share: 0.5, sees: "10.200.0.8", why: "pods see pods" },
  ],
};

const maglev: MaglevView[] = [
  {
    namespace: "default",
    name: "web",
    frontends: ["0.0.0.0:30080/TCP", "[::]:30080/TCP"],
    size: 251,
    backends: [
      { address: "10.200.0.7", port: 8080, slots: 126, share: 126 / 251 },
      { address: "10.200.1.9", port: 8080, slots: 125, share: 125 / 251 },
    ],
  },
];

const natStat: MapStatView = {
  name: "nat",
  maps: [
    { name: "ax_nat", entries: 40, capacity: 131_072 },
    { name: "ax_services", entries: 3, capacity: 1024, limit: 1_048_576 },
  ],
  figures: { nat_no_port: 7 },
  pools: [
    {
      cpu: 0,
      first: 32_768,
      last: 49_151,
      mappings: 20,
      allocated: 100,
      stolen: 2,
      noPort: 7,
      tableFull: 0,
    },
  ],
};

const policies: PolicyView[] = [
  {
    kind: "NetworkPolicy",
    namespace: "default",
    name: "deny-all",
    directions: ["ingress"],
    endpoints: [42],
    rules: 0,
    ruleIds: [7],
    use: { allowed: 12, denied: 3, audited: 0, lastUsed: "2026-01-02T03:00:00.000Z" },
    status: "done",
  },
];

const conntrack: MapDumpView = {
  name: "ct",
  maps: ["ax_ct"],
  entries: 2,
  maxEntries: 65536,
  columns: ["a", "b", "protocol", "expires_s"],
  rows: [{ a: "10.0.0.1:1", b: "10.0.0.2:80", protocol: "TCP", expires_s: 12 }],
  truncated: true,
};

const learned: FqdnCacheView[] = [
  {
    endpoint: 7,
    pod: "default/web-0",
    name: "api.example.com",
    ip: "192.0.2.10",
    ttl: 30,
    state: "alive",
    learned: "2026-01-01T00:00:00.000Z",
    expires: "2026-01-01T00:00:30.000Z",
    identity: 16_777_217,
  },
  {
    endpoint: 7,
    pod: "default/web-0",
    name: "old.example.com",
    ip: "2001:db8::1",
    ttl: 5,
    state: "kept",
    learned: "2026-01-01T00:00:00.000Z",
    expires: "2026-01-01T00:00:05.000Z",
  },
];

const named: FqdnSelectorView[] = [
  {
    selector: "*.example.com",
    policies: ["CiliumNetworkPolicy/default/names"],
    names: ["api.example.com", "old.example.com"],
    identities: [16_777_217],
    addresses: ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13"].map((ip) => ({
      ip,
      identity: 16_777_217,
    })),
  },
  {
    selector: "nobody.example",
    policies: ["CiliumNetworkPolicy/default/names"],
    names: [],
    identities: [],
    addresses: [],
  },
];

/** All routes of a healthy agent. */
export function routesOf(node: string): Record<string, unknown> {
  return {
    "/v1/status": statusOf(node),
    "/v1/endpoints": [other, endpoint],
    "/v1/endpoints/default/web-0": {
      ...endpoint,
      policy: [
        {
          direction: "ingress",
          identity: 1000,
          protocol: "TCP",
          port: "80",
          verdict: "allow",
          precedence: 5,
          ruleId: 7,
          policies: ["default/web"],
        },
      ],
    },
    "/v1/identities": identities,
    "/v1/ipcache": ipcache,
    "/v1/ipam": ipam,
    "/v1/services": services,
    "/v1/services?problems=1": services.filter(({ status }) => status === "error"),
    "/v1/services/default/web": detail,
    "/v1/trace": trace,
    "/v1/maglev": maglev,
    "/v1/stat/nat": natStat,
    "/v1/flush/nat": { name: "nat", removed: { ax_nat: 40, ax_svc_flows: 2 } } satisfies FlushView,
    "/v1/policy": policies,
    "/v1/fqdn/cache": learned,
    "/v1/fqdn/names": named,
    "/v1/policy?name=default%2Fnone": [],
    "/v1/maps/ct": conntrack,
  };
}

/** Answers of a fake agent. */
import type {
  EndpointView,
  IdentityView,
  IpcacheEntryView,
  MapDumpView,
  PolicyView,
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

const services: ServiceView[] = [
  {
    namespace: "default",
    name: "web",
    type: "ClusterIP",
    frontend: { address: "10.96.0.10", port: 80, protocol: "TCP", id: 1 },
    backends: [
      { address: "10.200.0.7", port: 8080, state: "active" },
      { address: "fd10::7", port: 8080, state: "terminating" },
    ],
    status: "done",
  },
  {
    namespace: "default",
    name: "empty",
    type: "ClusterIP",
    frontend: { address: "fd00::a", port: 443, protocol: "TCP", id: 2 },
    backends: [],
    status: "error",
    message: "map full",
  },
];

const policies: PolicyView[] = [
  {
    kind: "NetworkPolicy",
    namespace: "default",
    name: "deny-all",
    directions: ["ingress"],
    endpoints: [42],
    rules: 0,
    ruleIds: [7],
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
    "/v1/services": services,
    "/v1/policy": policies,
    "/v1/policy?name=default%2Fnone": [],
    "/v1/maps/ct": conntrack,
  };
}

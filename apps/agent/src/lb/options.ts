import type { OptionSet } from "@axoneme/app";

/** Kinds of Service frontends, as people name them. */
export const serviceKinds = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs", "HostPort"] as const;
export type ServiceKind = (typeof serviceKinds)[number];

/** Sizes of Maglev tables: primes. A Service gets one of these or a smaller one, by its number of backends. */
const tableSizes = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071] as const;

/** The agent's options that are about Services. */
export const serviceOptions = {
  socketLB: {
    default: true,
    doc: "translate Services at connect and sendmsg",
    key: "bpf-lb-sock",
    liveness: "restart",
  },
  kubeProxyReplacement: {
    default: true,
    doc: "balance Services of all serviceKinds; false: cluster addresses only, a kube-proxy has the others",
    liveness: "restart",
  },
  serviceKinds: {
    default: [...serviceKinds] as readonly string[],
    doc: "Services this agent balances; the other kinds are left to a kube-proxy that runs beside it",
    liveness: "restart",
    each: serviceKinds,
  },
  nodePortRange: {
    default: "30000-32767",
    doc: "ports Kubernetes gives to NodePorts, as the API server has it",
    liveness: "restart",
  },
  nodePortAddresses: {
    default: [] as readonly string[],
    doc: "CIDRs of the node's addresses that serve NodePorts and host ports; empty: all its addresses",
    key: "nodeport-addresses",
    liveness: "restart",
  },
  loadBalancerAlgorithm: {
    default: "random",
    doc: "how a backend is chosen; a Service may differ by annotation",
    key: "bpf-lb-algorithm",
    liveness: "restart",
    oneOf: ["random", "maglev"] as const,
  },
  maglevTableSize: {
    default: 16_381,
    doc: "largest Maglev table of a Service; the same on all nodes",
    key: "bpf-lb-maglev-table-size",
    liveness: "restart",
    oneOf: tableSizes,
  },
  loadBalancerMode: {
    default: "snat",
    doc: "how packets reach backends on other nodes; a Service may differ by annotation",
    key: "bpf-lb-mode",
    liveness: "restart",
    oneOf: ["snat", "dsr"] as const,
  },
  dsrDispatch: {
    default: "opt",
    doc: "how direct server return tells the backend's node the frontend: an IP option, or IP in IP",
    key: "bpf-lb-dsr-dispatch",
    liveness: "restart",
    oneOf: ["opt", "ipip"] as const,
  },
  natPortRange: {
    default: "32768-65535",
    doc: "source ports of packets translated on their way out, first-last; above nodePortRange",
    liveness: "restart",
  },
  lbFlowMax: {
    default: 131_072,
    doc: "connections from outside that are balanced per packet",
    liveness: "drain",
    min: 1024,
    max: 16_777_216,
  },
  loadBalancerAcceleration: {
    default: "best-effort",
    doc: "XDP for what comes from outside: off, where the device carries it, or required",
    key: "bpf-lb-acceleration",
    liveness: "restart",
    oneOf: ["disabled", "best-effort", "native"] as const,
  },
  serviceTopology: {
    default: true,
    doc: "prefer the backends that a Service's slices hint for this node's zone",
    key: "enable-service-topology",
    liveness: "restart",
  },
  denyCIDRs: {
    default: [] as readonly string[],
    doc: "sources whose packets are dropped at the edge, besides those of EdgeDenyList objects",
    liveness: "live",
  },
  healthzAddress: {
    default: "",
    doc: "host:port of kube-proxy's health check, 0.0.0.0:10256 as a rule; empty: none",
    key: "kube-proxy-replacement-healthz-bind-address",
    liveness: "restart",
  },
  l2AnnouncementsLeaseDuration: {
    default: 15,
    doc: "seconds after which another node announces the addresses of one that is gone",
    unit: "s",
    liveness: "restart",
    min: 2,
    max: 3600,
  },
  l2AnnouncementsRenewDeadline: {
    default: 5,
    doc: "seconds a leader tries to renew its lease before it stops announcing; below the lease duration",
    unit: "s",
    liveness: "restart",
    min: 1,
    max: 3600,
  },
  l2AnnouncementsRetryPeriod: {
    default: 2,
    doc: "seconds between attempts to get or renew a lease",
    unit: "s",
    liveness: "restart",
    min: 1,
    max: 3600,
  },
  leaseNamespace: {
    default: "kube-system",
    doc: "namespace of the leases of announced Services",
    liveness: "restart",
  },
} as const satisfies OptionSet;

import { logLevels, type OptionSet, type Values } from "@axoneme/app";
import { cniOptions } from "./cni/options.ts";
import { dnsOptions } from "./dns/options.ts";
import { proxyOptions } from "./dns/proxy-options.ts";
import { hubbleOptions } from "./hubble-options.ts";
import { identityOptions } from "./identity-options.ts";
import { serviceOptions } from "./lb/options.ts";

/**
 * Every option of the agent. Names follow the field's where they mean the same. The set is the single place that
 * says what an option does and when a change takes effect; `--help`, docs and validation come from it.
 */
export const agentOptions = {
  nodeName: {
    default: "",
    doc: "name of this node's Node object; empty: the host name",
    atStart: true,
    liveness: "restart",
  },
  clusterName: { default: "default", doc: "name of the cluster, in labels and flows", liveness: "drain" },
  configMap: {
    default: "axoneme-config",
    doc: "ConfigMap that --config-dir is a copy of, followed over the API as well; empty: none",
    liveness: "restart",
    atStart: true,
  },
  configNamespace: {
    default: "kube-system",
    doc: "namespace of this ConfigMap, and of the CiliumNodeConfigs that go over it on the nodes they select",
    liveness: "restart",
    atStart: true,
  },
  kubeconfig: {
    default: "",
    doc: "path of a kubeconfig; empty: in-cluster",
    atStart: true,
    liveness: "restart",
  },
  runDir: {
    default: "/run/axoneme",
    doc: "directory of sockets and endpoint records",
    atStart: true,
    liveness: "drain",
  },
  bpffs: {
    default: "/sys/fs/bpf/axoneme",
    doc: "directory of pinned maps, programs and links",
    atStart: true,
    liveness: "drain",
  },
  cgroup: {
    default: "",
    doc: "cgroup v2 for socket load balancing; empty: the root found",
    key: "cgroup-root",
    liveness: "restart",
  },
  objectDir: {
    default: "",
    doc: "directory of the eBPF objects; empty: beside the agent",
    liveness: "restart",
  },
  device: {
    default: "",
    doc: "native device; empty: the one with the default route",
    key: "devices",
    liveness: "restart",
  },
  routingMode: {
    default: "native",
    doc: "how pods reach other nodes",
    liveness: "drain",
    oneOf: ["native", "tunnel"] as const,
  },
  tunnelProtocol: {
    default: "vxlan",
    doc: "how packets are wrapped in a tunnel",
    liveness: "drain",
    oneOf: ["vxlan"] as const,
  },
  tunnelPort: { default: 8472, doc: "UDP port of VXLAN", liveness: "restart", min: 1, max: 65535 },
  mtu: {
    default: 0,
    doc: "MTU of the native device; 0: as the device has it",
    liveness: "restart",
    min: 0,
    max: 65520,
  },
  enableIPv4: { default: true, doc: "give pods IPv4 addresses", liveness: "drain" },
  enableIPv6: { default: true, doc: "give pods IPv6 addresses", liveness: "drain" },
  ipamMode: {
    default: "cluster-pool",
    doc: "where pod CIDRs come from: cut by our operator out of one pool or of CiliumPodIPPools, or Node.spec.podCIDRs",
    key: "ipam",
    liveness: "drain",
    oneOf: ["cluster-pool", "multi-pool", "kubernetes"] as const,
  },
  ipamPreAllocate: {
    default: 8,
    doc: "addresses to have ahead: with fewer left in the default pool the operator is asked for another pod CIDR",
    key: "ipam-pre-allocate",
    liveness: "restart",
    min: 0,
    max: 65535,
  },
  enableIPv4Masquerade: {
    default: true,
    doc: "masquerade pod traffic that leaves the cluster",
    liveness: "restart",
  },
  enableIPv6Masquerade: { default: true, doc: "the same for IPv6", liveness: "restart" },
  nonMasqueradeCIDRs: {
    default: [] as readonly string[],
    doc: "destinations never masqueraded, besides pods and nodes",
    liveness: "restart",
  },
  ...serviceOptions,
  ...identityOptions,
  policyEnforcement: {
    default: "default",
    doc: "when policy is enforced",
    key: "enable-policy",
    liveness: "restart",
    oneOf: ["default", "always", "never"] as const,
  },
  policyCIDRMatchMode: {
    default: "address",
    doc: "whom rules on prefixes (ipBlock, CIDRs, networks) match. address: every packet by its address, pods and nodes too, as Kubernetes has it; identity: only what is outside of the cluster; nodes: that, and nodes, as the field's option of this name has it",
    liveness: "restart",
    oneOf: ["address", "nodes", "identity"] as const,
  },
  policyAuditMode: {
    default: false,
    doc: "report what policy would drop, drop nothing",
    liveness: "restart",
  },
  ...dnsOptions,
  enableHostFirewall: {
    default: true,
    doc: "enforce policies about nodes (nodeSelector) on this node",
    liveness: "restart",
  },
  hostPolicyTrial: {
    default: 60,
    doc: "seconds until a change of host policies that cuts off the API server or a session is taken back",
    unit: "s",
    liveness: "restart",
    min: 1,
    max: 3600,
  },
  hostPolicyProtected: {
    default: [] as readonly string[],
    doc: "CIDR:PORT that host policies must not cut off unasked either, as 192.0.2.0/24:22 or [2001:db8::/32]:22",
    liveness: "restart",
  },
  ...proxyOptions,
  monitorAggregation: {
    default: "medium",
    doc: "how many trace events a connection makes",
    liveness: "live",
    oneOf: ["none", "lowest", "low", "medium", "maximum"] as const,
  },
  monitorAggregationInterval: {
    default: 5,
    doc: "seconds between trace events of a live connection",
    unit: "s",
    liveness: "live",
    min: 1,
    max: 3600,
  },
  conntrackMax: { default: 131072, doc: "connections tracked", liveness: "drain", min: 1024, max: 16777216 },
  natMax: {
    default: 131072,
    doc: "source NAT rows (two a mapping)",
    key: "bpf-nat-global-max",
    liveness: "drain",
    min: 1024,
    max: 16777216,
  },
  conntrackGCInterval: {
    default: 10,
    doc: "seconds between sweeps of expired connections",
    unit: "s",
    liveness: "live",
    min: 1,
    max: 43200,
  },
  ...cniOptions,
  metricsAddress: {
    default: "",
    doc: "host:port of /healthz and /metrics; empty: UNIX socket only",
    key: "prometheus-serve-addr",
    liveness: "restart",
  },
  agentHealthPort: {
    default: 0,
    doc: "port of /healthz and /readyz on 127.0.0.1, for probes; 0: none",
    liveness: "restart",
    min: 0,
    max: 65535,
  },
  ...hubbleOptions,
  logLevel: { default: "info", doc: "least severe line logged", liveness: "live", oneOf: logLevels },
} as const satisfies OptionSet;

/** The agent's checked configuration. */
export type AgentConfig = Values<typeof agentOptions>;

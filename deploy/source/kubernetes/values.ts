import { configKey, type OptionSet } from "@axoneme/app";
import { agentOptions } from "../../../apps/agent/src/options.ts";
import { proxyOptions } from "../../../apps/dnsproxy/src/options.ts";
import { operatorOptions } from "../../../apps/operator/src/options.ts";
import { relayOptions } from "../../../apps/relay/src/options.ts";
import { type Leaf, leaf, option, type Program, type Schema, type Tree } from "./value-tree.ts";

const programs: Readonly<Record<Program, OptionSet>> = {
  agent: agentOptions,
  operator: operatorOptions,
  relay: relayOptions,
  dnsproxy: proxyOptions,
};

type Over = Parameters<typeof option>[1];
const of = (name: string, over?: Over, ...more: readonly (readonly [Program, string])[]): Leaf =>
  option(
    ([["agent", name], ...more] as const).map(([program, each]) => ({
      program,
      name: each,
      options: programs[program],
    })),
    over,
  );
const ofOperator = (name: string): Leaf => option([{ program: "operator", options: operatorOptions, name }]);
const ofRelay = (name: string): Leaf => option([{ program: "relay", options: relayOptions, name }]);

const mapping: Schema = { type: "object" };
const list: Schema = { type: "array" };
const flag: Schema = { type: "boolean" };
const string: Schema = { type: "string" };
const port: Schema = { type: "integer", minimum: 1, maximum: 65535 };
const count: Schema = { type: "integer", minimum: 0 };
const anywhere = [{ operator: "Exists" }];

/** Where and how pods of a part run. */
const placement = (tolerations: readonly object[], priorityClassName: string) => ({
  resources: leaf({}, "requests and limits of its containers", mapping),
  nodeSelector: leaf({ "kubernetes.io/os": "linux" }, "nodes it runs on", mapping),
  tolerations: leaf(tolerations, "taints it does not mind", list),
  priorityClassName: leaf(priorityClassName, "priority class of its pods", string),
});

/** The part of a ConfigMap that values have no names for: checked by the options there are. */
function extraConfig(program: Program): Leaf {
  const keys = Object.entries(programs[program]).map(([name, described]) => configKey(name, described));
  const words = { type: ["string", "number", "boolean"] };
  const schema = { type: "object", propertyNames: { enum: keys }, additionalProperties: words };
  return leaf({}, `further options of the ${program}, by their keys in docs/reference`, schema);
}

/** The chart's values. Names are those of the field's chart where they mean the same. */
export const valueTree: Tree = {
  image: {
    repository: leaf("ghcr.io/axoneme/axoneme", "image of all programs", string),
    tag: leaf("", "its tag; empty: the chart's version", string),
    digest: leaf("", "its digest, as sha256:...; empty: the tag counts", string),
    pullPolicy: leaf("IfNotPresent", "when it is pulled", { enum: ["Always", "IfNotPresent", "Never"] }),
  },
  imagePullSecrets: leaf([], "Secrets to pull it with, as [{name: ...}]", list),
  k8sServiceHost: leaf("", "host of the API server; needed where no kube-proxy serves its Service", string),
  k8sServicePort: leaf("", "its port", { type: ["string", "integer"] }),
  cluster: { name: of("clusterName", {}, ["operator", "clusterName"], ["relay", "clusterName"]) },
  debug: { enabled: leaf(false, "log what is only of use to who looks for a fault", flag) },
  routingMode: of("routingMode", { default: "tunnel" }),
  tunnelProtocol: of("tunnelProtocol"),
  tunnelPort: of("tunnelPort"),
  MTU: of("mtu"),
  devices: of("device"),
  ipv4: { enabled: of("enableIPv4") },
  ipv6: { enabled: of("enableIPv6", { default: false }) },
  enableIPv4Masquerade: of("enableIPv4Masquerade"),
  enableIPv6Masquerade: of("enableIPv6Masquerade"),
  ipam: {
    mode: of("ipamMode", {}, ["operator", "ipamMode"]),
    operator: {
      clusterPoolIPv4PodCIDRList: ofOperator("clusterPoolIpv4Cidrs"),
      clusterPoolIPv4MaskSize: ofOperator("clusterPoolIpv4MaskSize"),
      clusterPoolIPv6PodCIDRList: ofOperator("clusterPoolIpv6Cidrs"),
      clusterPoolIPv6MaskSize: ofOperator("clusterPoolIpv6MaskSize"),
    },
  },
  kubeProxyReplacement: of("kubeProxyReplacement", {
    default: false,
    schema: { enum: [true, false, "true", "false"] },
  }),
  kubeProxyReplacementHealthzBindAddr: of("healthzAddress"),
  socketLB: { enabled: of("socketLB") },
  nodePort: { addresses: of("nodePortAddresses") },
  loadBalancer: {
    algorithm: of("loadBalancerAlgorithm"),
    mode: of("loadBalancerMode"),
    dsrDispatch: of("dsrDispatch"),
    acceleration: of("loadBalancerAcceleration"),
    serviceTopology: of("serviceTopology"),
  },
  maglev: { tableSize: of("maglevTableSize") },
  bpf: {
    monitorAggregation: of("monitorAggregation"),
    monitorInterval: of("monitorAggregationInterval"),
    natMax: of("natMax"),
  },
  conntrackGCInterval: of("conntrackGCInterval"),
  ciliumEndpointSlice: {
    enabled: of("enableCiliumEndpointSlice", {}, ["operator", "enableCiliumEndpointSlice"]),
  },
  policyEnforcementMode: of("policyEnforcement"),
  policyAuditMode: of("policyAuditMode"),
  hostFirewall: { enabled: of("enableHostFirewall") },
  labels: of("labels"),
  dnsProxy: {
    enabled: leaf(true, "DNS proxy on each node, for policies by name; false: DNS rules deny", flag),
    minTtl: of("tofqdnsMinTTL"),
    idleConnectionGracePeriod: of("tofqdnsIdleConnectionGracePeriod"),
    dnsRejectResponseCode: of("tofqdnsDNSRejectResponseCode"),
    proxyResponseMaxDelay: of("tofqdnsProxyResponseMaxDelay"),
    proxyPort: of("tofqdnsProxyPort", {}, ["dnsproxy", "port"]),
    resources: leaf({}, "requests and limits of its container", mapping),
  },
  cni: {
    install: leaf(true, "install the plugin and write its configuration, once pods can be added", flag),
    exclusive: of("cniExclusive", { default: true }),
    confPath: leaf("/etc/cni/net.d", "the runtime's directory of configurations, on the node", string),
    binPath: leaf("/opt/cni/bin", "the runtime's directory of plugins, on the node", string),
    uninstall: leaf(false, "take both away when the agent's pod ends: set it before you uninstall", flag),
  },
  agentNotReadyTaintKey: leaf(
    "node.cilium.io/agent-not-ready",
    "taint that keeps pods off a node until its agent can serve them; the operator removes it then",
    string,
  ),
  healthPort: leaf(9879, "port on the node's loopback for the agent's probes", port),
  prometheus: {
    enabled: leaf(false, "serve the agents' metrics", flag),
    port: leaf(9962, "on this port of the nodes", port),
  },
  ...placement(anywhere, "system-node-critical"),
  updateStrategy: leaf(
    { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 2 } },
    "how the agents are replaced; traffic goes on without them",
    mapping,
  ),
  podAnnotations: leaf({}, "annotations of the agents' pods", mapping),
  terminationGracePeriodSeconds: leaf(10, "seconds an agent has to end", count),
  extraConfig: extraConfig("agent"),
  operator: {
    replicas: leaf(2, "operators; one leads, the others wait", count),
    ...placement(anywhere, "system-cluster-critical"),
    prometheus: {
      enabled: leaf(true, "serve its metrics to others than its node", flag),
      port: leaf(9963, "port of probes and metrics", port),
    },
    podDisruptionBudget: { enabled: leaf(true, "keep one when nodes are drained", flag) },
    removeNodeTaints: ofOperator("removeNodeTaints"),
    setNodeNetworkStatus: ofOperator("setNodeNetworkStatus"),
    extraConfig: extraConfig("operator"),
  },
  hubble: {
    enabled: of("enableHubble"),
    listenAddress: leaf("[::]:4244", "where agents serve flows to relays; empty: on the node only", string),
    eventBufferCapacity: of("flowBufferCapacity"),
    metrics: { enabled: of("hubbleMetrics") },
    tls: {
      enabled: leaf(true, "certificates on both sides; false: plain text to whoever reaches the port", flag),
      auto: { enabled: leaf(true, "the operator makes and renews them; false: you make the Secrets", flag) },
    },
    relay: {
      enabled: leaf(false, "serve the flows of all nodes at one address", flag),
      replicas: leaf(1, "relays", count),
      ...placement([], ""),
      listenPort: leaf(4245, "port of the relay", port),
      prometheus: { port: leaf(9966, "port of its probes and metrics", port) },
      mergeWaitMs: ofRelay("mergeWaitMs"),
      extraConfig: extraConfig("relay"),
    },
    ui: {
      enabled: leaf(
        false,
        "serve the page, beside the relay; there is no login: reach it by kubectl port-forward",
        flag,
      ),
      hostNames: leaf([], "names under which browsers may ask for it besides localhost", {
        type: "array",
        items: string,
      }),
      resources: leaf({}, "requests and limits of its container", mapping),
    },
  },
};

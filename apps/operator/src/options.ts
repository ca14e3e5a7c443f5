import { loadOptions, logLevels, type OptionSet, parseOptions, type Values } from "@axoneme/app";
import { AxonError } from "@axoneme/base";
import { load } from "js-yaml";

/** Every option of the operator. Defaults of intervals and pools are the field's. */
export const operatorOptions = {
  kubeconfig: {
    default: "",
    doc: "kubeconfig file; empty: KUBECONFIG, the pod's service account, or ~/.kube/config",
    liveness: "restart",
  },
  context: { default: "", doc: "context of the kubeconfig; empty: its current one", liveness: "restart" },
  logLevel: { default: "info", doc: "least level that is logged", liveness: "restart", oneOf: logLevels },
  listen: {
    default: "",
    doc: "address of /healthz and /metrics, as in 127.0.0.1:9963; empty: none",
    liveness: "restart",
  },
  leaseNamespace: { default: "kube-system", doc: "namespace of the election's lease", liveness: "restart" },
  leaseName: { default: "axoneme-operator", doc: "name of the election's lease", liveness: "restart" },
  leaseDurationS: {
    default: 15,
    doc: "seconds after which a silent leader may be replaced",
    liveness: "restart",
    min: 3,
    max: 600,
  },
  installCrds: {
    default: true,
    doc: "install and update our custom resource definitions",
    liveness: "restart",
  },
  ipamMode: {
    default: "cluster-pool",
    doc: "cluster-pool: this operator hands out pod CIDRs; kubernetes: Node.spec.podCIDRs are used as they are",
    liveness: "restart",
    oneOf: ["cluster-pool", "kubernetes"],
  },
  clusterPoolIpv4Cidrs: {
    default: ["10.0.0.0/8"] as readonly string[],
    doc: "blocks that IPv4 pod CIDRs are cut from; empty: no IPv4",
    liveness: "restart",
  },
  clusterPoolIpv4MaskSize: {
    default: 24,
    doc: "length of a node's IPv4 CIDR",
    liveness: "restart",
    min: 1,
    max: 32,
  },
  clusterPoolIpv6Cidrs: {
    default: ["fd00::/104"] as readonly string[],
    doc: "blocks that IPv6 pod CIDRs are cut from; empty: no IPv6",
    liveness: "restart",
  },
  clusterPoolIpv6MaskSize: {
    default: 120,
    doc: "length of a node's IPv6 CIDR",
    liveness: "restart",
    min: 1,
    max: 128,
  },
  enableLbIpam: {
    default: true,
    doc: "give Services of type LoadBalancer addresses of CiliumLoadBalancerIPPools; idle until there is a pool",
    liveness: "restart",
  },
  defaultLbServiceIpam: {
    default: "lbipam",
    doc: "who gives addresses to Services without a loadBalancerClass: lbipam: our pools; none: somebody else",
    liveness: "restart",
    oneOf: ["lbipam", "none"],
  },
  clusterName: { default: "default", doc: "name of the cluster, as the agents have it", liveness: "restart" },
  hubbleCertificates: {
    default: true,
    doc: "make and renew the certificates by which relays and agents know each other",
    liveness: "restart",
  },
  hubbleCertificatesNamespace: {
    default: "kube-system",
    doc: "namespace of the Secrets with these certificates",
    liveness: "restart",
  },
  identityGcIntervalS: {
    default: 900,
    doc: "seconds between looks for unused identities; 0: never",
    liveness: "restart",
    min: 0,
  },
  identityHeartbeatTimeoutS: {
    default: 1800,
    doc: "seconds an identity must be unused before it is removed",
    liveness: "restart",
    min: 1,
  },
  identityGcRatePerMinute: {
    default: 2500,
    doc: "most identities removed in a minute",
    liveness: "restart",
    min: 1,
  },
  endpointGcIntervalS: {
    default: 300,
    doc: "seconds between looks for CiliumEndpoints without a pod; 0: never",
    liveness: "restart",
    min: 0,
  },
  nodesGcIntervalS: {
    default: 300,
    doc: "seconds between looks for CiliumNodes without a Node; 0: never",
    liveness: "restart",
    min: 0,
  },
} as const satisfies OptionSet;

export type OperatorConfig = Values<typeof operatorOptions>;

export interface Arguments {
  config?: string | undefined;
  kubeconfig?: string | undefined;
  /** "option=value", the value in YAML; over what the file says. */
  set?: readonly string[] | undefined;
}

/** The configuration of a command line. Throws `config.invalid` or `config.unreadable`. */
export function readConfig(args: Arguments): OperatorConfig {
  const file: Record<string, unknown> =
    args.config === undefined ? {} : loadOptions(operatorOptions, args.config);
  const overrides = Object.fromEntries((args.set ?? []).map(parseAssignment));
  const kubeconfig = args.kubeconfig === undefined ? {} : { kubeconfig: args.kubeconfig };
  return parseOptions(operatorOptions, { ...file, ...overrides, ...kubeconfig });
}

function parseAssignment(text: string): [string, unknown] {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new AxonError("config.invalid", `"${text}" is not OPTION=VALUE`);
  return [text.slice(0, equals), load(text.slice(equals + 1))];
}

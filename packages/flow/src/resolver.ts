import type { Ip } from "@axoneme/base";
import type { FlowLayer7, FlowPolicy, FlowProcess, FlowWorkload } from "./flow.ts";

/** What is known of a pod (or node) behind an address or a local endpoint id. */
export interface PeerInfo {
  /** Identity by control plane knowledge; the datapath's wins when it is not zero. */
  readonly identity?: number;
  readonly namespace?: string;
  readonly podName?: string;
  readonly clusterName?: string;
  readonly workloads?: readonly FlowWorkload[];
  /** All labels of the pod, sorted, `source:key=value`; shared, not copied. An identity's may be fewer. */
  readonly labels?: readonly string[];
  /** Local endpoint id, when local. */
  readonly endpointId?: number;
}

/** What is known of an identity. `labels` must be sorted, `source:key=value`; it is shared, not copied. */
export interface IdentityInfo {
  readonly labels: readonly string[];
  /** Of the pods that carry it; absent for reserved and CIDR identities. */
  readonly namespace?: string;
}

/** What decided a verdict: the rule behind `rule_egress`/`rule_ingress` of a record. */
export interface RuleInfo {
  /** The policies that the rule came from, or, for a default deny, that switched enforcement on. */
  readonly policies: readonly FlowPolicy[];
  /** False when the rule is for any peer (default true). */
  readonly l3?: boolean;
  /** What the rule says of layer 4 (default "port"). */
  readonly l4?: "any" | "protocol" | "port";
  /** True when nothing matched and the direction is enforced. */
  readonly defaultDeny?: boolean;
}

/**
 * The names behind the numbers of a record. Called for every flow that a reader asks for, so look-ups must be cheap
 * (maps in memory) and must not throw; undefined means unknown.
 */
export interface FlowResolver {
  /** `<cluster>/<node>`, or `<node>` for the cluster "default". */
  readonly nodeName: string;
  readonly nodeLabels?: readonly string[];
  /** `identity`: what the record says, 0 when nothing. Numbers and addresses are used again: it tells whose they were. */
  endpointById(id: number, identity: number): PeerInfo | undefined;
  identityById(identity: number): IdentityInfo | undefined;
  byIp(ip: Ip, identity: number): PeerInfo | undefined;
  /** The Service whose frontend is at ip:port (any protocol when 0). */
  serviceByAddr(ip: Ip, port: number, proto: number): { name: string; namespace: string } | undefined;
  ruleById(rule: number): RuleInfo | undefined;
  interfaceName(ifindex: number): string | undefined;
  /** What a record of layer 7 is about, by the number in it; undefined: nobody knows any more. */
  layer7?(number: number): FlowLayer7 | undefined;
  /** DNS names under which the endpoint has learnt the address. */
  namesOf?(ip: Ip, endpoint: number): readonly string[] | undefined;
  /** The process of that number, if it may have sent or received something at that wall time. The answer is shared. */
  processById?(id: number, timeNs: bigint): FlowProcess | undefined;
}

/** A resolver that knows nothing: flows show addresses and numbers only. */
export function emptyResolver(nodeName: string): FlowResolver {
  return {
    nodeName,
    endpointById: () => undefined,
    identityById: () => undefined,
    byIp: () => undefined,
    serviceByAddr: () => undefined,
    ruleById: () => undefined,
    interfaceName: () => undefined,
  };
}

import type { Prefix } from "@axoneme/base";
import type { Labels } from "@axoneme/identity";
import type { MapSpace } from "./budget.ts";
import type { DnsRuleSet } from "./dnsrules.ts";
import type { Enforcement } from "./grouping.ts";
import type { ContainerPort } from "./peerports.ts";
import type { PolicyChange } from "./rows.ts";

/** A local endpoint. */
export interface PolicyEndpoint {
  /** Endpoint id, 1..65535. */
  id: number;
  identity: number;
  /** Identity labels: what policy subjects select. */
  labels: Labels;
  namedPorts?: readonly ContainerPort[];
}

export interface PolicyEngineOptions {
  enforcement?: Enforcement;
  /** Rows and heads that deny say AUDIT instead: report, do not drop (default false). */
  audit?: boolean;
  /** `auto`: the node may reach its pods wherever ingress is enforced; `policy`: only by a rule (default auto). */
  allowLocalhost?: "auto" | "policy";
  /** Which families the node has. With one only, identity 2 (world) is that family's world. */
  families?: { ipv4: boolean; ipv6: boolean };
  /** First number given to distinct policies: above every one in the maps after a restart (default 1). */
  firstPolicyId?: number;
  /** Room in the maps (default: no end of it). Policies that do not fit are not written: see `withdrawn`. */
  capacity?: MapSpace;
  /** First rule id (default 1). The built-in rules take the first three. */
  firstRuleId?: number;
}

/** What a commit asks the caller to do. */
export interface PolicyCommit {
  /** Writes, in the order in which they must reach the kernel. */
  changes: PolicyChange[];
  /**
   * Prefixes in need of a number that have none yet, and prefixes no policy names any more: give up the number, if you
   * took one.
   */
  cidrs: { added: Prefix[]; removed: Prefix[] };
  /**
   * DNS rule sets that rows begin to name (the proxy must know them before the rows are written), and ids that no row
   * names any more.
   */
  dns: { added: DnsRuleSet[]; removed: number[] };
}

/** One side of a connection. */
export interface FlowSide {
  identity: number;
  /** What rules on prefixes know its address by (`PolicyEngine.cidrOf`); 0: they pass over it. */
  cidr: number;
  /** When the side is a local endpoint: its policy is asked. */
  endpointId?: number;
}

/** A connection to judge. */
export interface FlowQuery {
  source: FlowSide;
  destination: FlowSide;
  proto: number;
  /** Destination port; ICMP: the type. */
  port: number;
}

import type { Catalog, PeerRef } from "./catalog.ts";
import type { CidrIndex, CidrNode } from "./cidrindex.ts";
import type { PolicyRows } from "./distinct.ts";
import type { Effort } from "./effort.ts";
import type { LabelIndex, SelectorNode } from "./labelindex.ts";
import type { Direction, NamedPort, PolicyRef, PolicySpec } from "./rule.ts";
import type { RuleInfo, RuleTable } from "./ruletable.ts";
import type { SpecSum } from "./specset.ts";

/** Which rules stand for default deny: of those in force and of those on trial the first by name. */
export interface FirstDeny {
  enforced: RuleInfo | undefined;
  audited: RuleInfo | undefined;
  /** One of them went: to be looked for anew. */
  stale: boolean;
}

/** A group of endpoints to which the same specs apply with the same named ports, and its rows. */
export interface Distinct {
  /** Equal for equal memberships, as good as always different for others. */
  key: string;
  /** Of its specs. */
  sum: SpecSum;
  rows: PolicyRows;
  specs: Set<CompiledSpec>;
  endpoints: Set<number>;
  /** Names of ports in ingress rules of the specs, each with the number of specs that use it. */
  names: Map<string, number>;
  /** What these names stand for in these endpoints: named -> ports. */
  resolution: ReadonlyMap<string, readonly number[]>;
  standing: Standing;
  /** The built-in allow from the local host, when in force. */
  localhost: boolean;
  /** How many of the specs know tiers, Pass, trial or DNS rules. */
  layered: number;
  /** How many of the specs deny ingress by default. */
  ingressDenies: number;
  firstDenies: readonly [ingress: FirstDeny, egress: FirstDeny];
}

/**
 * What an endpoint is: `init` (no labels yet) is default deny in both directions whatever applies; the `host` is under
 * host policies only, whatever the mode of enforcement, and has no built-in allow from itself.
 */
export type Standing = "pod" | "init" | "host";

/** A rule with its peers looked up. */
export interface CompiledRule {
  info: RuleInfo;
  direction: Direction;
  spec: CompiledSpec;
  /** Packed L4 of the ports given by number. */
  codes: readonly number[];
  named: readonly NamedPort[];
  /** 1 when the rule names everybody. */
  all: 0 | 1;
  /** The peers it reaches, each with how often it is named: by the rule itself, or by a reference. */
  nodes: Map<PeerNode, number>;
  /** Objects it names instead of peers. */
  refs: readonly PeerRef[];
}

/** Identities under a selector or a CIDR. */
export type PeerNode = SelectorNode | CidrNode;

/** Whether a peer is a CIDR. */
export function isCidrNode(node: PeerNode): node is CidrNode {
  return "prefix" in node;
}

/** A spec of a policy. Its rules are looked up when it first selects a local endpoint: hardly any node has them all. */
export interface CompiledSpec {
  readonly id: number;
  readonly policy: PolicyRef;
  readonly spec: PolicySpec;
  readonly subject: SelectorNode;
  /** Names of ports in ingress rules. */
  readonly ingressNames: ReadonlySet<string>;
  /** Whether `rules` and `deny` are looked up. */
  active: boolean;
  rules: readonly CompiledRule[];
  /** Default deny, by direction. */
  deny: readonly [ingress: RuleInfo | undefined, egress: RuleInfo | undefined];
  readonly distincts: Set<Distinct>;
}

/** The indexes specs are compiled against. */
export interface Indexes {
  subjects: LabelIndex;
  peers: LabelIndex;
  cidrs: CidrIndex;
  rules: RuleTable;
  groups: Catalog;
  services: Catalog;
  effort: Effort;
}

import type { Prefix } from "@axoneme/base";
import type { Selector } from "./selector.ts";

/** Numbers of `enum ax_dir`. */
export const Direction = { INGRESS: 0, EGRESS: 1 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** Numbers of `enum ax_policy_verdict`. PASS is never in a row: such a rule leaves the decision to the next tier. */
export const Verdict = { ALLOW: 0, DENY: 1, DEFAULT_DENY: 2, AUDIT: 3, PASS: 255 } as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** What a row or a head can say. */
export type RowVerdict = Exclude<Verdict, typeof Verdict.PASS>;

/** The object a rule comes from. `Builtin` = none: what the engine adds by itself. */
export interface PolicyRef {
  kind:
    | "NetworkPolicy"
    | "CiliumNetworkPolicy"
    | "CiliumClusterwideNetworkPolicy"
    | "ClusterNetworkPolicy"
    | "AdminNetworkPolicy"
    | "BaselineAdminNetworkPolicy"
    | "Builtin";
  /** Absent for cluster-wide objects. */
  namespace?: string;
  name: string;
  uid?: string;
}

/** A peer that stands for itself. */
export type ConcretePeer =
  /** Identities by labels. */
  | { kind: "labels"; selector: Selector }
  /** Identities of CIDRs inside `prefix` and in none of `except`; a /0 also the world. */
  | { kind: "cidr"; prefix: Prefix; except: readonly Prefix[] };

/** Whom a rule lets in or keeps out. */
export type Peer =
  | ConcretePeer
  /** Everybody, known or not. */
  | { kind: "all" }
  /** The prefixes of those CIDR groups that the selector selects, less `except`. */
  | { kind: "groups"; selector: Selector; except: readonly Prefix[] }
  /** What stands behind those Services that the selector selects. */
  | { kind: "services"; selector: Selector };

/** Destination ports in the form of policy rows: `shape` is the length of the L4 prefix (see abi.h). */
export interface L4 {
  /** IP protocol number; 0 with shape 0. */
  proto: number;
  /** First port of the prefix, host order; ICMP: the type. */
  port: number;
  /** 0 any protocol, 8 one protocol, 9..24 one protocol and a port prefix. */
  shape: number;
}

/** A port by its name in the destination pod. */
export interface NamedPort {
  name: string;
  proto: number;
}

/** One entry of a policy. It selects nothing when `peers` is empty, or `l4` and `named` both are. */
export interface Rule {
  /** Place in the object: `spec.ingress[0]`, `specs[1].egressDeny[2]`. */
  path: string;
  direction: Direction;
  verdict: typeof Verdict.ALLOW | typeof Verdict.DENY | typeof Verdict.PASS;
  /** Place in the order of the spec's rules, where that decides (default 0): lower first, at most 127. */
  order?: number;
  peers: readonly Peer[];
  l4: readonly L4[];
  named: readonly NamedPort[];
  /** Connections go to the DNS proxy, which lets these names through. */
  dns?: DnsNamesOf;
}

/** Names that DNS rules let through. Lower case, without a trailing dot, sorted, each once. */
export interface DnsNames {
  readonly names: readonly string[];
  /** With `*`: zero or more characters of one label; a leading `**.`: one or more labels; `*` alone: every name. */
  readonly patterns: readonly string[];
}

/** The names of a rule. */
export interface DnsNamesOf extends DnsNames {
  /** What rules that rank lower let through passes as well: the rule allows names and is not about the connection. */
  readonly andOthers?: true;
}

/** A subject and what applies to it. Kubernetes policies have one, Cilium's one or several. */
export interface PolicySpec {
  /** `spec` or `specs[n]`. */
  path: string;
  /** Selects endpoints by identity labels. */
  subject: Selector;
  /** The subject is the node itself (a host policy), by the labels of its Node object: never a pod. */
  host?: true;
  /** Whether selected endpoints get default deny, per direction. */
  defaultDeny: { ingress: boolean; egress: boolean };
  rules: readonly Rule[];
  /** Lower tiers decide first: Admin 100, Normal 200, Baseline 250. */
  tier: number;
  /** Within the tier, lower first; at most 32,767. */
  priority: number;
  /** On trial: decides nothing, but what it would deny is reported. */
  audited?: boolean;
}

/**
 * Something about a policy object its author should know. `invalid` and `unsupported` parts select nothing, so
 * they open nothing; default deny of the object still holds. A `warning` changes nothing.
 */
export interface Problem {
  severity: "invalid" | "unsupported" | "warning";
  /** The field, for example `spec.ingress[0].toPorts[0].rules.http`. */
  path: string;
  message: string;
}

/** A policy object in normal form. */
export interface Policy {
  ref: PolicyRef;
  specs: readonly PolicySpec[];
  problems: readonly Problem[];
}

/** Text that names a policy object: `kind/namespace/name`. */
export function policyKey(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): string {
  return `${ref.kind}/${ref.namespace ?? ""}/${ref.name}`;
}

/** The normal tier's number. */
export const TIER_NORMAL = 200;

const TIERS: readonly number[] = [100, TIER_NORMAL, 250];
const NORMAL_RANK = TIERS.indexOf(TIER_NORMAL);
const LOW: Partial<Record<Verdict, number>> = { [Verdict.ALLOW]: 1, [Verdict.PASS]: 0 };

/**
 * The rank of a rule; higher wins. Upper 24 bits: inverted order of tier, priority and place in the policy. Low
 * byte: 255 deny, 1 allow, 0 pass, so that within one order any deny beats any allow.
 */
export function precedence(spec: Pick<PolicySpec, "tier" | "priority">, verdict: Verdict, place = 0): number {
  const tier = TIERS.findIndex((known) => known >= spec.tier);
  const within = Math.min(32_767, Math.max(0, Math.round(spec.priority))) * 128 + Math.min(127, place);
  const order = (tier < 0 ? TIERS.length : tier) * 0x40_0000 + within;
  return (0xff_ffff - order) * 0x100 + (LOW[verdict] ?? 255);
}

/** The place of a rule's policy in the order of tiers and priorities; lower first. */
export function priorityRank({ precedence: rank }: { precedence: number }): number {
  return Math.floor((0xff_ffff - Math.floor(rank / 0x100)) / 128);
}

function tierRank({ precedence: rank }: { precedence: number }): number {
  return Math.floor((0xff_ffff - Math.floor(rank / 0x100)) / 0x40_0000);
}

/** Whether two rules are of one tier. */
export function sameTier(a: { precedence: number }, b: { precedence: number }): boolean {
  return tierRank(a) === tierRank(b);
}

/** Whether a rule's tier comes after the normal one: default deny is decided before. */
export function isPastNormal(rule: { precedence: number }): boolean {
  return tierRank(rule) > NORMAL_RANK;
}

/** Whether a spec is of the normal tier. */
export function isNormalTier({ tier }: { tier: number }): boolean {
  return tier === TIER_NORMAL;
}

import type { Prefix } from "@axoneme/base";
import type { Selector } from "./selector.ts";

/** Numbers of `enum ax_dir`. */
export const Direction = { INGRESS: 0, EGRESS: 1 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** Numbers of `enum ax_policy_verdict`. */
export const Verdict = { ALLOW: 0, DENY: 1, DEFAULT_DENY: 2, AUDIT: 3 } as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** The object a rule comes from. `Builtin` = none: what the engine adds by itself. */
export interface PolicyRef {
  kind: "NetworkPolicy" | "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" | "Builtin";
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
  verdict: typeof Verdict.ALLOW | typeof Verdict.DENY;
  peers: readonly Peer[];
  l4: readonly L4[];
  named: readonly NamedPort[];
}

/** A subject and what applies to it. Kubernetes policies have one, Cilium's one or several. */
export interface PolicySpec {
  /** `spec` or `specs[n]`. */
  path: string;
  /** Selects endpoints by identity labels. */
  subject: Selector;
  /** Whether selected endpoints get default deny, per direction. */
  defaultDeny: { ingress: boolean; egress: boolean };
  rules: readonly Rule[];
  /** Lower tiers decide first: Admin 100, Normal 200, Baseline 250. */
  tier: number;
  /** Within the tier, lower first. */
  priority: number;
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

/**
 * The u32 stored with a row; higher wins. Upper 24 bits: inverted order of tier and priority. Low byte: 255
 * deny, 1 allow, so that within one order any deny beats any allow.
 */
export function precedence(spec: Pick<PolicySpec, "tier" | "priority">, verdict: Verdict): number {
  const order =
    Math.min(0xff, spec.tier) * 0x1_0000 + Math.min(0xffff, Math.max(0, Math.round(spec.priority)));
  return (0xff_ffff - order) * 0x100 + (verdict === Verdict.ALLOW ? 1 : 255);
}

import { formatPrefix } from "@axoneme/base";
import type { Catalog, PeerRef } from "./catalog.ts";
import type { CidrIndex, CidrNode } from "./cidrindex.ts";
import type { PolicyRows } from "./distinct.ts";
import { l4Code, onePort } from "./l4.ts";
import type { LabelIndex, SelectorNode } from "./labelindex.ts";
import { namedKey, type PeerPorts } from "./peerports.ts";
import {
  type ConcretePeer,
  Direction,
  type NamedPort,
  type Peer,
  type PolicyRef,
  type PolicySpec,
  precedence,
  type Rule,
  Verdict,
} from "./rule.ts";
import type { RuleInfo, RuleTable } from "./ruletable.ts";

/** A group of endpoints to which the same specs apply with the same named ports, and its rows. */
export interface Distinct {
  key: string;
  rows: PolicyRows;
  specs: Set<CompiledSpec>;
  endpoints: Set<number>;
  /** Ports that ingress rules mean by a name, in these endpoints: named -> ports. */
  resolution: ReadonlyMap<string, readonly number[]>;
  /** `reserved:init`: default deny in both directions whatever applies. */
  init: boolean;
  /** The built-in allow from the local host, when in force. */
  localhost: boolean;
  /** Tiers, Pass or policies on trial are involved. */
  layered: boolean;
}

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

/** A spec in force. */
export interface CompiledSpec {
  id: number;
  fingerprint: string;
  spec: PolicySpec;
  subject: SelectorNode;
  rules: CompiledRule[];
  /** Default deny, by direction. */
  deny: [ingress: RuleInfo | undefined, egress: RuleInfo | undefined];
  distincts: Set<Distinct>;
  /** Names of ports in ingress rules. */
  ingressNames: ReadonlySet<string>;
}

/** The indexes a spec is compiled against. */
export interface Indexes {
  subjects: LabelIndex;
  peers: LabelIndex;
  cidrs: CidrIndex;
  rules: RuleTable;
  groups: Catalog;
  services: Catalog;
}

/** Text that is equal for specs that mean the same rows with the same rule ids. */
export function fingerprintOf(spec: PolicySpec): string {
  return JSON.stringify(spec, (_, value: unknown) => {
    const prefix = value as { ip?: unknown; length?: number };
    return prefix?.ip instanceof Uint8Array
      ? formatPrefix({ ip: prefix.ip, length: prefix.length ?? 0 })
      : value;
  });
}

/** Takes a spec into the indexes. */
export function compileSpec(id: number, policy: PolicyRef, spec: PolicySpec, indexes: Indexes): CompiledSpec {
  const denyInfo = (direction: Direction): RuleInfo =>
    indexes.rules.acquire({
      policy,
      path: spec.path,
      direction,
      verdict: Verdict.DEFAULT_DENY,
      precedence: 0,
      ...onTrial(spec),
    });
  const compiled: CompiledSpec = {
    id,
    fingerprint: fingerprintOf(spec),
    spec,
    subject: indexes.subjects.acquire(spec.subject),
    rules: [],
    deny: [
      spec.defaultDeny.ingress ? denyInfo(Direction.INGRESS) : undefined,
      spec.defaultDeny.egress ? denyInfo(Direction.EGRESS) : undefined,
    ],
    distincts: new Set(),
    ingressNames: new Set(
      spec.rules
        .filter((rule) => rule.direction === Direction.INGRESS)
        .flatMap((rule) => rule.named.map(namedKey)),
    ),
  };
  compiled.rules = spec.rules.map((rule) => compileRule(rule, compiled, policy, indexes));
  return compiled;
}

function compileRule(rule: Rule, spec: CompiledSpec, policy: PolicyRef, indexes: Indexes): CompiledRule {
  const { direction, verdict, path } = rule;
  const named = new Map(rule.named.map((port) => [namedKey(port), port]));
  const refs = new Set<PeerRef>();
  const compiled: CompiledRule = {
    info: indexes.rules.acquire({
      policy,
      path,
      direction,
      verdict,
      precedence: precedence(spec.spec, verdict, rule.order),
      ...onTrial(spec.spec),
      ...(rule.dns && { dns: rule.dns }),
    }),
    direction,
    spec,
    codes: rule.l4.map((l4) => l4Code(direction, l4)),
    named: [...named.values()],
    all: rule.peers.some(({ kind }) => kind === "all") ? 1 : 0,
    nodes: new Map(),
    refs: [],
  };
  for (const peer of rule.peers) {
    if (peer.kind === "all") continue;
    if (isConcrete(peer)) addPeer(compiled, peer, indexes);
    else acquireRef(compiled, peer, refs, indexes);
  }
  return Object.assign(compiled, { refs: [...refs] });
}

function onTrial(spec: PolicySpec): { audited?: true } {
  return spec.audited ? { audited: true } : {};
}

function acquireRef(
  rule: CompiledRule,
  peer: Extract<Peer, { kind: "groups" | "services" }>,
  refs: Set<PeerRef>,
  indexes: Indexes,
): void {
  const catalog = catalogOf(peer, indexes);
  const ref = catalog.acquire(peer.selector, peer.kind === "groups" ? peer.except : []);
  if (refs.has(ref)) {
    catalog.release(ref);
    return;
  }
  refs.add(ref);
  for (const { peer: meant } of ref.peers.values()) addPeer(rule, meant, indexes);
}

function isConcrete(peer: Peer): peer is ConcretePeer {
  return peer.kind === "labels" || peer.kind === "cidr";
}

function catalogOf({ kind }: { kind: "groups" | "services" }, indexes: Indexes): Catalog {
  return kind === "groups" ? indexes.groups : indexes.services;
}

/** The peers that a rule's peers stand for now. */
export function concretePeers(peers: readonly Peer[], indexes: Indexes): ConcretePeer[] {
  return peers.flatMap((peer) => {
    if (peer.kind === "all") return [];
    if (isConcrete(peer)) return [peer];
    const catalog = catalogOf(peer, indexes);
    const ref = catalog.acquire(peer.selector, peer.kind === "groups" ? peer.except : []);
    const meant = [...ref.peers.values()].map((entry) => entry.peer);
    catalog.release(ref);
    return meant;
  });
}

function acquireNode(peer: ConcretePeer, indexes: Indexes): PeerNode {
  return peer.kind === "cidr"
    ? indexes.cidrs.acquire(peer.prefix, peer.except)
    : indexes.peers.acquire(peer.selector);
}

/** Gives back one use of a peer. */
export function releaseNode(node: PeerNode, indexes: Indexes): void {
  if (isCidrNode(node)) indexes.cidrs.release(node);
  else indexes.peers.release(node);
}

/** A rule names a peer (once more); the peer when it did not before: what it reaches is to be contributed. */
export function addPeer(rule: CompiledRule, peer: ConcretePeer, indexes: Indexes): PeerNode | undefined {
  const node = acquireNode(peer, indexes);
  const times = rule.nodes.get(node) ?? 0;
  rule.nodes.set(node, times + 1);
  if (times === 0) return node;
  releaseNode(node, indexes);
  return undefined;
}

/** A rule names a peer once less; the peer when that was the last: take back what it reached, then release it. */
export function removePeer(rule: CompiledRule, peer: ConcretePeer, indexes: Indexes): PeerNode | undefined {
  const node = acquireNode(peer, indexes);
  releaseNode(node, indexes);
  const times = (rule.nodes.get(node) ?? 0) - 1;
  if (times > 0) {
    rule.nodes.set(node, times);
    return undefined;
  }
  return rule.nodes.delete(node) ? node : undefined;
}

/** Takes a spec out of the indexes again. */
export function dropSpec(compiled: CompiledSpec, indexes: Indexes): void {
  indexes.subjects.release(compiled.subject);
  for (const info of compiled.deny) if (info !== undefined) indexes.rules.release(info);
  for (const rule of compiled.rules) {
    indexes.rules.release(rule.info);
    for (const node of rule.nodes.keys()) releaseNode(node, indexes);
    for (const ref of rule.refs) ref.catalog.release(ref);
  }
}

/** Adds (1) or takes back (-1) all a rule contributes to a distinct policy. */
export function contributeRule(rule: CompiledRule, distinct: Distinct, ports: PeerPorts, by: 1 | -1): void {
  if (rule.all === 1) contributeAll(rule, distinct, ports, by);
  for (const node of rule.nodes.keys()) {
    for (const identity of node.items) contributePeer(rule, distinct, identity, ports, by);
  }
}

function contributeAll(rule: CompiledRule, distinct: Distinct, ports: PeerPorts, by: 1 | -1): void {
  for (const code of codesIn(rule, distinct)) contribute(rule, distinct, code, 0, by);
  if (rule.direction !== Direction.EGRESS) return;
  for (const named of rule.named) {
    for (const identity of ports.identities(namedKey(named))) {
      contributeNamed(rule, distinct, named, identity, ports, by);
    }
  }
}

/** What one peer identity of a rule contributes. */
export function contributePeer(
  rule: CompiledRule,
  distinct: Distinct,
  identity: number,
  ports: PeerPorts,
  by: 1 | -1,
): void {
  for (const code of codesIn(rule, distinct)) contribute(rule, distinct, code, identity, by);
  if (rule.direction !== Direction.EGRESS) return;
  for (const named of rule.named) contributeNamed(rule, distinct, named, identity, ports, by);
}

function contributeNamed(
  rule: CompiledRule,
  distinct: Distinct,
  named: NamedPort,
  identity: number,
  ports: PeerPorts,
  by: 1 | -1,
): void {
  for (const port of ports.of(namedKey(named), identity)) {
    contribute(rule, distinct, l4Code(rule.direction, onePort(named.proto, port)), identity, by);
  }
}

/** How often a rule reaches an identity: once for each of its peers that does. */
export function reachCount(rule: CompiledRule, identity: number): number {
  let count: number = rule.all;
  for (const node of rule.nodes.keys()) if (node.items.has(identity)) count++;
  return count;
}

export function contribute(
  rule: CompiledRule,
  distinct: Distinct,
  code: number,
  identity: number,
  by: 1 | -1,
): void {
  if (by === 1) distinct.rows.add(code, identity, rule.info);
  else distinct.rows.remove(code, identity, rule.info);
}

/** Packed L4 by number, and for ingress those that names stand for in these endpoints. */
function codesIn(rule: CompiledRule, distinct: Distinct): readonly number[] {
  if (rule.named.length === 0 || rule.direction !== Direction.INGRESS) return rule.codes;
  const codes = [...rule.codes];
  for (const named of rule.named) {
    for (const port of distinct.resolution.get(namedKey(named)) ?? []) {
      codes.push(l4Code(rule.direction, onePort(named.proto, port)));
    }
  }
  return codes;
}

import type { Catalog, PeerRef } from "./catalog.ts";
import {
  type CompiledRule,
  type CompiledSpec,
  type Indexes,
  isCidrNode,
  type PeerNode,
} from "./compiledtypes.ts";
import { l4Code } from "./l4.ts";
import { namedKey } from "./peerports.ts";
import {
  type ConcretePeer,
  Direction,
  type Peer,
  type PolicyRef,
  type PolicySpec,
  precedence,
  type Rule,
  Verdict,
} from "./rule.ts";
import type { RuleInfo } from "./ruletable.ts";

const NO_NAMES: ReadonlySet<string> = new Set();

/** Takes a spec in: whom it selects is known from now on, its rules are not looked up yet. */
export function takeSpec(id: number, policy: PolicyRef, spec: PolicySpec, indexes: Indexes): CompiledSpec {
  return {
    id,
    policy,
    spec,
    subject: indexes.subjects.acquire(spec.subject),
    ingressNames: ingressNames(spec),
    active: false,
    rules: [],
    deny: [undefined, undefined],
    distincts: new Set(),
  };
}

function ingressNames({ rules }: PolicySpec): ReadonlySet<string> {
  const names = rules
    .filter(({ direction, named }) => direction === Direction.INGRESS && named.length > 0)
    .flatMap(({ named }) => named.map(namedKey));
  return names.length === 0 ? NO_NAMES : new Set(names);
}

/** Looks up the rules of a spec: their ids and peers. */
export function activate(compiled: CompiledSpec, indexes: Indexes): void {
  const { spec, policy } = compiled;
  const { ingress, egress } = spec.defaultDeny;
  const denyInfo = (direction: Direction): RuleInfo =>
    indexes.rules.acquire({
      policy,
      path: spec.path,
      direction,
      verdict: Verdict.DEFAULT_DENY,
      precedence: 0,
      ...onTrial(spec),
    });
  compiled.deny = [
    ingress ? denyInfo(Direction.INGRESS) : undefined,
    egress ? denyInfo(Direction.EGRESS) : undefined,
  ];
  compiled.rules = spec.rules.map((rule) => compileRule(rule, compiled, indexes));
  compiled.active = true;
}

/** Gives back what `activate` took. */
export function deactivate(compiled: CompiledSpec, indexes: Indexes): void {
  for (const info of compiled.deny) if (info !== undefined) indexes.rules.release(info);
  for (const rule of compiled.rules) {
    indexes.rules.release(rule.info);
    for (const node of rule.nodes.keys()) releaseNode(node, indexes);
    for (const ref of rule.refs) ref.catalog.release(ref);
  }
  compiled.deny = [undefined, undefined];
  compiled.rules = [];
  compiled.active = false;
}

function compileRule(rule: Rule, spec: CompiledSpec, indexes: Indexes): CompiledRule {
  const { direction, verdict, path } = rule;
  const { policy } = spec;
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
  indexes.effort.rules++;
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

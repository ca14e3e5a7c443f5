import { file, unfile } from "./buckets.ts";
import type { PeerRef, PeerTurn } from "./catalog.ts";
import { CidrNeeds } from "./cidrindex.ts";
import { addPeer, releaseNode, removePeer } from "./compiled.ts";
import {
  type CompiledRule,
  type Distinct,
  type Indexes,
  isCidrNode,
  type PeerNode,
} from "./compiledtypes.ts";
import { type Contributor, reachCount } from "./contribute.ts";
import { l4Code, onePort } from "./l4.ts";
import { type PeerCode, peerCode } from "./peercodes.ts";
import { namedKey, type PeerPortChange } from "./peerports.ts";
import type { Placements } from "./placements.ts";
import { type ConcretePeer, Direction, type NamedPort } from "./rule.ts";

/** Which rules name which peers: what a change of an identity or of a named object has to touch. */
export class PeerLinks {
  readonly #indexes: Indexes;
  readonly #contributor: Contributor;
  readonly #placements: Placements;
  readonly #touched: Set<Distinct>;
  readonly #rulesByPeer = new Map<PeerNode, Set<CompiledRule>>();
  readonly #rulesByRef = new Map<PeerRef, Set<CompiledRule>>();
  /** Egress rules by the names of ports they use. */
  readonly #rulesByName = new Map<string, Set<CompiledRule>>();
  readonly needs = new CidrNeeds();

  /** @param touched collects the distinct policies whose rows changed. */
  constructor(indexes: Indexes, contributor: Contributor, placements: Placements, touched: Set<Distinct>) {
    this.#indexes = indexes;
    this.#contributor = contributor;
    this.#placements = placements;
    this.#touched = touched;
  }

  /** A rule comes into force: from now on it follows its peers. */
  install(rule: CompiledRule): void {
    for (const node of rule.nodes.keys()) this.#link(rule, node);
    for (const ref of rule.refs) {
      file(this.#rulesByRef, ref, rule);
      this.needs.count(ref.except, 1);
    }
    if (rule.direction !== Direction.EGRESS) return;
    for (const port of rule.named) file(this.#rulesByName, namedKey(port), rule);
  }

  /** A rule is out of force: nothing it contributed is left. */
  remove(rule: CompiledRule): void {
    for (const node of rule.nodes.keys()) this.#unlink(rule, node);
    for (const ref of rule.refs) {
      unfile(this.#rulesByRef, ref, rule);
      this.needs.count(ref.except, -1);
    }
    for (const port of rule.named) unfile(this.#rulesByName, namedKey(port), rule);
  }

  /** An identity or a prefix came (1) under these peers of rules, or went (-1) from them. */
  reach(nodes: Iterable<PeerNode>, peer: PeerCode, by: 1 | -1): void {
    for (const node of nodes) {
      for (const rule of this.#rulesByPeer.get(node) ?? []) this.#contribute(rule, [peer], by);
    }
  }

  /** Whether an egress rule uses the name of a port. */
  namesPort(port: NamedPort): boolean {
    return this.#rulesByName.has(namedKey(port));
  }

  /** References stand for other peers: their rules follow, by the difference. */
  turn(turns: readonly PeerTurn[]): void {
    for (const { ref, added, removed } of turns) {
      for (const rule of this.#rulesByRef.get(ref) ?? []) {
        for (const peer of added) this.#gain(rule, peer);
        for (const peer of removed) this.#lose(rule, peer);
      }
    }
  }

  /** Identities began or ceased to have ports under names: egress rules that use them follow. */
  turnPorts(changes: readonly PeerPortChange[]): void {
    for (const { named, identity, port, by } of changes) {
      for (const rule of this.#rulesByName.get(named) ?? []) {
        this.#turnPort(rule, named, port, identity, identity, by);
        for (const cidr of this.#placements.cidrsOf(identity))
          this.#turnPort(rule, named, port, peerCode(0, cidr), peerCode(identity, cidr), by);
      }
    }
  }

  /** An identity began (1) or ceased (-1) to be found at addresses of a prefix: rules that reach the prefix by names of ports follow. */
  turnPlacement(identity: number, cidr: number, by: 1 | -1): void {
    for (const [named, rules] of this.#rulesByName) {
      for (const port of this.#contributor.ports.of(named, identity)) {
        for (const rule of rules)
          this.#turnPort(rule, named, port, peerCode(0, cidr), peerCode(identity, cidr), by);
      }
    }
  }

  /** As often as a rule reaches `reached`, it wants a row for `peer` on a port that it names. */
  #turnPort(
    rule: CompiledRule,
    named: string,
    port: number,
    reached: PeerCode,
    peer: PeerCode,
    by: 1 | -1,
  ): void {
    const proto = Number(named.slice(named.lastIndexOf("/") + 1));
    const code = l4Code(Direction.EGRESS, onePort(proto, port));
    const times = reachCount(rule, reached);
    if (times === 0) return;
    for (const distinct of rule.spec.distincts) {
      for (let i = 0; i < times; i++) this.#contributor.row(rule, distinct, code, peer, by);
      this.#touched.add(distinct);
    }
  }

  #gain(rule: CompiledRule, peer: ConcretePeer): void {
    const node = addPeer(rule, peer, this.#indexes);
    if (node === undefined) return;
    this.#link(rule, node);
    this.#contribute(rule, node.items, 1);
  }

  #lose(rule: CompiledRule, peer: ConcretePeer): void {
    const node = removePeer(rule, peer, this.#indexes);
    if (node === undefined) return;
    this.#contribute(rule, node.items, -1);
    this.#unlink(rule, node);
    releaseNode(node, this.#indexes);
  }

  #link(rule: CompiledRule, node: PeerNode): void {
    file(this.#rulesByPeer, node, rule);
    if (isCidrNode(node)) this.needs.countNode(node, 1);
  }

  #unlink(rule: CompiledRule, node: PeerNode): void {
    unfile(this.#rulesByPeer, node, rule);
    if (isCidrNode(node)) this.needs.countNode(node, -1);
  }

  #contribute(rule: CompiledRule, peers: Iterable<PeerCode>, by: 1 | -1): void {
    for (const distinct of rule.spec.distincts) {
      this.#contributor.peers(rule, distinct, peers, by);
      this.#touched.add(distinct);
    }
  }
}

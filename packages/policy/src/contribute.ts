import type { CompiledRule, Distinct } from "./compiledtypes.ts";
import type { Effort } from "./effort.ts";
import { l4Code, onePort } from "./l4.ts";
import { cidrOfPeer, type PeerCode, peerCode } from "./peercodes.ts";
import { namedKey, type PeerPorts } from "./peerports.ts";
import type { Placements } from "./placements.ts";
import { Direction, type NamedPort } from "./rule.ts";

/** Adds (1) what rules want of distinct policies, or takes it back (-1). */
export class Contributor {
  readonly ports: PeerPorts;
  readonly #placements: Placements;
  readonly #effort: Effort;

  constructor(ports: PeerPorts, placements: Placements, effort: Effort) {
    this.ports = ports;
    this.#placements = placements;
    this.#effort = effort;
  }

  /** All a rule contributes. */
  rule(rule: CompiledRule, distinct: Distinct, by: 1 | -1): void {
    if (rule.all === 1) this.#everybody(rule, distinct, by);
    for (const { items } of rule.nodes.keys()) this.peers(rule, distinct, items, by);
  }

  /** What a rule contributes for some of its peers. */
  peers(rule: CompiledRule, distinct: Distinct, peers: Iterable<PeerCode>, by: 1 | -1): void {
    const codes = codesIn(rule, distinct);
    const named = rule.direction === Direction.EGRESS ? rule.named : [];
    for (const peer of peers) {
      for (const code of codes) this.row(rule, distinct, code, peer, by);
      for (const port of named) this.#namedAt(rule, distinct, port, peer, by);
    }
  }

  /** One row. */
  row(rule: CompiledRule, distinct: Distinct, code: number, peer: PeerCode, by: 1 | -1): void {
    this.#effort.contributions++;
    if (by === 1) distinct.rows.add(code, peer, rule.info);
    else distinct.rows.remove(code, peer, rule.info);
  }

  /** A port by its name is that of whoever has an address in the prefix. */
  #namedAt(rule: CompiledRule, distinct: Distinct, named: NamedPort, peer: PeerCode, by: 1 | -1): void {
    const cidr = cidrOfPeer(peer);
    if (cidr === 0) {
      this.#named(rule, distinct, named, peer, by);
      return;
    }
    for (const identity of this.#placements.identitiesIn(cidr)) {
      for (const port of this.ports.of(namedKey(named), identity)) {
        const code = l4Code(rule.direction, onePort(named.proto, port));
        this.row(rule, distinct, code, peerCode(identity, cidr), by);
      }
    }
  }

  #everybody(rule: CompiledRule, distinct: Distinct, by: 1 | -1): void {
    for (const code of codesIn(rule, distinct)) this.row(rule, distinct, code, 0, by);
    if (rule.direction !== Direction.EGRESS) return;
    for (const named of rule.named) {
      for (const identity of this.ports.identities(namedKey(named))) {
        this.#named(rule, distinct, named, identity, by);
      }
    }
  }

  #named(rule: CompiledRule, distinct: Distinct, named: NamedPort, identity: number, by: 1 | -1): void {
    for (const port of this.ports.of(namedKey(named), identity)) {
      this.row(rule, distinct, l4Code(rule.direction, onePort(named.proto, port)), identity, by);
    }
  }
}

/** How often a rule reaches an identity, or a prefix: once for each of its peers that does. */
export function reachCount(rule: CompiledRule, peer: PeerCode): number {
  let count: number = cidrOfPeer(peer) === 0 ? rule.all : 0;
  for (const node of rule.nodes.keys()) if (node.items.has(peer)) count++;
  return count;
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

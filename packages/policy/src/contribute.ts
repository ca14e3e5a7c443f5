import type { CompiledRule, Distinct } from "./compiledtypes.ts";
import type { Effort } from "./effort.ts";
import { l4Code, onePort } from "./l4.ts";
import { namedKey, type PeerPorts } from "./peerports.ts";
import { Direction, type NamedPort } from "./rule.ts";

/** Adds (1) what rules want of distinct policies, or takes it back (-1). */
export class Contributor {
  readonly ports: PeerPorts;
  readonly #effort: Effort;

  constructor(ports: PeerPorts, effort: Effort) {
    this.ports = ports;
    this.#effort = effort;
  }

  /** All a rule contributes. */
  rule(rule: CompiledRule, distinct: Distinct, by: 1 | -1): void {
    if (rule.all === 1) this.#everybody(rule, distinct, by);
    for (const { items } of rule.nodes.keys()) this.peers(rule, distinct, items, by);
  }

  /** What a rule contributes for some of its peer identities. */
  peers(rule: CompiledRule, distinct: Distinct, identities: Iterable<number>, by: 1 | -1): void {
    const codes = codesIn(rule, distinct);
    const named = rule.direction === Direction.EGRESS ? rule.named : [];
    for (const identity of identities) {
      for (const code of codes) this.row(rule, distinct, code, identity, by);
      for (const port of named) this.#named(rule, distinct, port, identity, by);
    }
  }

  /** One row. */
  row(rule: CompiledRule, distinct: Distinct, code: number, identity: number, by: 1 | -1): void {
    this.#effort.contributions++;
    if (by === 1) distinct.rows.add(code, identity, rule.info);
    else distinct.rows.remove(code, identity, rule.info);
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

/** How often a rule reaches an identity: once for each of its peers that does. */
export function reachCount(rule: CompiledRule, identity: number): number {
  let count: number = rule.all;
  for (const node of rule.nodes.keys()) if (node.items.has(identity)) count++;
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

import type { Defaults, PolicyRows } from "./distinct.ts";
import { type DnsRuleTable, namesOver } from "./dnsrules.ts";
import { Heads, ShapeCounts } from "./heads.ts";
import { type Default, judge } from "./judge.ts";
import { covers4, l4Code, l4Of } from "./l4.ts";
import { cidrOfPeer, identityOfPeer, type PeerCode, PeerKind, peerCode, peerKind } from "./peercodes.ts";
import type { Phases } from "./phases.ts";
import type { Placements } from "./placements.ts";
import { type PolicyChange, type PolicyHead, type PolicyRow, type PolicyRowKey, rowKey } from "./rows.ts";
import { type Direction, type DnsNames, Verdict } from "./rule.ts";
import type { RuleInfo } from "./ruletable.ts";

type Codes = Map<number, RuleInfo[]>;

const DIRECTIONS = [0, 1] as const;
/** All rows rank the same: the most specific one decides. */
const PRECEDENCE = 1;

/**
 * The rows of a distinct policy whose rules know tiers, Pass, trial, or names of DNS. Each row holds the final answer for what it
 * matches and no longer row does: for each identity and for each prefix that rules name, and for both where there are
 * addresses of that identity in that prefix, one row for each L4 prefix that rules on it, or on everybody, name.
 * L4 prefixes are nested or disjoint, so that no other intersections exist.
 *
 * Of the rows that match a connection the longest decides, and every moment of a commit answers as the old state or as
 * the new: rows are put the most specific first, the default turns, rows go the least specific first.
 */
export class LayeredRows implements PolicyRows {
  readonly policyId: number;
  readonly #audit: boolean;
  readonly #dns: DnsRuleTable;
  readonly #placements: Placements;
  /** What rules want, by direction and peer. */
  readonly #wanted: readonly [Map<PeerCode, Codes>, Map<PeerCode, Codes>] = [new Map(), new Map()];
  /** What was given out, by direction and peer. */
  readonly #cells: readonly [Map<PeerCode, Map<number, PolicyRow>>, Map<PeerCode, Map<number, PolicyRow>>] = [
    new Map(),
    new Map(),
  ];
  readonly #dirty: readonly [Set<PeerCode>, Set<PeerCode>] = [new Set(), new Set()];
  readonly #shapes = new ShapeCounts();
  readonly #heads: Heads;
  #defaults: Defaults | undefined;
  #count = 0;

  constructor(policyId: number, audit: boolean, dns: DnsRuleTable, placements: Placements) {
    this.policyId = policyId;
    this.#dns = dns;
    this.#audit = audit;
    this.#placements = placements;
    this.#heads = new Heads(policyId);
  }

  get rowCount(): number {
    return this.#count;
  }

  add(code: number, peer: PeerCode, info: RuleInfo): void {
    const { direction } = l4Of(code);
    const codes = this.#wanted[direction].get(peer) ?? new Map<number, RuleInfo[]>();
    this.#wanted[direction].set(peer, codes);
    const rules = codes.get(code);
    if (rules === undefined) codes.set(code, [info]);
    else rules.push(info);
    this.#touch(direction, peer);
  }

  remove(code: number, peer: PeerCode, info: RuleInfo): void {
    const { direction } = l4Of(code);
    const codes = this.#wanted[direction].get(peer);
    const rules = codes?.get(code);
    const at = rules?.indexOf(info) ?? -1;
    if (codes === undefined || rules === undefined || at < 0) return;
    rules.splice(at, 1);
    if (rules.length === 0) codes.delete(code);
    if (codes.size === 0) this.#wanted[direction].delete(peer);
    this.#touch(direction, peer);
  }

  placementTurned(identity: number, cidr: number): boolean {
    const peer = peerCode(identity, cidr);
    const concerned = DIRECTIONS.filter(
      (direction) => this.#isPeer(direction, peer) || this.#cells[direction].has(peer),
    );
    for (const direction of concerned) this.#dirty[direction].add(peer);
    return concerned.length > 0;
  }

  /** The rows of a peer are to be judged anew, and those of everything that it is a part of. */
  #touch(direction: Direction, peer: PeerCode): void {
    this.#dirty[direction].add(peer);
    for (const both of this.#compounds(direction, peer)) this.#dirty[direction].add(both);
  }

  /** Of an identity, with each prefix it is found in that rules name; of a prefix, with each identity. */
  *#compounds(direction: Direction, peer: PeerCode): Generator<PeerCode> {
    const [identity, cidr] = [identityOfPeer(peer), cidrOfPeer(peer)];
    const wanted = this.#wanted[direction];
    const kind = peerKind(identity, cidr);
    if (kind === PeerKind.EXACT) {
      for (const other of this.#placements.cidrsOf(identity)) {
        const both = peerCode(identity, other);
        if (wanted.has(both) || wanted.has(peerCode(0, other))) yield both;
      }
    } else if (kind === PeerKind.CIDR) {
      for (const other of this.#placements.identitiesIn(cidr)) {
        const both = peerCode(other, cidr);
        if (wanted.has(both) || wanted.has(other)) yield both;
      }
    }
  }

  /** Whether a peer has rows of its own. */
  #isPeer(direction: Direction, peer: PeerCode): boolean {
    const wanted = this.#wanted[direction];
    const [identity, cidr] = [identityOfPeer(peer), cidrOfPeer(peer)];
    if (peerKind(identity, cidr) !== PeerKind.BOTH) return wanted.has(peer);
    if (!this.#placements.has(identity, cidr)) return false;
    return wanted.has(peer) || (wanted.has(identity) && wanted.has(peerCode(0, cidr)));
  }

  commit(defaults: Defaults, phases: Phases): void {
    const puts: PolicyChange[] = [];
    const deletes: PolicyChange[] = [];
    for (const direction of DIRECTIONS) {
      for (const peer of this.#affected(direction, defaults)) {
        this.#settle(direction, peer, defaults[direction], puts, deletes);
      }
      this.#dirty[direction].clear();
    }
    this.#defaults = defaults;
    // One by one: a call has only so many arguments.
    for (const put of puts.sort((a, b) => specificity(b) - specificity(a))) phases.cellPuts.push(put);
    for (const gone of deletes.sort((a, b) => specificity(a) - specificity(b))) phases.cellDeletes.push(gone);
    const heads = DIRECTIONS.map((direction) => this.head(direction, defaults));
    this.#heads.turn(heads, phases);
  }

  /** Peers whose rows may be others now: all, when what rules say of everybody changed, or the default did. */
  #affected(direction: Direction, defaults: Defaults): Iterable<PeerCode> {
    const before = this.#defaults?.[direction];
    const now = defaults[direction];
    const same = before?.enforced === now.enforced && before?.audited === now.audited;
    if (same && !this.#dirty[direction].has(0)) return this.#dirty[direction];
    const wanted = this.#wanted[direction];
    const affected = new Set([...this.#dirty[direction], ...wanted.keys()]);
    for (const peer of wanted.keys()) {
      if (cidrOfPeer(peer) === 0) continue;
      for (const both of this.#compounds(direction, peer)) affected.add(both);
    }
    return affected;
  }

  #settle(
    direction: Direction,
    peer: PeerCode,
    fallback: Default,
    puts: PolicyChange[],
    deletes: PolicyChange[],
  ): void {
    const wanted = new Map(this.#answers(direction, peer, fallback));
    const cells = this.#cells[direction].get(peer) ?? new Map<number, PolicyRow>();
    for (const code of [...cells.keys()]) {
      if (wanted.has(code)) continue;
      this.#dns.release(cells.get(code)?.proxyPort ?? 0);
      cells.delete(code);
      this.#counted(code, peer, -1);
      deletes.push({ op: "deleteRow", key: rowKey(this.policyId, code, peer) });
    }
    for (const [code, row] of wanted) {
      const before = cells.get(code);
      this.#dns.release(before?.proxyPort ?? 0);
      if (before !== undefined && sameRow(before, row)) continue;
      if (before === undefined) this.#counted(code, peer, 1);
      cells.set(code, row);
      puts.push({ op: "putRow", key: rowKey(this.policyId, code, peer), row });
    }
    if (cells.size > 0) this.#cells[direction].set(peer, cells);
    else this.#cells[direction].delete(peer);
  }

  #counted(code: number, peer: PeerCode, by: 1 | -1): void {
    this.#shapes.count(code, peer, by);
    this.#count += by;
  }

  /** What rules want of a peer and of everything it is a part of; nothing when it has no rows of its own. */
  #partsOf(direction: Direction, peer: PeerCode): readonly Codes[] {
    if (!this.#isPeer(direction, peer)) return [];
    const [identity, cidr] = [identityOfPeer(peer), cidrOfPeer(peer)];
    const isBoth = peerKind(identity, cidr) === PeerKind.BOTH;
    const parts = isBoth ? [peer, identity, peerCode(0, cidr), 0] : peer === 0 ? [0] : [peer, 0];
    return parts.flatMap((part) => this.#wanted[direction].get(part) ?? []);
  }

  /** The rows of a peer as they should be. */
  *#answers(direction: Direction, peer: PeerCode, fallback: Default): Generator<[number, PolicyRow]> {
    const parts = this.#partsOf(direction, peer);
    for (const code of codesOf(parts)) {
      const rules = parts.flatMap((part) => [...covering(part, code)]);
      const { verdict, rule } = judge(rules, fallback, this.#audit);
      const row = { precedence: PRECEDENCE, ruleId: rule?.id ?? 0, proxyPort: 0, verdict };
      yield [
        code,
        verdict === Verdict.ALLOW ? this.#redirected(row, namesOver(rules, fallback, this.#audit)) : row,
      ];
    }
  }

  /** Acquires the set of names; the row that is replaced gives its own back. Without an id left nothing passes. */
  #redirected(row: PolicyRow, names: DnsNames | undefined): PolicyRow {
    if (names === undefined) return row;
    const proxyPort = this.#dns.acquire(names);
    return proxyPort === 0 ? { ...row, verdict: Verdict.DENY } : { ...row, proxyPort };
  }

  peak(defaults: Defaults): number {
    let peak = this.#count;
    for (const direction of DIRECTIONS) {
      for (const peer of this.#affected(direction, defaults)) {
        const cells = this.#cells[direction].get(peer);
        for (const code of codesOf(this.#partsOf(direction, peer))) if (!cells?.has(code)) peak++;
      }
    }
    return peak;
  }

  withdraw(): PolicyChange[] {
    const changes = this.removal();
    this.#heads.forget();
    for (const direction of DIRECTIONS) {
      for (const [peer, cells] of this.#cells[direction]) {
        for (const code of cells.keys()) this.#counted(code, peer, -1);
        this.#dirty[direction].add(peer);
      }
      this.#cells[direction].clear();
    }
    // As before the first commit: every row is to be judged.
    this.#defaults = undefined;
    return changes;
  }

  removal(): PolicyChange[] {
    const rows: PolicyChange[] = [];
    for (const cells of this.#cells) {
      for (const [peer, codes] of cells) {
        for (const [code, { proxyPort }] of codes) {
          this.#dns.release(proxyPort);
          rows.push({ op: "deleteRow", key: rowKey(this.policyId, code, peer) });
        }
      }
    }
    return [...this.#heads.removal(), ...rows];
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    const peer = peerCode(key.identity, key.cidr);
    return this.#cells[key.direction].get(peer)?.get(l4Code(key.direction, key));
  }

  reasons(key: PolicyRowKey): readonly RuleInfo[] {
    const code = l4Code(key.direction, key);
    const parts = this.#partsOf(key.direction, peerCode(key.identity, key.cidr));
    return parts.flatMap((part) => part.get(code) ?? []);
  }

  head(direction: Direction, defaults: Defaults): PolicyHead {
    const { verdict, rule } = judge([], defaults[direction], this.#audit);
    const rest = { defaultRule: rule?.id ?? 0, defaultVerdict: verdict, layered: true };
    return { ...this.#shapes.masks(direction), ...rest };
  }

  *rows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const cells of this.#cells) {
      for (const [peer, codes] of cells) {
        for (const [code, row] of codes) yield { key: rowKey(this.policyId, code, peer), row };
      }
    }
  }
}

function codesOf(parts: readonly Codes[]): Set<number> {
  return new Set(parts.flatMap((part) => [...part.keys()]));
}

function* covering(codes: Codes, code: number): Generator<RuleInfo> {
  const inner = l4Of(code);
  for (const [outer, rules] of codes) if (covers4(l4Of(outer), inner)) yield* rules;
}

function sameRow(a: PolicyRow, b: PolicyRow): boolean {
  return a.verdict === b.verdict && a.ruleId === b.ruleId && a.proxyPort === b.proxyPort;
}

/** Longer prefixes are more specific; of one length, those about fewer. */
function specificity(change: PolicyChange): number {
  if (change.op !== "putRow" && change.op !== "deleteRow") return 0;
  return change.key.shape * 4 + PeerKind.ANY - peerKind(change.key.identity, change.key.cidr);
}

import type { Defaults, PolicyRows } from "./distinct.ts";
import { type DnsRuleTable, namesOver } from "./dnsrules.ts";
import { Heads, ShapeCounts } from "./heads.ts";
import { type Default, judge } from "./judge.ts";
import { covers4, l4Code, l4Of } from "./l4.ts";
import type { Phases } from "./phases.ts";
import { type PolicyChange, type PolicyHead, type PolicyRow, type PolicyRowKey, rowKey } from "./rows.ts";
import { type Direction, type DnsNames, Verdict } from "./rule.ts";
import type { RuleInfo } from "./ruletable.ts";

type Codes = Map<number, RuleInfo[]>;

const DIRECTIONS = [0, 1] as const;
/** All rows rank the same: the most specific one decides. */
const PRECEDENCE = 1;

/**
 * The rows of a distinct policy whose rules know tiers, Pass, trial, or names of DNS. Each row holds the final answer for what it
 * matches and no longer row does: for each identity that rules name, one row for each L4 prefix that rules on it, or on
 * everybody, name. L4 prefixes are nested or disjoint, so that no other intersections exist.
 *
 * Of the rows that match a connection the longest decides, and every moment of a commit answers as the old state or as
 * the new: rows are put the most specific first, the default turns, rows go the least specific first.
 */
export class LayeredRows implements PolicyRows {
  readonly policyId: number;
  readonly #audit: boolean;
  readonly #dns: DnsRuleTable;
  /** What rules want, by direction and identity. */
  readonly #wanted: readonly [Map<number, Codes>, Map<number, Codes>] = [new Map(), new Map()];
  /** What was given out, by identity. */
  readonly #cells = new Map<number, Map<number, PolicyRow>>();
  readonly #dirty: readonly [Set<number>, Set<number>] = [new Set(), new Set()];
  readonly #shapes = new ShapeCounts();
  readonly #heads: Heads;
  #defaults: Defaults | undefined;
  #count = 0;

  constructor(policyId: number, audit: boolean, dns: DnsRuleTable) {
    this.policyId = policyId;
    this.#dns = dns;
    this.#audit = audit;
    this.#heads = new Heads(policyId);
  }

  get rowCount(): number {
    return this.#count;
  }

  add(code: number, identity: number, info: RuleInfo): void {
    const { direction } = l4Of(code);
    const codes = this.#wanted[direction].get(identity) ?? new Map<number, RuleInfo[]>();
    this.#wanted[direction].set(identity, codes);
    const rules = codes.get(code);
    if (rules === undefined) codes.set(code, [info]);
    else rules.push(info);
    this.#dirty[direction].add(identity);
  }

  remove(code: number, identity: number, info: RuleInfo): void {
    const { direction } = l4Of(code);
    const codes = this.#wanted[direction].get(identity);
    const rules = codes?.get(code);
    const at = rules?.indexOf(info) ?? -1;
    if (codes === undefined || rules === undefined || at < 0) return;
    rules.splice(at, 1);
    if (rules.length === 0) codes.delete(code);
    if (codes.size === 0) this.#wanted[direction].delete(identity);
    this.#dirty[direction].add(identity);
  }

  commit(defaults: Defaults, phases: Phases): void {
    const puts: PolicyChange[] = [];
    const deletes: PolicyChange[] = [];
    for (const direction of DIRECTIONS) {
      for (const identity of this.#affected(direction, defaults)) {
        this.#settle(direction, identity, defaults[direction], puts, deletes);
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

  /** Identities whose rows may be others now: all, when what rules say of everybody changed, or the default did. */
  #affected(direction: Direction, defaults: Defaults): Iterable<number> {
    const before = this.#defaults?.[direction];
    const now = defaults[direction];
    const same = before?.enforced === now.enforced && before?.audited === now.audited;
    if (same && !this.#dirty[direction].has(0)) return this.#dirty[direction];
    return new Set([...this.#dirty[direction], ...this.#wanted[direction].keys()]);
  }

  #settle(
    direction: Direction,
    identity: number,
    fallback: Default,
    puts: PolicyChange[],
    deletes: PolicyChange[],
  ): void {
    const wanted = new Map(this.#answers(direction, identity, fallback));
    const cells = this.#cells.get(identity) ?? new Map<number, PolicyRow>();
    for (const code of [...cells.keys()]) {
      if (l4Of(code).direction !== direction || wanted.has(code)) continue;
      this.#dns.release(cells.get(code)?.proxyPort ?? 0);
      cells.delete(code);
      this.#counted(code, identity, -1);
      deletes.push({ op: "deleteRow", key: rowKey(this.policyId, code, identity) });
    }
    for (const [code, row] of wanted) {
      const before = cells.get(code);
      this.#dns.release(before?.proxyPort ?? 0);
      if (before !== undefined && sameRow(before, row)) continue;
      if (before === undefined) this.#counted(code, identity, 1);
      cells.set(code, row);
      puts.push({ op: "putRow", key: rowKey(this.policyId, code, identity), row });
    }
    if (cells.size > 0) this.#cells.set(identity, cells);
    else this.#cells.delete(identity);
  }

  #counted(code: number, identity: number, by: 1 | -1): void {
    this.#shapes.count(code, identity, by);
    this.#count += by;
  }

  /** The rows of an identity as they should be. */
  *#answers(direction: Direction, identity: number, fallback: Default): Generator<[number, PolicyRow]> {
    const own = this.#wanted[direction].get(identity);
    if (own === undefined) return;
    const everybody = identity === 0 ? undefined : this.#wanted[direction].get(0);
    for (const code of new Set([...own.keys(), ...(everybody?.keys() ?? [])])) {
      const rules = [...covering(own, code), ...covering(everybody, code)];
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
      const everybody = this.#wanted[direction].get(0);
      for (const identity of this.#affected(direction, defaults)) {
        const own = this.#wanted[direction].get(identity);
        if (own === undefined) continue;
        const cells = this.#cells.get(identity);
        for (const code of own.keys()) if (!cells?.has(code)) peak++;
        if (identity === 0) continue;
        for (const code of everybody?.keys() ?? []) if (!own.has(code) && !cells?.has(code)) peak++;
      }
    }
    return peak;
  }

  withdraw(): PolicyChange[] {
    const changes = this.removal();
    this.#heads.forget();
    for (const [identity, cells] of this.#cells) {
      for (const code of cells.keys()) this.#counted(code, identity, -1);
    }
    this.#cells.clear();
    // As before the first commit: every row is to be judged.
    this.#defaults = undefined;
    for (const direction of DIRECTIONS) {
      for (const identity of this.#wanted[direction].keys()) this.#dirty[direction].add(identity);
    }
    return changes;
  }

  removal(): PolicyChange[] {
    const rows = [...this.#cells].flatMap(([identity, cells]) =>
      [...cells].map(([code, { proxyPort }]): PolicyChange => {
        this.#dns.release(proxyPort);
        return { op: "deleteRow", key: rowKey(this.policyId, code, identity) };
      }),
    );
    return [...this.#heads.removal(), ...rows];
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    return this.#cells.get(key.identity)?.get(l4Code(key.direction, key));
  }

  reasons(key: PolicyRowKey): readonly RuleInfo[] {
    return this.#wanted[key.direction].get(key.identity)?.get(l4Code(key.direction, key)) ?? [];
  }

  head(direction: Direction, defaults: Defaults): PolicyHead {
    const { verdict, rule } = judge([], defaults[direction], this.#audit);
    return { ...this.#shapes.masks(direction), defaultRule: rule?.id ?? 0, defaultVerdict: verdict };
  }

  *rows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const [identity, cells] of this.#cells) {
      for (const [code, row] of cells) yield { key: rowKey(this.policyId, code, identity), row };
    }
  }
}

function* covering(codes: Codes | undefined, code: number): Generator<RuleInfo> {
  const inner = l4Of(code);
  for (const [outer, rules] of codes ?? []) if (covers4(l4Of(outer), inner)) yield* rules;
}

function sameRow(a: PolicyRow, b: PolicyRow): boolean {
  return a.verdict === b.verdict && a.ruleId === b.ruleId && a.proxyPort === b.proxyPort;
}

/** Longer prefixes are more specific; of one length, those of one identity. */
function specificity(change: PolicyChange): number {
  if (change.op !== "putRow" && change.op !== "deleteRow") return 0;
  return change.key.shape * 2 + (change.key.identity === 0 ? 0 : 1);
}

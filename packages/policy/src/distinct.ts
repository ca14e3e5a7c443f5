import { Heads, ShapeCounts } from "./heads.ts";
import type { Default } from "./judge.ts";
import { l4Code } from "./l4.ts";
import { type PeerCode, peerCode } from "./peercodes.ts";
import type { Phases } from "./phases.ts";
import { type PolicyChange, type PolicyHead, type PolicyRow, type PolicyRowKey, rowKey } from "./rows.ts";
import { type Direction, Verdict } from "./rule.ts";
import { outranks, type RuleInfo } from "./ruletable.ts";

/** One row and all rules that want it; the highest ranking one writes it. */
interface RowState {
  code: number;
  peer: PeerCode;
  /** One element a reason: a rule that reaches the row twice is in twice. */
  rules: RuleInfo[];
  /** The highest ranking of them. */
  winner: RuleInfo | undefined;
  committed: RuleInfo | undefined;
  dirty: boolean;
}

/** Default deny by direction. */
export type Defaults = readonly [ingress: Default, egress: Default];

/** The rows of one distinct policy: rules contribute to them, a commit writes what changed since the last. */
export interface PolicyRows {
  readonly policyId: number;
  readonly rowCount: number;
  /** A rule wants a row. */
  add(code: number, peer: PeerCode, info: RuleInfo): void;
  /** Takes back one `add`. */
  remove(code: number, peer: PeerCode, info: RuleInfo): void;
  /** An identity began or ceased to be found at addresses of a prefix; whether rows may be others by it. */
  placementTurned(identity: number, cidr: number): boolean;
  /** Files the writes that bring the maps from the last commit to now. */
  commit(defaults: Defaults, phases: Phases): void;
  /** Rows that the maps hold while the next commit is on its way: those there are and those that come. */
  peak(defaults: Defaults): number;
  /** Writes that remove all of it from the maps. Nobody may use it any more. */
  removal(): PolicyChange[];
  /** The same for one that is used: it denies everything, and the next commit writes all of it again. */
  withdraw(): PolicyChange[];
  /** The row as it should be. */
  row(key: PolicyRowKey): PolicyRow | undefined;
  /** All rules that want a row, with repetitions. */
  reasons(key: PolicyRowKey): readonly RuleInfo[];
  /** The head as it should be. */
  head(direction: Direction, defaults: Defaults): PolicyHead;
  /** All rows as they should be. */
  rows(): Iterable<{ key: PolicyRowKey; row: PolicyRow }>;
}

const DIRECTIONS = [0, 1] as const;

/**
 * The rows of one distinct policy. Rules contribute to rows and take back what they contributed; a commit
 * writes what changed since the last.
 *
 * The order of a commit, and why no moment is more open than both states or drops what both allow:
 * deny rows first (whatever they stop is stopped in the new state), then allow rows (what they open is open in
 * the new state: all its denies stand already), then the default, then allow rows go (what loses them has no
 * other row in the new state), then deny rows go. Heads name the union of shapes meanwhile. This relies on deny
 * beating allow in both states: rules of other tiers, and those on trial, make a `LayeredRows`.
 */
export class DistinctRows implements PolicyRows {
  readonly policyId: number;
  readonly #tables = new Map<number, Map<number, RowState>>();
  readonly #shapes = new ShapeCounts();
  #dirty: RowState[] = [];
  readonly #heads: Heads;
  #count = 0;
  /** Rows that are wanted, or written and not yet deleted. */
  #states = 0;
  readonly #audit: boolean;

  constructor(policyId: number, audit: boolean) {
    this.policyId = policyId;
    this.#audit = audit;
    this.#heads = new Heads(policyId);
  }

  get rowCount(): number {
    return this.#count;
  }

  add(code: number, peer: PeerCode, info: RuleInfo): void {
    let table = this.#tables.get(code);
    if (table === undefined) {
      table = new Map();
      this.#tables.set(code, table);
    }
    let state = table.get(peer);
    if (state === undefined) {
      // As a literal the list has room for one: most rows have one reason.
      state = { code, peer, rules: [info], winner: undefined, committed: undefined, dirty: false };
      table.set(peer, state);
      this.#states++;
    } else state.rules.push(info);
    if (state.rules.length === 1) this.#counted(state, 1);
    if (state.winner === undefined || outranks(info, state.winner)) state.winner = info;
    this.#touch(state);
  }

  remove(code: number, peer: PeerCode, info: RuleInfo): void {
    const state = this.#tables.get(code)?.get(peer);
    const at = state?.rules.indexOf(info) ?? -1;
    if (state === undefined || at < 0) return;
    state.rules.splice(at, 1);
    if (state.rules.length === 0) this.#counted(state, -1);
    if (state.winner === info) state.winner = winnerOf(state.rules);
    if (state.winner === undefined && state.committed === undefined) this.#drop(state);
    else this.#touch(state);
  }

  /** Rows of an identity and rows of a prefix add up: nobody has to know who is where. */
  placementTurned(): boolean {
    return false;
  }

  #counted(state: RowState, by: 1 | -1): void {
    this.#shapes.count(state.code, state.peer, by);
    this.#count += by;
  }

  #touch(state: RowState): void {
    if (state.dirty) return;
    state.dirty = true;
    this.#dirty.push(state);
  }

  commit(defaults: Defaults, phases: Phases): void {
    const target = DIRECTIONS.map((direction) => this.#head(direction, defaults[direction].enforced));
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const state of dirty) this.#commitRow(state, phases);
    this.#heads.turn(target, phases);
  }

  #commitRow(state: RowState, phases: Phases): void {
    state.dirty = false;
    const { winner } = state;
    const before = state.committed;
    state.committed = winner;
    if (winner === undefined) this.#drop(state);
    if (winner === before) return;
    const key = rowKey(this.policyId, state.code, state.peer);
    if (winner === undefined) {
      const phase = before?.verdict === Verdict.ALLOW ? phases.allowDeletes : phases.denyDeletes;
      phase.push({ op: "deleteRow", key });
      return;
    }
    const put: PolicyChange = { op: "putRow", key, row: this.#row(winner) };
    if (winner.verdict !== Verdict.ALLOW) phases.denyPuts.push(put);
    // A deny that becomes an allow is the end of a deny.
    else if (before !== undefined && before.verdict !== Verdict.ALLOW) phases.denyDeletes.push(put);
    else phases.allowPuts.push(put);
  }

  /** Forgets a row, unless another has taken its place since. */
  #drop(state: RowState): void {
    const table = this.#tables.get(state.code);
    if (table?.get(state.peer) !== state) return;
    table.delete(state.peer);
    this.#states--;
    if (table.size === 0) this.#tables.delete(state.code);
  }

  #head(direction: Direction, deny: RuleInfo | undefined): PolicyHead {
    const enforced = this.#audit ? Verdict.AUDIT : Verdict.DEFAULT_DENY;
    return {
      ...this.#shapes.masks(direction),
      defaultRule: deny?.id ?? 0,
      defaultVerdict: deny === undefined ? Verdict.ALLOW : enforced,
      layered: false,
    };
  }

  #row(info: RuleInfo): PolicyRow {
    const denied = this.#audit ? Verdict.AUDIT : Verdict.DENY;
    const verdict = info.verdict === Verdict.ALLOW ? Verdict.ALLOW : denied;
    return { precedence: info.precedence, ruleId: info.id, proxyPort: 0, verdict };
  }

  peak(): number {
    return this.#states;
  }

  withdraw(): PolicyChange[] {
    const changes = this.removal();
    this.#heads.forget();
    for (const table of this.#tables.values()) {
      for (const state of table.values()) {
        state.committed = undefined;
        if (state.winner === undefined) this.#drop(state);
        else this.#touch(state);
      }
    }
    return changes;
  }

  removal(): PolicyChange[] {
    const changes = this.#heads.removal();
    for (const [code, table] of this.#tables) {
      for (const state of table.values()) {
        if (state.committed === undefined) continue;
        changes.push({ op: "deleteRow", key: rowKey(this.policyId, code, state.peer) });
      }
    }
    return changes;
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    const winner = this.#state(key)?.winner;
    return winner && this.#row(winner);
  }

  reasons(key: PolicyRowKey): readonly RuleInfo[] {
    return this.#state(key)?.rules ?? [];
  }

  #state(key: PolicyRowKey): RowState | undefined {
    return this.#tables.get(l4Code(key.direction, key))?.get(peerCode(key.identity, key.cidr));
  }

  head(direction: Direction, defaults: Defaults): PolicyHead {
    return this.#head(direction, defaults[direction].enforced);
  }

  *rows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const [code, table] of this.#tables) {
      for (const { peer, winner } of table.values()) {
        if (winner !== undefined) yield { key: rowKey(this.policyId, code, peer), row: this.#row(winner) };
      }
    }
  }
}

function winnerOf(rules: readonly RuleInfo[]): RuleInfo | undefined {
  let best: RuleInfo | undefined;
  for (const rule of rules) if (best === undefined || outranks(rule, best)) best = rule;
  return best;
}

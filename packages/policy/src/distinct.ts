import { l4Code } from "./l4.ts";
import { type PolicyChange, type PolicyHead, type PolicyRow, type PolicyRowKey, rowKey } from "./rows.ts";
import { type Direction, Verdict } from "./rule.ts";
import { outranks, type RuleInfo } from "./ruletable.ts";

/** One row and all rules that want it; the highest ranking one writes it. */
interface RowState {
  code: number;
  identity: number;
  /** One element a reason: a rule that reaches the row twice is in twice. */
  rules: RuleInfo[];
  committed: RuleInfo | undefined;
  dirty: boolean;
}

/** Writes by phase; phases of all policies go out one after the other. */
export interface Phases {
  headsWiden: PolicyChange[];
  denyPuts: PolicyChange[];
  allowPuts: PolicyChange[];
  headsTurn: PolicyChange[];
  allowDeletes: PolicyChange[];
  denyDeletes: PolicyChange[];
  headsNarrow: PolicyChange[];
}

export function emptyPhases(): Phases {
  return {
    headsWiden: [],
    denyPuts: [],
    allowPuts: [],
    headsTurn: [],
    allowDeletes: [],
    denyDeletes: [],
    headsNarrow: [],
  };
}

/** Default of a direction: the rule that brought default deny, or undefined when not enforced. */
export type Defaults = readonly [ingress: RuleInfo | undefined, egress: RuleInfo | undefined];

const DIRECTIONS = [0, 1] as const;

/**
 * The rows of one distinct policy. Rules contribute to rows and take back what they contributed; a commit
 * writes what changed since the last.
 *
 * The order of a commit, and why no moment is more open than both states or drops what both allow:
 * deny rows first (whatever they stop is stopped in the new state), then allow rows (what they open is open in
 * the new state: all its denies stand already), then the default, then allow rows go (what loses them has no
 * other row in the new state), then deny rows go. Heads name the union of shapes meanwhile. This relies on deny
 * beating allow in both states.
 */
export class DistinctRows {
  readonly policyId: number;
  readonly #tables = new Map<number, Map<number, RowState>>();
  /** Rows by [direction][exact or any][shape]. */
  readonly #shapes = new Uint32Array(2 * 2 * 32);
  #dirty: RowState[] = [];
  #heads: [PolicyHead | undefined, PolicyHead | undefined] = [undefined, undefined];
  #count = 0;
  readonly #audit: boolean;

  constructor(policyId: number, audit: boolean) {
    this.policyId = policyId;
    this.#audit = audit;
  }

  get rowCount(): number {
    return this.#count;
  }

  get hasChanges(): boolean {
    return this.#dirty.length > 0;
  }

  /** A rule wants a row. */
  add(code: number, identity: number, info: RuleInfo): void {
    let table = this.#tables.get(code);
    if (table === undefined) {
      table = new Map();
      this.#tables.set(code, table);
    }
    let state = table.get(identity);
    if (state === undefined) {
      state = { code, identity, rules: [], committed: undefined, dirty: false };
      table.set(identity, state);
    }
    if (state.rules.length === 0) this.#counted(state, 1);
    state.rules.push(info);
    this.#touch(state);
  }

  /** Takes back one `add`. */
  remove(code: number, identity: number, info: RuleInfo): void {
    const state = this.#tables.get(code)?.get(identity);
    const at = state?.rules.indexOf(info) ?? -1;
    if (state === undefined || at < 0) return;
    state.rules.splice(at, 1);
    if (state.rules.length === 0) this.#counted(state, -1);
    this.#touch(state);
  }

  #counted(state: RowState, by: 1 | -1): void {
    const at = shapeSlot(state.code, state.identity);
    this.#shapes[at] = (this.#shapes[at] ?? 0) + by;
    this.#count += by;
  }

  #touch(state: RowState): void {
    if (state.dirty) return;
    state.dirty = true;
    this.#dirty.push(state);
  }

  /** Files the writes that bring the maps from the last commit to now. */
  commit(defaults: Defaults, phases: Phases): void {
    const target = DIRECTIONS.map((direction) => this.#head(direction, defaults[direction]));
    this.#openHeads(target, phases);
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const state of dirty) this.#commitRow(state, phases);
    this.#closeHeads(target, phases);
  }

  #commitRow(state: RowState, phases: Phases): void {
    state.dirty = false;
    const winner = winnerOf(state.rules);
    const before = state.committed;
    state.committed = winner;
    if (winner === undefined) this.#drop(state);
    if (winner === before) return;
    const key = rowKey(this.policyId, state.code, state.identity);
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

  #drop(state: RowState): void {
    const table = this.#tables.get(state.code);
    table?.delete(state.identity);
    if (table?.size === 0) this.#tables.delete(state.code);
  }

  #openHeads(target: readonly PolicyHead[], phases: Phases): void {
    for (const direction of DIRECTIONS) {
      const old = this.#heads[direction];
      const next = target[direction];
      if (next === undefined || old === undefined) continue; // a new policy's heads are written last
      const shapesExact = old.shapesExact | next.shapesExact;
      const shapesAny = old.shapesAny | next.shapesAny;
      const wide = { ...old, shapesExact, shapesAny };
      const turned = { ...next, shapesExact, shapesAny };
      if (!sameHead(old, wide)) phases.headsWiden.push(this.#putHead(direction, wide));
      if (!sameHead(wide, turned)) phases.headsTurn.push(this.#putHead(direction, turned));
      if (!sameHead(turned, next)) phases.headsNarrow.push(this.#putHead(direction, next));
    }
  }

  #closeHeads(target: readonly PolicyHead[], phases: Phases): void {
    for (const direction of DIRECTIONS) {
      const next = target[direction];
      if (next === undefined) continue;
      if (this.#heads[direction] === undefined) phases.headsNarrow.push(this.#putHead(direction, next));
      this.#heads[direction] = next;
    }
  }

  #putHead(direction: Direction, head: PolicyHead): PolicyChange {
    return { op: "putHead", policyId: this.policyId, direction, head };
  }

  #head(direction: Direction, deny: RuleInfo | undefined): PolicyHead {
    const enforced = this.#audit ? Verdict.AUDIT : Verdict.DEFAULT_DENY;
    return {
      shapesExact: this.#mask(direction, 0),
      shapesAny: this.#mask(direction, 1),
      defaultRule: deny?.id ?? 0,
      defaultVerdict: deny === undefined ? Verdict.ALLOW : enforced,
    };
  }

  #mask(direction: Direction, any: 0 | 1): number {
    let mask = 0;
    for (let shape = 0; shape <= 24; shape++) {
      if ((this.#shapes[(direction * 2 + any) * 32 + shape] ?? 0) > 0) mask |= 1 << shape;
    }
    return mask;
  }

  #row(info: RuleInfo): PolicyRow {
    const denies = info.verdict !== Verdict.ALLOW;
    const verdict = denies && this.#audit ? Verdict.AUDIT : info.verdict;
    return { precedence: info.precedence, ruleId: info.id, proxyPort: 0, verdict };
  }

  /** Writes that remove all of it from the maps. Nobody may use it any more. */
  removal(): PolicyChange[] {
    const changes: PolicyChange[] = [];
    for (const direction of DIRECTIONS) {
      if (this.#heads[direction] !== undefined) {
        changes.push({ op: "deleteHead", policyId: this.policyId, direction });
      }
    }
    for (const [code, table] of this.#tables) {
      for (const state of table.values()) {
        if (state.committed === undefined) continue;
        changes.push({ op: "deleteRow", key: rowKey(this.policyId, code, state.identity) });
      }
    }
    return changes;
  }

  /** The row as it should be, committed or not. */
  row(key: PolicyRowKey): PolicyRow | undefined {
    const winner = winnerOf(this.reasons(key));
    return winner && this.#row(winner);
  }

  /** All rules that want a row, with repetitions. */
  reasons(key: PolicyRowKey): readonly RuleInfo[] {
    return this.#tables.get(l4Code(key.direction, key))?.get(key.identity)?.rules ?? [];
  }

  /** The head as it should be. */
  head(direction: Direction, defaults: Defaults): PolicyHead {
    return this.#head(direction, defaults[direction]);
  }

  /** All rows as they should be. */
  *rows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const [code, table] of this.#tables) {
      for (const { identity, rules } of table.values()) {
        const winner = winnerOf(rules);
        if (winner !== undefined)
          yield { key: rowKey(this.policyId, code, identity), row: this.#row(winner) };
      }
    }
  }
}

function winnerOf(rules: readonly RuleInfo[]): RuleInfo | undefined {
  let best: RuleInfo | undefined;
  for (const rule of rules) if (best === undefined || outranks(rule, best)) best = rule;
  return best;
}

function shapeSlot(code: number, identity: number): number {
  const rest = code >>> 24; // direction * 32 + shape
  const direction = rest >= 32 ? 1 : 0;
  return (direction * 2 + (identity === 0 ? 1 : 0)) * 32 + (rest % 32);
}

function sameHead(a: PolicyHead, b: PolicyHead): boolean {
  return (
    a.shapesExact === b.shapesExact &&
    a.shapesAny === b.shapesAny &&
    a.defaultRule === b.defaultRule &&
    a.defaultVerdict === b.defaultVerdict
  );
}

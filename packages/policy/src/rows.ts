import { l4Code, l4Of, maskPort } from "./l4.ts";
import { type Direction, type RowVerdict, Verdict } from "./rule.ts";

/** Key of a row of `ax_policy`; `port` in host order. */
export interface PolicyRowKey {
  policyId: number;
  direction: Direction;
  /** Of the peer; 0 = any. */
  identity: number;
  /** Masked to the shape. */
  port: number;
  proto: number;
  shape: number;
}

/** Value of a row of `ax_policy`. */
export interface PolicyRow {
  precedence: number;
  ruleId: number;
  proxyPort: number;
  verdict: RowVerdict;
}

/** Value of a row of `ax_policy_heads`, key (policyId << 1 | direction). */
export interface PolicyHead {
  shapesExact: number;
  shapesAny: number;
  defaultRule: number;
  defaultVerdict: RowVerdict;
}

/**
 * One write. The list of a commit is in order: no moment on the way is more open than both the old and the new
 * policy, and none drops what both allow. Neighbouring writes of one kind may be batched.
 */
export type PolicyChange =
  | { op: "putRow"; key: PolicyRowKey; row: PolicyRow }
  | { op: "deleteRow"; key: PolicyRowKey }
  | { op: "putHead"; policyId: number; direction: Direction; head: PolicyHead }
  | { op: "deleteHead"; policyId: number; direction: Direction }
  /** Write the endpoint's `policy_id`. */
  | { op: "setEndpoint"; endpointId: number; policyId: number };

/** Where rows are looked up: the engine, a copy of the maps, or the maps themselves. */
export interface RowSource {
  head(policyId: number, direction: Direction): PolicyHead | undefined;
  row(key: PolicyRowKey): PolicyRow | undefined;
}

/** A packet's first direction-dependent half: what one endpoint's policy says of it. */
export interface RowQuery {
  policyId: number;
  direction: Direction;
  /** Of the peer. */
  identity: number;
  proto: number;
  /** Destination port; ICMP: the type; 0 for protocols without. */
  port: number;
}

/** What was decided and by which row. */
export interface Decision {
  verdict: RowVerdict;
  ruleId: number;
  /** The deciding row; absent = the head's default, or no policy. */
  key?: PolicyRowKey;
  row?: PolicyRow;
}

/**
 * Decides as the datapath does: for every shape the head names, the row of the exact identity and the row of
 * identity 0; the highest precedence wins, on a tie the longer shape, then the exact identity. Policy 0 allows; a
 * policy without a head denies.
 */
export function decide(source: RowSource, query: RowQuery): Decision {
  if (query.policyId === 0) return { verdict: Verdict.ALLOW, ruleId: 0 };
  const head = source.head(query.policyId, query.direction);
  if (head === undefined) return { verdict: Verdict.DEFAULT_DENY, ruleId: 0 };
  let best: Decision | undefined;
  for (const candidate of matchingRows(source, head, query)) {
    if (best?.row === undefined || candidate.row.precedence > best.row.precedence) {
      best = { verdict: candidate.row.verdict, ruleId: candidate.row.ruleId, ...candidate };
    }
  }
  return best ?? { verdict: head.defaultVerdict, ruleId: head.defaultRule };
}

/** All rows that match, longest shape first, exact identity before any: the order in which ties are broken. */
export function* matchingRows(
  source: RowSource,
  head: PolicyHead,
  query: RowQuery,
): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
  for (let shape = 24; shape >= 0; shape--) {
    const bit = 1 << shape;
    const base = { policyId: query.policyId, direction: query.direction, shape };
    const proto = shape === 0 ? 0 : query.proto;
    const port = maskPort(query.port, shape);
    for (const identity of [query.identity, 0]) {
      const mask = identity === 0 ? head.shapesAny : head.shapesExact;
      if ((mask & bit) === 0) continue;
      const key: PolicyRowKey = { ...base, identity, proto, port };
      const row = source.row(key);
      if (row !== undefined) yield { key, row };
      if (query.identity === 0) break;
    }
  }
}

/** A copy of the two policy maps: takes changes in order and can be asked. */
export class PolicyMaps implements RowSource {
  readonly #heads = new Map<string, PolicyHead>();
  readonly #rows = new Map<string, { key: PolicyRowKey; row: PolicyRow }>();
  readonly endpoints = new Map<number, number>();

  head(policyId: number, direction: Direction): PolicyHead | undefined {
    return this.#heads.get(`${policyId}/${direction}`);
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    return this.#rows.get(rowText(key))?.row;
  }

  apply(change: PolicyChange): void {
    if (change.op === "putRow") this.#rows.set(rowText(change.key), { key: change.key, row: change.row });
    else if (change.op === "deleteRow") this.#rows.delete(rowText(change.key));
    else if (change.op === "putHead") this.#heads.set(`${change.policyId}/${change.direction}`, change.head);
    else if (change.op === "deleteHead") this.#heads.delete(`${change.policyId}/${change.direction}`);
    else this.endpoints.set(change.endpointId, change.policyId);
  }

  *rows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    yield* this.#rows.values();
  }

  get rowCount(): number {
    return this.#rows.size;
  }

  get headCount(): number {
    return this.#heads.size;
  }
}

function rowText(key: PolicyRowKey): string {
  return `${key.policyId}/${key.identity}/${l4Code(key.direction, key)}`;
}

/** The key of a row from its parts in packed form. */
export function rowKey(policyId: number, code: number, identity: number): PolicyRowKey {
  const { direction, proto, port, shape } = l4Of(code);
  return { policyId, direction, identity, port, proto, shape };
}

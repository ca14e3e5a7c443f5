import { reserved } from "@axoneme/identity";
import { l4Code, l4Of, maskPort } from "./l4.ts";
import { cidrOfPeer, identityOfPeer, type PeerCode, PeerKind, peerCode, peerKind } from "./peercodes.ts";
import { Direction, type RowVerdict, Verdict } from "./rule.ts";

/** Key of a row of `ax_policy`; `port` in host order. */
export interface PolicyRowKey {
  policyId: number;
  direction: Direction;
  /** Of the peer; 0 = any. */
  identity: number;
  /** Number of the longest prefix that rules name around the peer's address; 0 = any. */
  cidr: number;
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
  /** Bit n: there are rows of shape n about an identity at addresses of a prefix. */
  shapesBoth: number;
  shapesExact: number;
  shapesCidr: number;
  shapesAny: number;
  /** Rows are final answers. */
  layered: boolean;
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
  /** What rules on prefixes know the peer's address by (`PolicyEngine.cidrOf`); 0: they pass over it. */
  cidr: number;
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

/** This node reaches its pods by who it is, not by its address: a denied prefix around it would end their probes. */
function asAsked(query: RowQuery): RowQuery {
  return query.direction === Direction.INGRESS && query.identity === reserved.host
    ? { ...query, cidr: 0 }
    : query;
}

/**
 * Decides as the datapath does: for every shape the head names, the rows of the identity in the prefix, of the identity, of the
 * prefix and of everybody; the highest precedence wins, on a tie the longer shape, then this order. Policy 0 allows; a
 * policy without a head denies.
 */
export function decide(source: RowSource, query: RowQuery): Decision {
  if (query.policyId === 0) return { verdict: Verdict.ALLOW, ruleId: 0 };
  const head = source.head(query.policyId, query.direction);
  if (head === undefined) return { verdict: Verdict.DEFAULT_DENY, ruleId: 0 };
  const found = new Map<PeerKind, Decision>();
  let best: Decision | undefined;
  for (const { key, row } of matchingRows(source, head, query)) {
    const decision = { verdict: row.verdict, ruleId: row.ruleId, key, row };
    best = better(best, decision);
    const kind = peerKind(key.identity, key.cidr);
    found.set(kind, better(found.get(kind), decision));
  }
  if (head.layered) best = moreCareful(found) ?? best;
  return best ?? { verdict: head.defaultVerdict, ruleId: head.defaultRule };
}

function better(a: Decision | undefined, b: Decision): Decision {
  return a?.row !== undefined && b.row !== undefined && b.row.precedence <= a.row.precedence ? a : b;
}

/** Named by identity and by prefix, but not by both: this peer is not known yet, and the answer that denies counts. */
function moreCareful(found: ReadonlyMap<PeerKind, Decision>): Decision | undefined {
  const [exact, cidr] = [found.get(PeerKind.EXACT), found.get(PeerKind.CIDR)];
  if (found.has(PeerKind.BOTH) || exact === undefined || cidr === undefined) return undefined;
  if (denies(exact) === denies(cidr)) return undefined;
  return denies(cidr) ? cidr : exact;
}

function denies({ verdict }: Decision): boolean {
  return verdict === Verdict.DENY || verdict === Verdict.DEFAULT_DENY;
}

/** All rows that match, longest shape first, the most specific peer first: the order in which ties are broken. */
export function* matchingRows(
  source: RowSource,
  head: PolicyHead,
  query: RowQuery,
): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
  const asked = asAsked(query);
  const { policyId, direction } = query;
  for (let shape = 24; shape >= 0; shape--) {
    const l4 = { proto: shape === 0 ? 0 : query.proto, port: maskPort(query.port, shape), shape };
    for (const peer of peersOf(head, asked, 1 << shape)) {
      const row = source.row({ policyId, direction, ...peer, ...l4 });
      if (row !== undefined) yield { key: { policyId, direction, ...peer, ...l4 }, row };
    }
  }
}

function* peersOf(
  head: PolicyHead,
  { identity, cidr }: RowQuery,
  bit: number,
): Generator<{ identity: number; cidr: number }> {
  if (identity !== 0 && cidr !== 0 && head.shapesBoth & bit) yield { identity, cidr };
  if (identity !== 0 && head.shapesExact & bit) yield { identity, cidr: 0 };
  if (cidr !== 0 && head.shapesCidr & bit) yield { identity: 0, cidr };
  if (head.shapesAny & bit) yield { identity: 0, cidr: 0 };
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
  return `${key.policyId}/${peerCode(key.identity, key.cidr)}/${l4Code(key.direction, key)}`;
}

/** The key of a row from its parts in packed form. */
export function rowKey(policyId: number, code: number, peer: PeerCode): PolicyRowKey {
  const { direction, proto, port, shape } = l4Of(code);
  const [identity, cidr] = [identityOfPeer(peer), cidrOfPeer(peer)];
  return { policyId, direction, identity, cidr, port, proto, shape };
}

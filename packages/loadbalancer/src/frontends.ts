import { formatIp, isV4 } from "@axoneme/base";
import { isMarker, isWildcard, wildcard } from "./addresses.ts";
import type { ChangeSet } from "./changes.ts";
import type { Locality } from "./desired.ts";
import type { ListStore } from "./lists.ts";
import { protocolText } from "./objects.ts";
import type { Owner, ProblemBook } from "./problems.ts";
import { type FrontendKey, frontendText, Scope, ServiceFlag, type ServiceRow, sameRow } from "./rows.ts";
import type { SlotList } from "./slotlist.ts";
import type { Unit } from "./unit.ts";

/** A unit's wish for a row. */
export interface Claim {
  readonly owner: Owner;
  readonly unit: Unit;
  readonly flags: number;
  readonly algorithm: number;
  readonly forwarding: number;
  readonly locality: Locality;
  readonly list: SlotList;
}

/** One key of `ax_services`: who wants it, and what stands there. */
export interface FrontendRecord {
  readonly key: FrontendKey;
  /** Best first. */
  claims: readonly Claim[];
  /** The claim that has it. */
  holder: Claim | undefined;
  row: ServiceRow | undefined;
  list: SlotList | undefined;
  /** Found in the maps at start, and nobody has claimed it so far. */
  orphan: boolean;
  /** Owners that were told that another has it. */
  losers: readonly Owner[];
}

/** Kinds in the order in which they have a contested key: nobody takes a cluster address by externalIPs. */
const precedence = [
  ServiceFlag.clusterIp,
  ServiceFlag.nodePort,
  ServiceFlag.loadBalancer,
  ServiceFlag.externalIp,
  ServiceFlag.localRedirect,
  ServiceFlag.hostPort,
];

function rankOf({ flags }: Claim): number {
  return precedence.findIndex((flag) => flags & flag);
}

/** Of equal kinds the first by name. */
function compareClaims(a: Claim, b: Claim): number {
  const byRank = rankOf(a) - rankOf(b);
  if (byRank !== 0) return byRank;
  const [left, right] = [`${a.owner.text} ${a.unit.key}`, `${b.owner.text} ${b.unit.key}`];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The rows of `ax_services`: what is claimed, who has it, what is written. */
export class FrontendTable {
  readonly #records = new Map<string, FrontendRecord>();
  readonly #dirty = new Set<string>();
  /** HostPorts on one address, by the wildcard of their port: a NodePort there goes first. */
  readonly #boundHostPorts = new Map<string, Set<string>>();
  readonly #lists: ListStore;
  readonly #problems: ProblemBook;
  /** Owners whose lists found no room. */
  readonly starved = new Set<string>();
  synced = false;

  constructor(lists: ListStore, problems: ProblemBook) {
    this.#lists = lists;
    this.#problems = problems;
  }

  get size(): number {
    return this.#records.size;
  }

  get(text: string): FrontendRecord | undefined {
    return this.#records.get(text);
  }

  records(): IterableIterator<FrontendRecord> {
    return this.#records.values();
  }

  /** Takes over a row of the maps. */
  restore(key: FrontendKey, row: ServiceRow, list: SlotList): void {
    list.users++;
    this.#records.set(frontendText(key), { ...emptyRecord(key), row, list, orphan: true });
  }

  /** Files a claim; it takes the place of the unit's former one. */
  claim(text: string, key: FrontendKey, claim: Claim): void {
    const record = this.#records.get(text) ?? emptyRecord(key);
    const others = record.claims.filter(({ unit }) => unit !== claim.unit);
    record.claims = others.length === 0 ? [claim] : [...others, claim].sort(compareClaims);
    this.#records.set(text, record);
    this.#touch(text, key, claim, true);
  }

  /** Takes a unit's claim back. */
  withdraw(text: string, unit: Unit): void {
    const record = this.#records.get(text);
    const claim = record?.claims.find((candidate) => candidate.unit === unit);
    if (record === undefined || claim === undefined) return;
    record.claims = record.claims.filter((candidate) => candidate !== claim);
    this.#touch(text, record.key, claim, false);
  }

  #touch(text: string, key: FrontendKey, { flags }: Claim, there: boolean): void {
    this.#dirty.add(text);
    const wild = isWildcard(key.addr);
    if (wild && flags & ServiceFlag.nodePort)
      for (const bound of this.#boundHostPorts.get(text) ?? []) this.#dirty.add(bound);
    if (wild || !(flags & ServiceFlag.hostPort)) return;
    const above = wildcardText(key);
    const bound = this.#boundHostPorts.get(above) ?? new Set<string>();
    if (there) bound.add(text);
    else if (!this.#records.get(text)?.claims.some((claim) => claim.flags & ServiceFlag.hostPort))
      bound.delete(text);
    if (bound.size === 0) this.#boundHostPorts.delete(above);
    else this.#boundHostPorts.set(above, bound);
  }

  /** All sources have synced: rows found at start come to what is wanted now. */
  settleOrphans(): void {
    this.synced = true;
    for (const [text, { orphan }] of this.#records) if (orphan) this.#dirty.add(text);
  }

  /** Brings every touched row to what its holder wants. */
  settle(changes: ChangeSet): void {
    for (const text of this.#dirty) {
      const record = this.#records.get(text);
      if (record !== undefined) this.#settleOne(text, record, changes);
    }
    this.#dirty.clear();
    this.#lists.sweep();
  }

  #settleOne(text: string, record: FrontendRecord, changes: ChangeSet): void {
    const holder = this.#holderOf(record);
    record.holder = holder;
    this.#reportLosers(text, record);
    // Its Service may be known already, and its slices not yet.
    if (record.orphan && !this.synced) return;
    if (holder === undefined) this.#remove(text, record, changes);
    else this.#write(record, holder, changes);
  }

  #write(record: FrontendRecord, holder: Claim, changes: ChangeSet): void {
    const placed = this.#lists.place(holder.list, holder.unit, changes);
    if (placed !== holder.list) this.#starve(holder, placed !== undefined);
    const list = placed ?? this.#lists.empty;
    const row = rowOf(holder, list);
    record.orphan = false;
    if (record.row !== undefined && sameRow(record.row, row)) return;
    changes.add({ op: "put-service", key: record.key, row, fresh: record.row === undefined });
    record.row = row;
    list.users++;
    if (record.list !== undefined) this.#lists.release(record.list);
    record.list = list;
  }

  #remove(text: string, record: FrontendRecord, changes: ChangeSet): void {
    if (record.row !== undefined) changes.add({ op: "delete-service", key: record.key });
    if (record.list !== undefined) this.#lists.release(record.list);
    record.row = undefined;
    record.list = undefined;
    record.orphan = false;
    if (record.claims.length === 0) this.#records.delete(text);
  }

  #holderOf(record: FrontendRecord): Claim | undefined {
    const first = record.claims[0];
    if (first === undefined || !this.#blocked(record, first)) return first;
    return undefined;
  }

  /** A hostPort on one address must not take connections from a NodePort on all of them. */
  #blocked({ key }: FrontendRecord, { flags }: Claim): Claim | undefined {
    if (!(flags & ServiceFlag.hostPort) || isWildcard(key.addr)) return undefined;
    const first = this.#records.get(wildcardText(key))?.claims[0];
    return first !== undefined && first.flags & ServiceFlag.nodePort ? first : undefined;
  }

  #reportLosers(text: string, record: FrontendRecord): void {
    const [first] = record.claims;
    // Services that share an address all mark it.
    if (isMarker(record.key)) return;
    if (record.claims.length < 2 && record.losers.length === 0 && record.holder === first) return;
    const holder = record.holder ?? (first && this.#blocked(record, first));
    const losers = record.claims.filter(({ owner }) => owner.text !== holder?.owner.text);
    const source = `frontend ${text}`;
    for (const owner of record.losers)
      if (!losers.some((loser) => loser.owner.text === owner.text)) this.#problems.set(owner, source, []);
    for (const { owner, unit } of losers)
      this.#problems.set(owner, source, [
        {
          port: `${unit.port}/${protocolText(unit.proto)}`,
          reason: `${addressText(record.key)} belongs to ${holder?.owner.text}`,
        },
      ]);
    record.losers = losers.map(({ owner }) => owner);
  }

  #starve({ owner, unit }: Claim, partly: boolean): void {
    this.starved.add(owner.text);
    const reason = partly
      ? "no room for the Maglev table in ax_slots: backends are chosen at random"
      : "no room for its backends in ax_slots: connections are refused";
    this.#problems.set(owner, "slots", [{ port: `${unit.port}/${protocolText(unit.proto)}`, reason }]);
  }
}

function rowOf({ unit, flags, forwarding }: Claim, list: SlotList): ServiceRow {
  return {
    serviceId: unit.id,
    slotsOff: list.offset,
    slots: list.size,
    count: list.ids.length,
    affinityTimeoutS: unit.affinityTimeoutS,
    flags,
    algorithm: list.algorithm,
    forwarding,
  };
}

function emptyRecord(key: FrontendKey): FrontendRecord {
  return {
    key,
    claims: [],
    holder: undefined,
    row: undefined,
    list: undefined,
    orphan: false,
    losers: [],
  };
}

/** Text of the key that stands for every address, with this port. */
export function wildcardText(key: FrontendKey): string {
  return frontendText({ ...key, addr: isV4(key.addr) ? wildcard.v4 : wildcard.v6, scope: Scope.external });
}

/** A frontend for people. */
export function addressText({ addr, port, proto }: FrontendKey): string {
  const host = isV4(addr) ? formatIp(addr) : `[${formatIp(addr)}]`;
  return `${isWildcard(addr) ? `node port (${isV4(addr) ? "IPv4" : "IPv6"}) ` : `${host}:`}${port}/${protocolText(proto)}`;
}

import { formatIp, type Ip, ipKey, type Prefix, parseIp, prefixKey } from "@axoneme/base";
import type { ChangeSet } from "./changes.ts";
import type { DesiredBackend, DesiredUnit } from "./desired.ts";
import type { IdCounter } from "./ids.ts";
import type { Owner } from "./problems.ts";
import { BackendFlag, type BackendRow, BackendState } from "./rows.ts";
import type { SlotList } from "./slotlist.ts";

/** A backend of a unit. */
export interface Entry {
  readonly id: number;
  /** Canonical text, the slice's own string: 16 bytes of an `Ip` would take 200 more. */
  address: string;
  readonly port: number;
  state: number;
  flags: number;
  weight: number;
  node: string | undefined;
  zone: string | undefined;
  /** State and flags in the map; -1 = no row. */
  written: number;
  /** Round of the unit in which it was wanted last. */
  round: number;
}

/** Rows of one kind that belong to a service id: source ranges, or clients that are not redirected. */
type Members<T> = Map<string, { readonly value: T; wanted: boolean }>;

/** Backends up to which they are searched one by one. */
const smallUnit = 16;

/** A Service port, a hostPort or a redirected address: what has one service id, and the rows that carry it. */
export class Unit {
  readonly id: number;
  owner: Owner | undefined;
  key = "";
  port = 0;
  proto = 0;
  portName = "";
  affinityTimeoutS = 0;
  /** Keys of the frontends it claims. */
  frontends: readonly string[] = [];
  lists: readonly SlotList[] = [];
  /** Found in the maps at start: until all has synced nothing of it is taken away. */
  restored = false;
  #entries: Entry[] = [];
  #ranges: Members<Prefix> | undefined;
  #skips: Members<Ip> | undefined;
  #round = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** Takes over a row of `ax_backends`. */
  restoreBackend(id: number, { addr, port, proto, state, flags }: BackendRow): void {
    this.proto = proto;
    const written = packed(state, flags);
    const address = formatIp(addr);
    this.#entries.push({ ...newEntry(id, address, port), state, flags, written, round: this.#round });
  }

  restoreRange(prefix: Prefix): void {
    this.#ranges ??= new Map();
    this.#ranges.set(prefixKey(prefix), { value: prefix, wanted: false });
  }

  restoreSkip(client: Ip): void {
    this.#skips ??= new Map();
    this.#skips.set(ipKey(client), { value: client, wanted: false });
  }

  /** Writes what is wanted and missing: backends, ranges, clients to skip. */
  sync(desired: DesiredUnit, ids: IdCounter, changes: ChangeSet): void {
    const { key, port, proto, portName, affinityTimeoutS } = desired;
    Object.assign(this, { key, port, proto, portName, affinityTimeoutS });
    this.#round++;
    const find = this.#finder();
    for (const backend of desired.backends) this.#put(backend, find(backend), ids, changes);
    const serviceId = this.id;
    this.#ranges = want(this.#ranges, desired.ranges, prefixKey, (prefix) =>
      changes.add({ op: "put-range", serviceId, prefix }),
    );
    this.#skips = want(this.#skips, desired.skips, ipKey, (client) =>
      changes.add({ op: "put-skip", serviceId, client }),
    );
  }

  /** Looks entries up by address and port. Most units are so small that an index would cost more. */
  #finder(): (backend: DesiredBackend) => Entry | undefined {
    const entries = this.#entries;
    if (entries.length <= smallUnit)
      return ({ address, port }) => entries.find((entry) => entry.address === address && entry.port === port);
    const byKey = new Map<string, Entry>();
    for (const entry of entries) byKey.set(`${entry.address} ${entry.port}`, entry);
    return ({ address, port }) => byKey.get(`${address} ${port}`);
  }

  #put(backend: DesiredBackend, known: Entry | undefined, ids: IdCounter, changes: ChangeSet): void {
    const entry = known ?? newEntry(ids.next(), backend.address, backend.port);
    if (known === undefined) this.#entries.push(entry);
    entry.address = backend.address;
    entry.round = this.#round;
    entry.weight = backend.weight;
    entry.node = backend.node;
    entry.zone = backend.zone;
    entry.state = backend.ready && backend.weight > 0 ? BackendState.active : BackendState.terminating;
    entry.flags = backend.local ? BackendFlag.local : 0;
    if (entry.written === packed(entry.state, entry.flags)) return;
    entry.written = packed(entry.state, entry.flags);
    changes.add({ op: "put-backend", id: entry.id, row: this.rowOf(entry) });
  }

  /** Removes what the last `sync` did not want; to be called once no service row names it any more. */
  dropUnwanted(changes: ChangeSet): void {
    const gone = this.#entries.filter(({ round }) => round !== this.#round);
    if (gone.length > 0) this.#entries = this.#entries.filter(({ round }) => round === this.#round);
    for (const entry of gone) changes.add({ op: "delete-backend", id: entry.id, row: this.rowOf(entry) });
    const serviceId = this.id;
    drop(this.#ranges, (prefix) => changes.add({ op: "delete-range", serviceId, prefix }));
    drop(this.#skips, (client) => changes.add({ op: "delete-skip", serviceId, client }));
  }

  /** From now on nothing is wanted. */
  abandon(): void {
    this.#round++;
    this.lists = [];
    this.frontends = [];
    for (const member of this.#ranges?.values() ?? []) member.wanted = false;
    for (const member of this.#skips?.values() ?? []) member.wanted = false;
  }

  /** The entries of each list of backends that were wanted by the last `sync`. */
  entriesFor(lists: readonly (readonly DesiredBackend[])[]): Entry[][] {
    const find = this.#finder();
    return lists.map((backends) => backends.flatMap((backend) => find(backend) ?? []));
  }

  /** The entries of these ids, in their order. */
  entriesOf(ids: readonly number[]): Entry[] {
    const entries = this.#entries;
    if (entries.length <= smallUnit)
      return ids.flatMap((id) => entries.find((entry) => entry.id === id) ?? []);
    const byId = new Map<number, Entry>();
    for (const entry of this.#entries) byId.set(entry.id, entry);
    return ids.flatMap((id) => byId.get(id) ?? []);
  }

  /** All backends, also those that are only kept for the connections they have. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get ranges(): Prefix[] {
    return [...(this.#ranges?.values() ?? [])].map(({ value }) => value);
  }

  /** Whether the client is not redirected. */
  skips(client: Ip): boolean {
    return this.#skips?.has(ipKey(client)) === true;
  }

  rowOf({ address, port, state, flags }: Entry): BackendRow {
    return { addr: parseIp(address), port, proto: this.proto, state, serviceId: this.id, flags };
  }
}

const packed = (state: number, flags: number): number => state | (flags << 8);

function newEntry(id: number, address: string, port: number): Entry {
  return {
    id,
    address,
    port,
    state: 0,
    flags: 0,
    weight: 1,
    node: undefined,
    zone: undefined,
    written: -1,
    round: 0,
  };
}

function want<T>(
  members: Members<T> | undefined,
  values: readonly T[],
  keyOf: (value: T) => string,
  put: (value: T) => void,
): Members<T> | undefined {
  if (members === undefined && values.length === 0) return undefined;
  const next: Members<T> = members ?? new Map();
  for (const member of next.values()) member.wanted = false;
  for (const value of values) {
    const key = keyOf(value);
    const known = next.get(key);
    if (known !== undefined) known.wanted = true;
    else {
      next.set(key, { value, wanted: true });
      put(value);
    }
  }
  return next;
}

function drop<T>(members: Members<T> | undefined, remove: (value: T) => void): void {
  for (const [key, { value, wanted }] of members ?? []) {
    if (wanted) continue;
    members?.delete(key);
    remove(value);
  }
}

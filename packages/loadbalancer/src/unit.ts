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
  readonly addr: Ip;
  readonly port: number;
  readonly proto: number;
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
  readonly #entries = new Map<string, Entry>();
  #ranges: Members<Prefix> | undefined;
  #skips: Members<Ip> | undefined;
  #round = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** Takes over a row of `ax_backends`. */
  restoreBackend(id: number, row: BackendRow): void {
    const key = `${formatIp(row.addr)} ${row.port}`;
    const { addr, port, proto, state, flags } = row;
    this.#entries.set(key, {
      id,
      addr,
      port,
      proto,
      state,
      flags,
      weight: 1,
      node: undefined,
      zone: undefined,
      written: packed(state, flags),
      round: this.#round,
    });
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
    for (const backend of desired.backends) this.#put(backend, proto, ids, changes);
    const serviceId = this.id;
    this.#ranges = want(this.#ranges, desired.ranges, prefixKey, (prefix) =>
      changes.add({ op: "put-range", serviceId, prefix }),
    );
    this.#skips = want(this.#skips, desired.skips, ipKey, (client) =>
      changes.add({ op: "put-skip", serviceId, client }),
    );
  }

  #put(backend: DesiredBackend, proto: number, ids: IdCounter, changes: ChangeSet): void {
    const known = this.#entries.get(backend.key);
    const entry = known ?? newEntry(backend, proto, ids.next());
    if (known === undefined) this.#entries.set(backend.key, entry);
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
    for (const [key, entry] of this.#entries) {
      if (entry.round === this.#round) continue;
      this.#entries.delete(key);
      changes.add({ op: "delete-backend", id: entry.id, row: this.rowOf(entry) });
    }
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

  /** The entries of backends that were wanted by the last `sync`. */
  entriesFor(backends: readonly DesiredBackend[]): Entry[] {
    return backends.flatMap(({ key }) => this.#entries.get(key) ?? []);
  }

  /** The entries of these ids, in their order. */
  entriesOf(ids: readonly number[]): Entry[] {
    const byId = new Map<number, Entry>();
    for (const entry of this.#entries.values()) byId.set(entry.id, entry);
    return ids.flatMap((id) => byId.get(id) ?? []);
  }

  /** All backends, also those that are only kept for the connections they have. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  get backendCount(): number {
    return this.#entries.size;
  }

  get ranges(): Prefix[] {
    return [...(this.#ranges?.values() ?? [])].map(({ value }) => value);
  }

  /** Whether the client is not redirected. */
  skips(client: Ip): boolean {
    return this.#skips?.has(ipKey(client)) === true;
  }

  rowOf({ addr, port, proto, state, flags }: Entry): BackendRow {
    return { addr, port, proto, state, serviceId: this.id, flags };
  }
}

const packed = (state: number, flags: number): number => state | (flags << 8);

function newEntry(backend: DesiredBackend, proto: number, id: number): Entry {
  return {
    id,
    addr: parseIp(backend.address),
    port: backend.port,
    proto,
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

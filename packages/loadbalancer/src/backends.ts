import type { DesiredBackend } from "./desired.ts";
import { type BackendRow, BackendState, type LbChange, socketText } from "./rows.ts";

interface Entry {
  id: number;
  key: string;
  row: BackendRow;
  /** State wanted by each service that has the backend; it is active when one of them says so. */
  claims: Map<string, number>;
  /** State in the map; undefined = no row. */
  written: number | undefined;
  /** Found in the map at start, and nobody has claimed it so far. */
  orphan: boolean;
}

/** Backends by (address, port, protocol), shared by all services; one id each, never used again. */
export class BackendTable {
  readonly #byKey = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  readonly #byService = new Map<string, Set<string>>();
  readonly #dirty = new Set<Entry>();
  #next = 1;

  /** States which backends a service has now; those it had before and has no more are given up. */
  claim(service: string, backends: readonly DesiredBackend[]): void {
    const keys = new Set<string>();
    for (const backend of backends) {
      const entry = this.#entry(backend);
      keys.add(entry.key);
      entry.claims.set(service, backend.state);
      this.#dirty.add(entry);
    }
    for (const key of this.#byService.get(service) ?? []) {
      const entry = this.#byKey.get(key);
      if (keys.has(key) || entry === undefined) continue;
      entry.claims.delete(service);
      this.#dirty.add(entry);
    }
    if (keys.size === 0) this.#byService.delete(service);
    else this.#byService.set(service, keys);
  }

  /** The id of a claimed backend. */
  idOf(backend: DesiredBackend): number {
    return this.#entry(backend).id;
  }

  #entry(backend: DesiredBackend): Entry {
    const key = socketText(backend);
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const { addr, port, proto } = backend;
    const row = { addr, port, proto, state: backend.state, serviceId: 0, flags: 0 };
    const entry: Entry = { id: this.#next++, key, row, claims: new Map(), written: undefined, orphan: false };
    this.#byKey.set(key, entry);
    this.#byId.set(entry.id, entry);
    return entry;
  }

  get(id: number): BackendRow | undefined {
    return this.#byId.get(id)?.row;
  }

  /** Takes over rows of the map with their ids. Of two rows of one backend the later id stands. */
  restore(rows: Iterable<{ id: number; row: BackendRow }>): void {
    for (const { id, row } of rows) {
      const key = socketText(row);
      const entry: Entry = { id, key, row: { ...row }, claims: new Map(), written: row.state, orphan: true };
      const known = this.#byKey.get(key);
      if (known === undefined || known.id < id) this.#byKey.set(key, entry);
      this.#byId.set(id, entry);
      this.#next = Math.max(this.#next, id + 1);
    }
  }

  /** New ids are this or higher. */
  startAt(id: number): void {
    this.#next = Math.max(this.#next, id);
  }

  /** From the next commit on, rows found at start that nobody claims go. */
  prune(): void {
    for (const entry of this.#byId.values()) {
      if (!entry.orphan) continue;
      entry.orphan = false;
      this.#dirty.add(entry);
    }
  }

  /** Writes since the last commit: puts go before whatever names the backends, deletes after. */
  commit(): { puts: LbChange[]; deletes: LbChange[] } {
    const puts: LbChange[] = [];
    const deletes: LbChange[] = [];
    for (const entry of this.#dirty) {
      if (entry.claims.size > 0) this.#put(entry, puts);
      else if (!entry.orphan) this.#drop(entry, deletes);
    }
    this.#dirty.clear();
    return { puts, deletes };
  }

  #put(entry: Entry, puts: LbChange[]): void {
    const state = Math.min(...entry.claims.values(), BackendState.terminating);
    entry.orphan = false;
    if (entry.written === state) return;
    entry.written = state;
    entry.row = { ...entry.row, state };
    puts.push({ op: "put-backend", id: entry.id, row: entry.row });
  }

  #drop(entry: Entry, deletes: LbChange[]): void {
    if (this.#byKey.get(entry.key) === entry) this.#byKey.delete(entry.key);
    this.#byId.delete(entry.id);
    if (entry.written !== undefined) deletes.push({ op: "delete-backend", id: entry.id, row: entry.row });
  }
}

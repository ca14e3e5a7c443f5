import { ipKey } from "@axoneme/base";
import type { BackendRow, LbChange } from "./rows.ts";

interface Entry {
  readonly id: number;
  row: BackendRow;
  uses: number;
}

/**
 * Backend ids: one for each (address, port, protocol), counted by use, never given to another backend again. A backend
 * that returns gets a new id, so that what remembers the old one selects anew.
 */
export class BackendRegistry {
  readonly #byKey = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  #next = 1;

  /** Takes over a row found in the map; it is in use by nobody until `acquire`. */
  restore(id: number, row: BackendRow): void {
    const entry = { id, row, uses: 0 };
    this.#byKey.set(keyOf(row), entry);
    this.#byId.set(id, entry);
    this.#next = Math.max(this.#next, id + 1);
  }

  /** The id for a backend; adds the write to `changes` when its row is new or differs. */
  acquire(row: BackendRow, changes: LbChange[]): number {
    const key = keyOf(row);
    let entry = this.#byKey.get(key);
    if (!entry) {
      entry = { id: this.#next++, row, uses: 0 };
      this.#byKey.set(key, entry);
      this.#byId.set(entry.id, entry);
      changes.push({ op: "put-backend", id: entry.id, row });
    } else if (entry.row.state !== row.state) {
      entry.row = row;
      changes.push({ op: "put-backend", id: entry.id, row });
    }
    entry.uses++;
    return entry.id;
  }

  /** Gives an id back; its row goes when nobody uses it. */
  release(id: number, changes: LbChange[]): void {
    const entry = this.#byId.get(id);
    if (!entry || --entry.uses > 0) return;
    this.#forget(entry, changes);
  }

  /** Removes restored backends that nobody claimed. */
  prune(changes: LbChange[]): void {
    for (const entry of [...this.#byId.values()]) if (entry.uses <= 0) this.#forget(entry, changes);
  }

  /** The row of an id. */
  row(id: number): BackendRow | undefined {
    return this.#byId.get(id)?.row;
  }

  #forget(entry: Entry, changes: LbChange[]): void {
    this.#byKey.delete(keyOf(entry.row));
    this.#byId.delete(entry.id);
    changes.push({ op: "delete-backend", id: entry.id });
  }
}

function keyOf({ addr, port, proto }: BackendRow): string {
  return `${ipKey(addr)}|${port}|${proto}`;
}

import type { KubeObject } from "../object.ts";

/** One version of one object. Immutable. */
export interface Entry {
  /** `<namespace>/<name>`, or `<name>` for cluster-scoped objects. */
  readonly key: string;
  readonly object: KubeObject;
  readonly revision: number;
  readonly json: string;
}

export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  /** After the change; for DELETED the last state with the deletion's revision. */
  readonly entry: Entry;
  readonly previous: Entry | undefined;
  /** Encoded watch events by format, filled by the first watcher that needs one and shared by the others. */
  readonly encoded: Map<string, Buffer>;
}

const encodedKept = 256;

export type ChangeListener = (change: Change) => void;

/** The objects of one resource in key order, the window of recent changes, and who listens. */
export class Bucket {
  readonly resource: string;
  readonly #historySize: number;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<ChangeListener>();
  readonly #closers = new Set<() => void>();
  #keys: string[] = [];
  #history: Change[] = [];
  #floor: number;
  #lastRevision: number;

  constructor(resource: string, historySize: number, floor: number) {
    this.resource = resource;
    this.#historySize = historySize;
    this.#floor = floor;
    this.#lastRevision = floor;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Watches may begin at this revision or later: what came before it is no longer in the window. */
  get floor(): number {
    return this.#floor;
  }

  get lastRevision(): number {
    return this.#lastRevision;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** In key order; only those whose key begins with `prefix`, and after the key `after`. */
  *entries(prefix = "", after = ""): IterableIterator<Entry> {
    const keys = this.#keys;
    for (let i = firstFrom(keys, after > prefix ? after : prefix); i < keys.length; i++) {
      const key = keys[i];
      if (key === undefined || !key.startsWith(prefix)) return;
      if (key === after && after !== "") continue;
      const entry = this.#entries.get(key);
      if (entry !== undefined) yield entry;
    }
  }

  put(entry: Entry): Change {
    const previous = this.#entries.get(entry.key);
    this.#entries.set(entry.key, entry);
    if (previous === undefined) this.#keys.splice(firstFrom(this.#keys, entry.key), 0, entry.key);
    return this.#publish(previous === undefined ? "ADDED" : "MODIFIED", entry, previous);
  }

  delete(last: Entry): Change {
    const previous = this.#entries.get(last.key);
    this.#entries.delete(last.key);
    this.#keys.splice(firstFrom(this.#keys, last.key), 1);
    return this.#publish("DELETED", last, previous);
  }

  /** Loads an entry found on disk; call `restored` once after the last. */
  restore(entry: Entry): void {
    this.#entries.set(entry.key, entry);
    this.#keys.push(entry.key);
  }

  restored(): void {
    this.#keys.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** The changes after `revision`, or undefined when the window no longer reaches back to it. */
  since(revision: number): Change[] | undefined {
    if (revision < this.#floor) return undefined;
    let low = 0;
    let high = this.#history.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#history[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return this.#history.slice(low);
  }

  /** Calls `listener` with each later change until the returned function is called; `closed` when the store closes. */
  listen(listener: ChangeListener, closed: () => void = () => undefined): () => void {
    this.#listeners.add(listener);
    this.#closers.add(closed);
    return () => {
      this.#listeners.delete(listener);
      this.#closers.delete(closed);
    };
  }

  /** Forgets the window: every watch that is not at the latest revision gets 410. */
  forgetHistory(): void {
    this.#history = [];
    this.#floor = this.#lastRevision;
  }

  close(): void {
    for (const closed of [...this.#closers]) closed();
  }

  #publish(type: Change["type"], entry: Entry, previous: Entry | undefined): Change {
    const change: Change = { type, revision: entry.revision, entry, previous, encoded: new Map() };
    this.#lastRevision = entry.revision;
    this.#history.push(change);
    // Encodings serve the watchers of now; late ones encode again, so that the window does not hold every event twice.
    this.#history.at(-encodedKept)?.encoded.clear();
    // Dropping half at once keeps the cost of a full window O(1) per change.
    if (this.#history.length > this.#historySize) {
      const dropped = this.#history.splice(0, this.#history.length >> 1);
      this.#floor = dropped.at(-1)?.revision ?? this.#floor;
    }
    for (const listener of [...this.#listeners]) listener(change);
    return change;
  }
}

/** The index of the first key that is not before `key`. */
function firstFrom(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

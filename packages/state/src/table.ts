import { AxonError, Emitter } from "@axoneme/base";

/** Primary and secondary keys are plain values, compared as Map keys are. */
export type Key = string | number;

/** What one batch did to one key: `previous` absent = inserted, `row` absent = deleted. */
export interface Change<Row> {
  key: Key;
  previous: Row | undefined;
  row: Row | undefined;
}

export interface TableOptions<Row, Index extends string> {
  /** Names the table in errors and health. */
  name: string;
  /** The primary key. A row's key never changes: another key is another row. */
  key: (row: Row) => Key;
  /** Secondary indexes: each yields no, one or several keys a row. */
  indexes?: Record<Index, (row: Row) => Key | readonly Key[] | undefined>;
  /** When given, an upsert of an equal row is no change. The same object always is none. */
  equal?: (a: Row, b: Row) => boolean;
}

/**
 * Rows by primary key with secondary indexes and a feed of changes. Rows are immutable by convention: change
 * one by upserting a new object. Changes are delivered in batches, one a transaction, or one a microtask for
 * writes outside of transactions; within a batch a key appears once, with its first and its last row.
 */
export class Table<Row extends object, Index extends string = never> {
  readonly name: string;
  readonly #options: TableOptions<Row, Index>;
  readonly #rows = new Map<Key, Row>();
  readonly #indexes = new Map<string, Map<Key, Map<Key, Row>>>();
  readonly #feed = new Emitter<readonly Change<Row>[]>();
  #pending = new Map<Key, Row | undefined>();
  #depth = 0;
  #scheduled = false;
  #revision = 0;

  constructor(options: TableOptions<Row, Index>) {
    this.name = options.name;
    this.#options = options;
    for (const index of Object.keys(options.indexes ?? {})) this.#indexes.set(index, new Map());
  }

  /** Rises with every change of a row. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#rows.size;
  }

  get(key: Key): Row | undefined {
    return this.#rows.get(key);
  }

  has(key: Key): boolean {
    return this.#rows.has(key);
  }

  /** All rows, in order of first insertion. Do not write while iterating: take a copy with `[...all()]`. */
  all(): IterableIterator<Row> {
    return this.#rows.values();
  }

  /** The rows filed under `key` in a secondary index. */
  by(index: Index, key: Key): Row[] {
    return [...(this.#index(index).get(key)?.values() ?? [])];
  }

  /** The keys that occur in a secondary index. */
  keysOf(index: Index): IterableIterator<Key> {
    return this.#index(index).keys();
  }

  #index(name: Index): Map<Key, Map<Key, Row>> {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new AxonError("state.index", `table ${this.name} has no index "${name}"`);
    return index;
  }

  /** Inserts or replaces; false when nothing changed. */
  upsert(row: Row): boolean {
    const key = this.#options.key(row);
    const previous = this.#rows.get(key);
    if (previous === row) return false;
    if (previous !== undefined && this.#options.equal?.(previous, row)) return false;
    if (previous !== undefined) this.#unfile(key, previous);
    this.#rows.set(key, row);
    this.#file(key, row);
    this.#changed(key, previous);
    return true;
  }

  /** Removes and returns the row; undefined when there was none. */
  delete(key: Key): Row | undefined {
    const previous = this.#rows.get(key);
    if (previous === undefined) return undefined;
    this.#rows.delete(key);
    this.#unfile(key, previous);
    this.#changed(key, previous);
    return previous;
  }

  /** Makes the table hold exactly `rows`: a resync. */
  replaceAll(rows: Iterable<Row>): void {
    this.txn(() => {
      const keep = new Set<Key>();
      for (const row of rows) {
        keep.add(this.#options.key(row));
        this.upsert(row);
      }
      for (const key of [...this.#rows.keys()]) if (!keep.has(key)) this.delete(key);
    });
  }

  /**
   * Collects the writes of `fn` (synchronous; may nest) into one batch, delivered before `txn` returns. There
   * is no rollback: when `fn` throws, what it wrote stays and is delivered.
   */
  txn<T>(fn: () => T): T {
    this.#depth++;
    try {
      return fn();
    } finally {
      this.#depth--;
      if (this.#depth === 0) this.#deliver();
    }
  }

  /** Calls `listener` with each batch, and first with all present rows as insertions. Returns the way out. */
  watch(listener: (changes: readonly Change<Row>[]) => void): () => void {
    this.#deliver();
    if (this.#rows.size > 0) {
      listener([...this.#rows].map(([key, row]) => ({ key, previous: undefined, row })));
    }
    return this.#feed.on(listener);
  }

  #file(key: Key, row: Row): void {
    for (const [name, entries] of this.#indexes) {
      for (const value of this.#keysIn(name as Index, row)) {
        const bucket = entries.get(value) ?? new Map<Key, Row>();
        entries.set(value, bucket);
        bucket.set(key, row);
      }
    }
  }

  #unfile(key: Key, row: Row): void {
    for (const [name, entries] of this.#indexes) {
      for (const value of this.#keysIn(name as Index, row)) {
        const bucket = entries.get(value);
        bucket?.delete(key);
        if (bucket?.size === 0) entries.delete(value);
      }
    }
  }

  #keysIn(name: Index, row: Row): readonly Key[] {
    const keys = this.#options.indexes?.[name](row);
    if (keys === undefined) return [];
    return typeof keys === "string" || typeof keys === "number" ? [keys] : keys;
  }

  #changed(key: Key, previous: Row | undefined): void {
    this.#revision++;
    if (!this.#pending.has(key)) this.#pending.set(key, previous);
    if (this.#depth > 0 || this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#depth === 0) this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#pending.size === 0) return;
    const pending = this.#pending;
    this.#pending = new Map();
    const changes: Change<Row>[] = [];
    for (const [key, previous] of pending) {
      const row = this.#rows.get(key);
      if (row !== previous) changes.push({ key, previous, row });
    }
    if (changes.length > 0) this.#feed.emit(changes);
  }
}

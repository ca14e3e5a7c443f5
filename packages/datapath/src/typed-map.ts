import { AxonError } from "@axoneme/base";

/** How a struct of the ABI is laid out: as generated in `@axoneme/abi`. */
export interface Codec<T> {
  readonly size: number;
  encode(value: T, view: DataView, offset: number): void;
  decode(view: DataView, offset: number): T;
}

/** The part of a kernel map this package uses; `BpfMap` of `@axoneme/bpf` has it. */
export interface RawMap {
  readonly name: string;
  readonly maxEntries: number;
  get(key: Uint8Array): Uint8Array | undefined;
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): boolean;
  putBatch(keys: Uint8Array, values: Uint8Array, count: number): void;
  deleteBatch(keys: Uint8Array, count: number): void;
  dump(): { readonly keys: Uint8Array; readonly values: Uint8Array; readonly count: number };
}

/** Rows below this number are written one by one: a batch costs two allocations. */
const batchFrom = 8;

/** A kernel map whose keys and values are structs of the ABI. */
export class TypedMap<K, V> {
  readonly raw: RawMap;
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  readonly #keyBytes: Uint8Array;
  readonly #valueBytes: Uint8Array;
  readonly #keyView: DataView;
  readonly #valueView: DataView;

  constructor(raw: RawMap, key: Codec<K>, value: Codec<V>) {
    this.raw = raw;
    this.#key = key;
    this.#value = value;
    this.#keyBytes = new Uint8Array(key.size);
    this.#valueBytes = new Uint8Array(value.size);
    this.#keyView = new DataView(this.#keyBytes.buffer);
    this.#valueView = new DataView(this.#valueBytes.buffer);
  }

  /** The row of a key. */
  get(key: K): V | undefined {
    this.#key.encode(key, this.#keyView, 0);
    const bytes = this.raw.get(this.#keyBytes);
    return bytes && this.#value.decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  }

  /**
   * Writes a row.
   * @throws AxonError `map.write` naming the map and the row, with the kernel's reason as cause.
   */
  put(key: K, value: V): void {
    this.#key.encode(key, this.#keyView, 0);
    this.#value.encode(value, this.#valueView, 0);
    try {
      this.raw.put(this.#keyBytes, this.#valueBytes);
    } catch (cause) {
      throw writeError(this.raw.name, describe(key), cause);
    }
  }

  /** Deletes a row; false when there was none. */
  delete(key: K): boolean {
    this.#key.encode(key, this.#keyView, 0);
    return this.raw.delete(this.#keyBytes);
  }

  /** Writes many rows with few system calls. On an error some may be written. */
  putAll(rows: readonly (readonly [K, V])[]): void {
    if (rows.length < batchFrom) {
      for (const [key, value] of rows) this.put(key, value);
      return;
    }
    const keys = new Uint8Array(rows.length * this.#key.size);
    const values = new Uint8Array(rows.length * this.#value.size);
    const keyView = new DataView(keys.buffer);
    const valueView = new DataView(values.buffer);
    rows.forEach(([key, value], i) => {
      this.#key.encode(key, keyView, i * this.#key.size);
      this.#value.encode(value, valueView, i * this.#value.size);
    });
    try {
      this.raw.putBatch(keys, values, rows.length);
    } catch (cause) {
      throw writeError(this.raw.name, `${rows.length} rows`, cause);
    }
  }

  /** Deletes many rows; rows that are not there are no error. */
  deleteAll(keys: readonly K[]): void {
    for (const key of keys) this.delete(key);
  }

  /** All rows. Not a snapshot: rows written meanwhile may or may not be among them. */
  entries(): [K, V][] {
    const { keys, values, count } = this.raw.dump();
    const keyView = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
    const valueView = new DataView(values.buffer, values.byteOffset, values.byteLength);
    const rows: [K, V][] = [];
    for (let i = 0; i < count; i++) {
      rows.push([
        this.#key.decode(keyView, i * this.#key.size),
        this.#value.decode(valueView, i * this.#value.size),
      ]);
    }
    return rows;
  }
}

/** A little-endian u32, the key or value of several maps. */
export const u32: Codec<number> = {
  size: 4,
  encode: (value, view, offset) => view.setUint32(offset, value, true),
  decode: (view, offset) => view.getUint32(offset, true),
};

/** A little-endian u64. */
export const u64: Codec<bigint> = {
  size: 8,
  encode: (value, view, offset) => view.setBigUint64(offset, value, true),
  decode: (view, offset) => view.getBigUint64(offset, true),
};

/** An address as a key. */
export const address: Codec<Uint8Array> = {
  size: 16,
  encode: (value, view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, 16).set(value),
  decode: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, 16).slice(),
};

function describe(key: unknown): string {
  return JSON.stringify(key, (_name, value) => (value instanceof Uint8Array ? [...value].join(".") : value));
}

function writeError(map: string, what: string, cause: unknown): AxonError {
  return new AxonError("map.write", `cannot write ${what} to ${map}`, { cause });
}

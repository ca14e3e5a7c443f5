import { type BatchError, BpfError, BpfMap, MapFlag, MapType } from "@axoneme/bpf";
import type { RawMap } from "./typed-map.ts";

/** What the inner maps of a growing map look like: as bpf/include/axon/maps.h declares them. */
export interface GrowingShape {
  readonly type: "hash" | "array";
  readonly keySize: number;
  readonly valueSize: number;
  /** Entries of the first inner map. */
  readonly initial: number;
  /** Entries it may grow to; a write beyond is refused. */
  readonly limit: number;
}

const E2BIG = 7;
const slot = new Uint8Array(4);

/**
 * A map that grows while programs use it: the kernel's side is an array of maps with one element. A write that finds
 * it full makes a copy of twice the size, puts that in its place with one update, and goes on; programs see the old
 * map or the new one, each complete, since only user space writes rows. The kernel waits for running programs during
 * that update, so the old one is free when it returns.
 */
export class GrowingMap implements RawMap {
  readonly name: string;
  readonly #outer: BpfMap;
  readonly #shape: GrowingShape;
  #inner: BpfMap;

  private constructor(outer: BpfMap, inner: BpfMap, shape: GrowingShape) {
    this.name = outer.name;
    this.#outer = outer;
    this.#inner = inner;
    this.#shape = shape;
  }

  /** Opens the inner map of `outer`, or makes the first one. Takes `outer` over: `close` closes both. */
  static open(outer: BpfMap, shape: GrowingShape): GrowingMap {
    const id = outer.get(slot);
    if (id !== undefined) {
      const number = new DataView(id.buffer, id.byteOffset).getUint32(0, true);
      return new GrowingMap(outer, BpfMap.openById(number), shape);
    }
    const first = createInner(outer.name, shape, shape.initial);
    install(outer, first);
    return new GrowingMap(outer, first, shape);
  }

  /** Entries it holds before it has to grow. */
  get maxEntries(): number {
    return this.#inner.maxEntries;
  }

  /** Entries it may grow to. */
  get limit(): number {
    return this.#shape.limit;
  }

  /** Bytes of kernel memory it holds now. */
  get memoryBytes(): number {
    return this.#outer.memoryBytes + this.#inner.memoryBytes;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#inner.get(key);
  }

  /** @throws BpfError E2BIG when the limit is reached. */
  put(key: Uint8Array, value: Uint8Array): void {
    for (;;) {
      try {
        this.#inner.put(key, value);
        return;
      } catch (error) {
        if (!isFull(error)) throw error;
        this.#grow(error);
      }
    }
  }

  delete(key: Uint8Array): boolean {
    return this.#inner.delete(key);
  }

  /** Writes `count` flat entries; what was written before the map was full is not written again. */
  putBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    const { keySize, valueSize } = this.#shape;
    for (let done = 0; done < count; ) {
      try {
        this.#inner.putBatch(keys.subarray(done * keySize), values.subarray(done * valueSize), count - done);
        return;
      } catch (error) {
        if (!isFull(error)) throw error;
        done += (error as BatchError).index;
        this.#grow(error);
      }
    }
  }

  deleteBatch(keys: Uint8Array, count: number): void {
    this.#inner.deleteBatch(keys, count);
  }

  dump(): { readonly keys: Uint8Array; readonly values: Uint8Array; readonly count: number } {
    return this.#inner.dump();
  }

  /** Makes room for that many entries at once, instead of by doubling step by step. */
  reserve(entries: number): void {
    if (entries > this.maxEntries) this.#replace(Math.min(this.#shape.limit, ceilPowerOfTwo(entries)));
  }

  #grow(cause: unknown): void {
    if (this.maxEntries >= this.#shape.limit) throw cause;
    this.#replace(Math.min(this.#shape.limit, this.maxEntries * 2));
  }

  #replace(entries: number): void {
    const next = createInner(this.name, this.#shape, entries);
    try {
      for (const { keys, values, count } of this.#inner.chunks(16_384)) next.putBatch(keys, values, count);
      install(this.#outer, next);
    } catch (error) {
      next.close();
      throw error;
    }
    this.#inner.close();
    this.#inner = next;
  }

  close(): void {
    this.#inner.close();
    this.#outer.close();
  }
}

function createInner(name: string, shape: GrowingShape, maxEntries: number): BpfMap {
  const { type, keySize, valueSize } = shape;
  const flags = type === "hash" ? MapFlag.NO_PREALLOC : MapFlag.INNER_MAP;
  const kind = type === "hash" ? MapType.HASH : MapType.ARRAY;
  return BpfMap.create({ name, type: kind, keySize, valueSize, maxEntries, flags });
}

function install(outer: BpfMap, inner: BpfMap): void {
  const fd = new Uint8Array(4);
  new DataView(fd.buffer).setUint32(0, inner.fd, true);
  outer.put(slot, fd);
}

function isFull(error: unknown): boolean {
  return error instanceof BpfError && error.errno === E2BIG;
}

function ceilPowerOfTwo(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}

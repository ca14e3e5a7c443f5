import { readFileSync } from "node:fs";
import { deleteBatch, dumpMap, type Entries, putBatch, takeBatch, walkMap } from "./batch.ts";
import { MapType, nameIn } from "./constants.ts";
import { BpfError, check } from "./errors.ts";
import { Fd } from "./fd.ts";
import { type NativeMapInfo, native } from "./native.ts";
import { openPin, type PinOptions, pinFd } from "./pins.ts";

const ENOENT = 2;

export interface MapSpec {
  name: string;
  /** One of MapType. */
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  /** MapFlag bits. */
  flags?: number;
  /** Map-in-map types: a map of the shape all inner maps have. */
  inner?: BpfMap;
}

const PER_CPU: ReadonlySet<number> = new Set([
  MapType.PERCPU_HASH,
  MapType.PERCPU_ARRAY,
  MapType.LRU_PERCPU_HASH,
  MapType.PERCPU_CGROUP_STORAGE,
]);

let cpus = 0;

/** How many values each key of a per-CPU map has. */
export function possibleCpus(): number {
  cpus ||= check(native().possibleCpus(), "bpf.map", "count the possible CPUs");
  return cpus;
}

/**
 * A map of the kernel. Keys and values are bytes in the machine's order (codecs: @axoneme/abi); a length
 * that differs from the map's throws. In a per-CPU map a value is `entrySize` bytes: one value of
 * `perCpuStride` bytes for each possible CPU.
 */
export class BpfMap {
  readonly info: Readonly<NativeMapInfo>;
  readonly isPerCpu: boolean;
  /** Bytes from one CPU's value to the next; the value size rounded up to 8. */
  readonly perCpuStride: number;
  /** Bytes of a value as get, put and the batches see it. */
  readonly entrySize: number;
  readonly #fd: Fd;

  constructor(fd: Fd) {
    const info = native().mapInfo(fd.raw);
    if (typeof info === "number") {
      fd.close();
      throw new BpfError("bpf.map", `${fd.what}: not a map`, { errno: -info });
    }
    this.#fd = fd;
    this.info = info;
    this.isPerCpu = PER_CPU.has(info.type);
    this.perCpuStride = (info.valueSize + 7) & ~7;
    this.entrySize = this.isPerCpu ? this.perCpuStride * possibleCpus() : info.valueSize;
  }

  /** Throws `bpf.map`. */
  static create(spec: MapSpec): BpfMap {
    const { name, type, keySize, valueSize, maxEntries, flags = 0 } = spec;
    const inner = spec.inner?.fd ?? 0;
    const raw = native().mapCreate(type, keySize, valueSize, maxEntries, flags, name, inner);
    return new BpfMap(
      new Fd(check(raw, "bpf.map", `create map ${name} (${nameIn(MapType, type)})`), `map ${name}`),
    );
  }

  /** Throws `bpf.pin` when nothing is pinned there, `bpf.map` when it is not a map. */
  static openPinned(path: string): BpfMap {
    return new BpfMap(openPin(path, `map ${path.slice(path.lastIndexOf("/") + 1)}`));
  }

  static openById(id: number): BpfMap {
    return new BpfMap(new Fd(check(native().fdById(1, id), "bpf.map", `open map id ${id}`), `map id ${id}`));
  }

  /** The type information the map was created with, as the kernel keeps it; undefined: none. */
  btf(): Uint8Array | undefined {
    if (this.info.btfId === 0) return undefined;
    const bytes = native().btfBytes(this.info.btfId);
    if (typeof bytes !== "number") return bytes;
    throw new BpfError("bpf.map", `read the types of map ${this.name}`, { errno: -bytes });
  }

  /** The same map under a descriptor of its own. */
  copy(): BpfMap {
    return new BpfMap(this.duplicate());
  }

  /** A descriptor of its own for the same map. */
  duplicate(): Fd {
    const raw = native().fdById(1, this.info.id);
    return new Fd(check(raw, "bpf.map", `open map ${this.name} once more`), `map ${this.name}`);
  }

  get fd(): number {
    return this.#fd.raw;
  }

  get name(): string {
    return this.info.name;
  }

  /** Bytes of kernel memory it holds now, as proc(5) tells in fdinfo. */
  get memoryBytes(): number {
    const info = readFileSync(`/proc/self/fdinfo/${this.fd}`, "utf8");
    return Number(/^memlock:\s+(\d+)/m.exec(info)?.[1] ?? 0);
  }

  get keySize(): number {
    return this.info.keySize;
  }

  get valueSize(): number {
    return this.info.valueSize;
  }

  get maxEntries(): number {
    return this.info.maxEntries;
  }

  /** The value, or undefined when the key is absent. */
  get(key: Uint8Array): Uint8Array | undefined {
    const out = new Uint8Array(this.entrySize);
    return this.getInto(key, out) ? out : undefined;
  }

  /** As get, into the caller's `entrySize` bytes; nothing is allocated. */
  getInto(key: Uint8Array, out: Uint8Array): boolean {
    this.#size("key", key, this.info.keySize);
    this.#size("value", out, this.entrySize);
    return this.#found(native().mapLookup(this.#fd.raw, key, out, 0), "look up");
  }

  /** A per-CPU map's values by CPU (views of one buffer), or undefined. */
  getPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    const all = this.get(key);
    if (!all) return undefined;
    if (!this.isPerCpu) return [all];
    const one = (_: unknown, cpu: number) =>
      all.subarray(cpu * this.perCpuStride, cpu * this.perCpuStride + this.info.valueSize);
    return Array.from({ length: possibleCpus() }, one);
  }

  /**
   * Writes one entry; `flags` is one of Update. In a per-CPU map a single value (`valueSize` bytes) goes to
   * every CPU. Throws `bpf.map`: E2BIG when full, EEXIST and ENOENT by the flags.
   */
  put(key: Uint8Array, value: Uint8Array, flags = 0): void {
    this.#size("key", key, this.info.keySize);
    const bytes = this.isPerCpu && value.length === this.info.valueSize ? this.#spread(value) : value;
    this.#size("value", bytes, this.entrySize);
    const result = native().mapUpdate(this.#fd.raw, key, bytes, flags);
    if (result < 0) check(result, "bpf.map", `write to map ${this.name}`);
  }

  /** False when the key was absent. */
  delete(key: Uint8Array): boolean {
    this.#size("key", key, this.info.keySize);
    return this.#found(native().mapDelete(this.#fd.raw, key), "delete from");
  }

  /** The value, deleted in the same step. Queue and stack maps have no key: pass an empty one. */
  take(key: Uint8Array): Uint8Array | undefined {
    this.#size("key", key, this.info.keySize);
    const out = new Uint8Array(this.entrySize);
    const result = native().mapTake(this.#fd.raw, key.length > 0 ? key : null, out, 0);
    return this.#found(result, "take from") ? out : undefined;
  }

  /** The key after `key` in the map's own order, the first for undefined; undefined at the end. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    if (key) this.#size("key", key, this.info.keySize);
    const next = new Uint8Array(this.info.keySize);
    return this.#found(native().mapNextKey(this.#fd.raw, key ?? null, next), "walk") ? next : undefined;
  }

  /**
   * All entries, flat: entry i is `keys[i * keySize ...]`, `values[i * entrySize ...]`. With `reuse` its arrays
   * are filled again (and replaced only when too small), so that a periodic scan allocates nothing.
   */
  dump(reuse?: Entries): Entries {
    return dumpMap(this, reuse);
  }

  /** All entries in chunks of about `size`; the arrays of a chunk are overwritten by the next one. */
  chunks(size = 4096): Generator<Entries, void> {
    return walkMap(this, size);
  }

  /** Every entry, as copies. For tests and small maps; `chunks` for large ones. */
  *entries(): Generator<[key: Uint8Array, value: Uint8Array], void> {
    for (const { keys, values, count } of this.chunks(1024)) {
      for (let i = 0; i < count; i++) {
        yield [
          keys.slice(i * this.keySize, (i + 1) * this.keySize),
          values.slice(i * this.entrySize, (i + 1) * this.entrySize),
        ];
      }
    }
  }

  [Symbol.iterator](): Generator<[key: Uint8Array, value: Uint8Array], void> {
    return this.entries();
  }

  /** Writes `count` flat entries. Throws BatchError with the index of the entry that failed. */
  putBatch(keys: Uint8Array, values: Uint8Array, count: number, flags = 0): void {
    putBatch(this, keys, values, count, flags);
  }

  /** Deletes `count` flat keys; absent ones are passed over. Returns how many were deleted. */
  deleteBatch(keys: Uint8Array, count: number): number {
    return deleteBatch(this, keys, count);
  }

  /** Takes about `max` entries out of the map (as many as there are room for); count 0: it is empty. */
  lookupAndDeleteBatch(max = 4096): Entries {
    return takeBatch(this, max);
  }

  /** Deletes every entry (hash and LPM maps). Returns how many. */
  clear(): number {
    const { keys, count } = this.dump();
    return count === 0 ? 0 : this.deleteBatch(keys, count);
  }

  /** No writes from user space any more. */
  freeze(): void {
    check(native().mapFreeze(this.#fd.raw), "bpf.map", `freeze map ${this.name}`);
  }

  /** Throws `bpf.pin`. */
  pin(path: string, options?: PinOptions): void {
    pinFd(this.#fd, path, options);
  }

  /** Idempotent. The map lives on while a program, a pin or another descriptor holds it. */
  close(): void {
    this.#fd.close();
  }

  #size(what: string, bytes: Uint8Array, wanted: number): void {
    if (bytes.length === wanted) return;
    throw new BpfError("bpf.map.size", `map ${this.name}: ${what} has ${bytes.length} bytes, want ${wanted}`);
  }

  #found(result: number, doing: string): boolean {
    if (result >= 0) return true;
    if (result === -ENOENT) return false;
    check(result, "bpf.map", `${doing} map ${this.name}`);
    return false;
  }

  #spread(value: Uint8Array): Uint8Array {
    const all = new Uint8Array(this.entrySize);
    for (let at = 0; at < all.length; at += this.perCpuStride) all.set(value, at);
    return all;
  }
}

import { MapType } from "./constants.ts";
import { BpfError, check } from "./errors.ts";
import { Fd } from "./fd.ts";
import type { BpfMap } from "./map.ts";
import { type NativeHandle, native } from "./native.ts";

export interface RingBufferOptions {
  /**
   * Reads how many records the programs could not write (the kernel does not count them; our programs
   * count in a per-CPU map).
   */
  lost?: () => bigint;
}

/** Records of one batch, of any length: record i is `bytes[offset, offset + length)`. */
export interface RecordBatch {
  readonly bytes: Uint8Array;
  /** offset and length of each record, in pairs. */
  readonly spans: Uint32Array;
  readonly count: number;
}

/**
 * The one reader of a BPF ring buffer map. Records are copied out in batches into the caller's buffer;
 * waiting costs one wake-up a batch, never one a record. Errors: `bpf.ringbuf`.
 */
export class RingBuffer {
  /** Bytes of the kernel's buffer. */
  readonly size: number;
  /** Records that `drainPacked` passed over because their length was not the one asked for. */
  skipped = 0;
  readonly #handle: NativeHandle;
  readonly #fd: Fd;
  readonly #state = new Uint32Array(2);
  readonly #lost: () => bigint;
  #watching = false;
  /** Runs while a wake-up is put off. */
  #pause: NodeJS.Timeout | undefined;
  #detached = false;

  private constructor(handle: NativeHandle, fd: Fd, size: number, options: RingBufferOptions) {
    this.#handle = handle;
    this.#fd = fd;
    this.size = size;
    this.#lost = options.lost ?? (() => 0n);
  }

  /** Maps the buffer into memory with a descriptor of its own: `map` may be closed afterwards. */
  static open(map: BpfMap, options: RingBufferOptions = {}): RingBuffer {
    const what = `ring buffer ${map.name}`;
    if (map.info.type !== MapType.RINGBUF)
      throw new BpfError("bpf.ringbuf", `map ${map.name} is not a ring buffer`);
    const fd = new Fd(check(native().fdById(1, map.info.id), "bpf.ringbuf", `open ${what}`), what);
    const handle = native().ringOpen(fd.raw, map.maxEntries);
    if (typeof handle !== "number") return new RingBuffer(handle, fd, map.maxEntries, options);
    fd.close();
    throw new BpfError("bpf.ringbuf", `map ${what} into memory`, { errno: -handle });
  }

  /** Records that never got into the buffer, as counted by the programs. */
  get lost(): bigint {
    return this.#lost();
  }

  /** Bytes that wait to be drained, headers included. */
  get pending(): number {
    return check(native().ringPending(this.#live()), "bpf.ringbuf", `look at the ${this.#fd.what}`);
  }

  /**
   * Copies records of any length into `bytes`, each 8-byte aligned, and their offset and length into
   * `spans` (pairs). Returns how many; stops at the first that does not fit.
   */
  drain(bytes: Uint8Array, spans: Uint32Array): number {
    return this.#drain(bytes, spans, spans.length >>> 1, 0);
  }

  /** Copies records of exactly `recordSize` bytes one after the other; others are counted in `skipped`. */
  drainPacked(bytes: Uint8Array, recordSize: number): number {
    return this.#drain(bytes, null, Math.floor(bytes.length / recordSize), recordSize);
  }

  /**
   * Calls `onData` once when data is there; it drains what it wants and calls `arm()` for the next call.
   * A waiting reader keeps the process alive unless `unref()` was called.
   */
  watch(onData: (error?: BpfError) => void): void {
    if (this.#watching) throw new BpfError("bpf.ringbuf", `the ${this.#fd.what} is already watched`);
    const wake = (status: number) =>
      onData(status < 0 ? new BpfError("bpf.ringbuf", "waiting failed", { errno: -status }) : undefined);
    check(native().ringWatch(this.#live(), wake), "bpf.ringbuf", `watch the ${this.#fd.what}`);
    this.#watching = true;
    this.arm();
  }

  /**
   * Asks for the next wake-up; immediate when data waits. With `afterMs` not before that time has passed: a
   * steady stream then costs one wake-up per interval, whatever its rate.
   */
  arm(afterMs = 0): void {
    clearTimeout(this.#pause);
    if (afterMs <= 0) {
      check(native().ringArm(this.#live()), "bpf.ringbuf", `wait for the ${this.#fd.what}`);
      return;
    }
    this.#live();
    this.#pause = setTimeout(() => this.arm(), afterMs);
    if (this.#detached) this.#pause.unref();
  }

  ref(): void {
    this.#detached = false;
    this.#pause?.ref();
    check(native().ringRef(this.#live(), true), "bpf.ringbuf", "ref");
  }

  unref(): void {
    this.#detached = true;
    this.#pause?.unref();
    check(native().ringRef(this.#live(), false), "bpf.ringbuf", "unref");
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd.closed) return;
    clearTimeout(this.#pause);
    native().ringClose(this.#handle);
    this.#fd.close();
  }

  #live(): NativeHandle {
    if (this.#fd.closed) throw new BpfError("bpf.closed", `the ${this.#fd.what} is closed`);
    return this.#handle;
  }

  #drain(bytes: Uint8Array, spans: Uint32Array | null, max: number, stride: number): number {
    const result = native().ringDrain(this.#live(), bytes, spans, max, stride, this.#state);
    if (result < 0) check(result, "bpf.ringbuf", `drain the ${this.#fd.what}`);
    this.skipped += this.#state[1] ?? 0;
    return result;
  }
}

import { Emitter } from "@axoneme/base";
import { eventType } from "./names.ts";
import { at, type RecordRef, recordSize } from "./record.ts";
import { TimeIndex } from "./time-index.ts";

/** How often (of wall time) losses become a record of their own. */
const lossFlushNs = 1_000_000_000n;

export interface RawStoreOptions {
  /** Records kept; rounded up to a power of two. Memory: 120 bytes each. */
  capacity: number;
}

/**
 * A bounded ring of raw records in one block of memory. Records are numbered from 0 as they come (`seq`); the oldest
 * are overwritten. A stored record is `struct ax_event` with one change: `time_ns` is wall time (the caller gives the
 * distance between the clocks), so that a later step of the wall clock does not move what is already recorded.
 *
 * A loss is a record too (type 255, `len` = how many), in its place among the others, at most one a second.
 */
export class RawStore {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Fires after records were added; the value is `nextSeq`. */
  readonly onAppend = new Emitter<number>();
  #next = 0;
  #lost = 0n;
  #pendingLoss = 0;
  #lossFlushedNs = 0n;
  readonly #index = new TimeIndex();
  readonly #ref: { view: DataView; bytes: Uint8Array; offset: number };

  constructor(options: RawStoreOptions) {
    this.capacity = 2 ** Math.ceil(Math.log2(Math.max(16, options.capacity)));
    const memory = new ArrayBuffer(this.capacity * recordSize);
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.#ref = { view: this.view, bytes: this.bytes, offset: 0 };
  }

  /** Number of the record that comes next. */
  get nextSeq(): number {
    return this.#next;
  }

  /** Number of the oldest record still held. */
  get oldestSeq(): number {
    return Math.max(0, this.#next - this.capacity);
  }

  /** Records held now. */
  get size(): number {
    return this.#next - this.oldestSeq;
  }

  /** Events that never reached the store (ring buffer overruns), in all. */
  get lost(): bigint {
    return this.#lost;
  }

  /**
   * Adds `count` records that stand in `source` from `offset` on, `stride` bytes apart (they are copied).
   * `wallOffsetNs` is CLOCK_REALTIME minus CLOCK_MONOTONIC.
   */
  append(source: Uint8Array, count: number, wallOffsetNs: bigint, offset = 0, stride = recordSize): void {
    if (count <= 0) return;
    // Of a batch larger than the ring only the end can survive; the rest counts as seen.
    const skipped = Math.max(0, count - this.capacity);
    this.#next += skipped;
    const offsetLow = Number(BigInt.asUintN(32, wallOffsetNs));
    const offsetHigh = Number(BigInt.asUintN(32, wallOffsetNs >> 32n));
    for (let done = skipped; done < count; ) {
      const run = Math.min(count - done, this.capacity - (this.#next % this.capacity));
      const to = this.offsetOf(this.#next);
      this.#copy(source, offset + done * stride, stride, to, run);
      for (let i = 0; i < run; i++) {
        this.#toWallTime(to + i * recordSize, offsetLow, offsetHigh);
        this.#index.add(this.#secondAt(to + i * recordSize), this.#next + i);
      }
      this.#next += run;
      done += run;
    }
    this.#flushLoss(this.timeNs(this.#next - 1));
    this.#index.forget(this.oldestSeq);
    this.onAppend.emit(this.#next);
  }

  /** Counts events that the kernel could not deliver. `nowNs` is wall time. */
  recordLoss(count: number, nowNs: bigint): void {
    if (count <= 0) return;
    this.#lost += BigInt(count);
    this.#pendingLoss += count;
    if (this.#flushLoss(nowNs)) this.onAppend.emit(this.#next);
  }

  /**
   * Where a record is, or undefined when it is overwritten or not yet written. Always the same object (a scan must not
   * leave a million behind): valid until the next call and the next append.
   */
  at(seq: number): RecordRef | undefined {
    if (seq < this.oldestSeq || seq >= this.#next) return undefined;
    this.#ref.offset = this.offsetOf(seq);
    return this.#ref;
  }

  /** Offset of a record in `bytes`/`view`; the caller has made sure that it is held. */
  offsetOf(seq: number): number {
    return (seq % this.capacity) * recordSize;
  }

  /** Wall time of a held record in nanoseconds. */
  timeNs(seq: number): bigint {
    return this.view.getBigUint64(this.offsetOf(seq) + at.timeNs, true);
  }

  /**
   * First record to look at for events at or after a time: no later one is older than a second before it. Found in the
   * index, without a scan; the caller compares the times from there on.
   */
  seqSince(ns: bigint): number {
    return Math.max(this.oldestSeq, this.#index.firstFrom(Number(ns / 1_000_000_000n)));
  }

  /** Number behind the last record that may be at or before a time: all from there on are later. */
  seqAfter(ns: bigint): number {
    const end = this.#index.endOf(Number(ns / 1_000_000_000n), this.oldestSeq, this.#next);
    return Math.max(this.oldestSeq, end);
  }

  #copy(source: Uint8Array, from: number, stride: number, to: number, count: number): void {
    if (stride === recordSize) {
      this.bytes.set(source.subarray(from, from + count * recordSize), to);
      return;
    }
    for (let i = 0; i < count; i++) {
      const start = from + i * stride;
      this.bytes.set(source.subarray(start, start + recordSize), to + i * recordSize);
    }
  }

  #flushLoss(nowNs: bigint): boolean {
    if (this.#pendingLoss === 0 || nowNs - this.#lossFlushedNs < lossFlushNs) return false;
    const to = this.offsetOf(this.#next);
    this.bytes.fill(0, to, to + recordSize);
    this.view.setBigUint64(to + at.timeNs, nowNs, true);
    this.view.setUint8(to + at.type, eventType.lost);
    this.view.setUint32(to + at.len, Math.min(this.#pendingLoss, 0xffff_ffff), true);
    this.#index.add(this.#secondAt(to), this.#next);
    this.#next++;
    this.#pendingLoss = 0;
    this.#lossFlushedNs = nowNs;
    return true;
  }

  /** Adds two 64-bit numbers in halves: a BigInt a record would cost more than all the rest. */
  #toWallTime(at: number, offsetLow: number, offsetHigh: number): void {
    const low = this.view.getUint32(at, true) + offsetLow;
    const carry = low > 0xffff_ffff ? 1 : 0;
    this.view.setUint32(at, low >>> 0, true);
    this.view.setUint32(at + 4, (this.view.getUint32(at + 4, true) + offsetHigh + carry) >>> 0, true);
  }

  #secondAt(at: number): number {
    const ns = this.view.getUint32(at + 4, true) * 4_294_967_296 + this.view.getUint32(at, true);
    return Math.floor(ns / 1e9);
  }
}

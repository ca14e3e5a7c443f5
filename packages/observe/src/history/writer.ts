import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { at, type FlowResolver, type RawStore, recordSize } from "@axoneme/flow";
import { encodeFrame, encodeHead, encodeIndex, type Frame, headBytes, headOf } from "./format.ts";
import { NameRecorder, namesLimit } from "./recorder.ts";
import { Segment } from "./segment.ts";

/** Records of one frame: some milliseconds of work, then others get their turn. */
export const frameRecords = 4096;

/** Name of the file of a segment. */
export function segmentName(number: number): string {
  return `${`${number}`.padStart(12, "0")}.axh`;
}

/** Appends frames of records to one segment after the other. */
export class SegmentWriter {
  readonly #dir: string;
  readonly #store: RawStore;
  readonly #run: string;
  readonly #nodeName: string;
  readonly #segmentBytes: number;
  readonly #names: NameRecorder;
  /** Copied before the write: the ring goes on while the disk works. */
  readonly #records = new Uint8Array(frameRecords * recordSize);
  readonly #view = new DataView(this.#records.buffer);
  #file: FileHandle | undefined;
  #segment: Segment | undefined;
  #next: number;

  /** @param next number of the first segment */
  constructor(
    dir: string,
    store: RawStore,
    resolver: FlowResolver,
    run: string,
    segmentBytes: number,
    next: number,
  ) {
    this.#dir = dir;
    this.#store = store;
    this.#run = run;
    this.#nodeName = resolver.nodeName;
    this.#segmentBytes = segmentBytes;
    this.#names = new NameRecorder(resolver);
    this.#next = next;
  }

  /** The segment that is being written. */
  get segment(): Segment | undefined {
    return this.#segment;
  }

  /** Names are asked for anew: once a second. */
  beginEpoch(): void {
    this.#names.beginEpoch();
  }

  /**
   * Writes records from..to, which the ring holds, `frameRecords` at most. When that fails nothing of them is there.
   * @returns a segment that was begun for them
   */
  async write(from: number, to: number): Promise<Segment | undefined> {
    const begun = this.#segment === undefined ? await this.#begin() : undefined;
    const [file, segment] = [this.#file, this.#segment];
    if (file === undefined || segment === undefined) return undefined;
    const count = to - from;
    this.#copy(from, count);
    const names = this.#names.take(this.#view, this.#records, count);
    const text = names.length === 0 ? new Uint8Array(0) : new TextEncoder().encode(JSON.stringify(names));
    const records = this.#records.subarray(0, count * recordSize);
    const frame: Frame = {
      offset: segment.bytes,
      nameBytes: text.length,
      count,
      crc: crc32(records, crc32(text)),
      firstSeq: from,
      ...this.#times(count),
    };
    const head = new Uint8Array(headBytes);
    encodeFrame(frame, head);
    const bytes = headBytes + text.length + records.length;
    try {
      await writeAll(file, [head, text, records], segment.bytes);
    } catch (error) {
      await this.#abandon();
      throw error;
    }
    segment.bytes += bytes;
    segment.added(frame, names);
    if (segment.bytes >= this.#segmentBytes || this.#names.size > namesLimit) await this.end();
    return begun;
  }

  /** Completes the segment that is being written. */
  async end(): Promise<void> {
    const [file, segment] = [this.#file, this.#segment];
    if (file === undefined || segment === undefined) return;
    this.#file = undefined;
    this.#segment = undefined;
    try {
      const index = encodeIndex(segment.loadedFrames);
      await writeAll(file, [index], segment.bytes);
      segment.bytes += index.length;
      segment.forget();
    } finally {
      await file.close();
    }
  }

  async #begin(): Promise<Segment> {
    const number = this.#next++;
    const path = join(this.#dir, segmentName(number));
    const about = headOf(this.#run, this.#nodeName);
    const head = encodeHead(about);
    const file = await open(path, "wx", 0o600);
    try {
      await writeAll(file, [head], 0);
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw error;
    }
    this.#file = file;
    this.#segment = Segment.begun(path, number, about, head.length);
    this.#names.beginSegment();
    return this.#segment;
  }

  /** A write failed: the segment ends with what is whole of it. */
  async #abandon(): Promise<void> {
    const [file, segment] = [this.#file, this.#segment];
    this.#file = undefined;
    this.#segment = undefined;
    try {
      await file?.truncate(segment?.bytes);
    } finally {
      await file?.close();
      if (segment?.records === 0) await rm(segment.path, { force: true });
    }
  }

  #copy(from: number, count: number): void {
    const { capacity, bytes } = this.#store;
    const first = Math.min(count, capacity - (from % capacity));
    const start = this.#store.offsetOf(from);
    this.#records.set(bytes.subarray(start, start + first * recordSize));
    if (first < count) this.#records.set(bytes.subarray(0, (count - first) * recordSize), first * recordSize);
  }

  #times(count: number): { minNs: bigint; maxNs: bigint } {
    let minAt = at.timeNs;
    let maxAt = at.timeNs;
    for (let o = at.timeNs; o < count * recordSize; o += recordSize) {
      if (this.#isBefore(o, minAt)) minAt = o;
      if (this.#isBefore(maxAt, o)) maxAt = o;
    }
    return { minNs: this.#view.getBigUint64(minAt, true), maxNs: this.#view.getBigUint64(maxAt, true) };
  }

  /** In halves: a BigInt a record would cost more than the record. */
  #isBefore(a: number, b: number): boolean {
    const [highA, highB] = [this.#view.getUint32(a + 4, true), this.#view.getUint32(b + 4, true)];
    return (
      highA < highB || (highA === highB && this.#view.getUint32(a, true) < this.#view.getUint32(b, true))
    );
  }
}

async function writeAll(file: FileHandle, parts: readonly Uint8Array[], position: number): Promise<void> {
  let left = parts.filter((part) => part.length > 0);
  for (let at = position; left.length > 0; ) {
    const { bytesWritten } = await file.writev(left, at);
    at += bytesWritten;
    left = behind(left, bytesWritten);
  }
}

/** What follows the first bytes of all. A disk that fills takes a part, and says why with the rest. */
function behind(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  let skip = bytes;
  for (const part of parts) {
    if (skip < part.length) left.push(part.subarray(skip));
    skip = Math.max(0, skip - part.length);
  }
  return left;
}

import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { AxonError } from "@axoneme/base";
import { Dictionary } from "./dictionary.ts";
import {
  decodeFrame,
  decodeHead,
  decodeIndex,
  type Frame,
  frameBytes,
  headBytes,
  headLength,
  headStart,
  indexEnd,
  indexLength,
  type SegmentHead,
  translator,
} from "./format.ts";
import type { NameEntry } from "./recorder.ts";

/** What is known of a segment without reading it. */
export class Segment {
  readonly path: string;
  /** Segments are numbered in the order in which they were written. */
  readonly number: number;
  /** Undefined: it cannot be read, `problem` says why; it only takes room until its turn to go comes. */
  readonly head: SegmentHead | undefined;
  readonly problem: string | undefined;
  readonly headBytes: number;
  /** Bytes of the file. */
  bytes: number;
  /** Bytes at its end that are no frame: the agent was killed while it wrote. */
  torn = 0;
  records = 0;
  minNs = 0n;
  maxNs = 0n;
  #frames: Frame[] | undefined;
  #dictionary: { readonly names: Dictionary; frames: number } | undefined;
  #loading: Promise<unknown> = Promise.resolve();

  constructor(
    path: string,
    number: number,
    head: { head?: SegmentHead; problem?: string; length: number },
    bytes: number,
  ) {
    this.path = path;
    this.number = number;
    this.head = head.head;
    this.problem = head.problem;
    this.headBytes = head.length;
    this.bytes = bytes;
  }

  /** A segment that this process begins to write. */
  static begun(path: string, number: number, head: SegmentHead, length: number): Segment {
    const segment = new Segment(path, number, { head, length }, length);
    segment.#frames = [];
    return segment;
  }

  /** Looks at a file that is there. Only its head and index are read, or, without an index, the heads of its frames. */
  static async find(path: string, number: number): Promise<Segment> {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const segment = new Segment(path, number, await readHead(file), size);
      if (segment.head === undefined) return segment;
      segment.#adopt(await readFrames(file, segment, size));
      // Found again when somebody asks: a thousand segments are not kept in memory.
      segment.forget();
      return segment;
    } finally {
      await file.close();
    }
  }

  /** A frame was written at the end. */
  added(frame: Frame, names: readonly NameEntry[]): void {
    const frames = this.#frames ?? [];
    if (this.records === 0 || frame.minNs < this.minNs) this.minNs = frame.minNs;
    if (frame.maxNs > this.maxNs) this.maxNs = frame.maxNs;
    this.records += frame.count;
    this.#frames = frames;
    frames.push(frame);
    const known = this.#dictionary;
    if (known?.frames === frames.length - 1) {
      known.names.add(known.frames, names);
      known.frames++;
    }
  }

  /** Frames that are in memory: those of the segment that is being written. */
  get loadedFrames(): readonly Frame[] {
    return this.#frames ?? [];
  }

  async frames(file: FileHandle): Promise<readonly Frame[]> {
    this.#frames ??= await readFrames(file, this, (await file.stat()).size);
    return this.#frames;
  }

  /** Gives memory back; what is needed again is read again. */
  forget(): void {
    this.#frames = undefined;
    this.#dictionary = undefined;
  }

  /** The names of the segment, at least those up to a frame. */
  async names(file: FileHandle, frames: readonly Frame[], upTo: number): Promise<Dictionary> {
    const known = this.#dictionary ?? { names: new Dictionary(), frames: 0 };
    this.#dictionary = known;
    const load = async (): Promise<void> => {
      for (; known.frames <= upTo; known.frames++) {
        const frame = frames[known.frames];
        if (frame !== undefined) known.names.add(known.frames, await readNames(file, frame));
      }
    };
    // One after the other: two readers would take in the same frames twice.
    const loaded = this.#loading.then(load);
    this.#loading = loaded.catch(() => undefined);
    await loaded;
    return known.names;
  }

  /** The records of a frame in the form of this build; undefined when they are damaged. */
  async read(file: FileHandle, frame: Frame): Promise<Uint8Array | undefined> {
    const head = this.head;
    if (head === undefined) return undefined;
    const bytes = await readAt(
      file,
      frame.offset + headBytes,
      frameBytes(frame, head.recordSize) - headBytes,
    );
    if (bytes === undefined || crc32(bytes) !== frame.crc) return undefined;
    return translator(head)(bytes.subarray(frame.nameBytes), frame.count);
  }

  #adopt(frames: readonly Frame[]): void {
    this.records = 0;
    for (const frame of frames) {
      if (this.records === 0 || frame.minNs < this.minNs) this.minNs = frame.minNs;
      if (frame.maxNs > this.maxNs) this.maxNs = frame.maxNs;
      this.records += frame.count;
    }
  }
}

async function readHead(file: FileHandle): Promise<{ head?: SegmentHead; problem?: string; length: number }> {
  try {
    const start = await readAt(file, 0, headStart);
    const length = headLength(start ?? new Uint8Array(0));
    const bytes = await readAt(file, 0, length);
    return { head: decodeHead(bytes), length };
  } catch (error) {
    if (error instanceof AxonError) return { problem: error.message, length: 0 };
    throw error;
  }
}

/** By the index at the end; without one frame by frame, as far as they are whole. */
async function readFrames(file: FileHandle, segment: Segment, size: number): Promise<Frame[]> {
  const end = await readAt(file, Math.max(0, size - indexEnd), Math.min(size, indexEnd));
  const length = end && indexLength(end);
  if (length !== undefined && length <= size - segment.headBytes) {
    const bytes = await readAt(file, size - length, length);
    const frames = bytes && decodeIndex(bytes);
    if (frames !== undefined) return frames;
  }
  const frames: Frame[] = [];
  let offset = segment.headBytes;
  for (;;) {
    const head = await readAt(file, offset, headBytes);
    const frame = head && decodeFrame(head, offset);
    if (frame === undefined) break;
    const next = offset + frameBytes(frame, segment.head?.recordSize ?? 0);
    if (next > size) break;
    frames.push(frame);
    offset = next;
  }
  segment.torn = size - offset;
  return frames;
}

/** The names that a frame brings; none when they are damaged, as its records are then. */
async function readNames(file: FileHandle, frame: Frame): Promise<readonly NameEntry[]> {
  if (frame.nameBytes === 0) return [];
  const bytes = await readAt(file, frame.offset + headBytes, frame.nameBytes);
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as NameEntry[];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) return undefined;
    done += bytesRead;
  }
  return bytes;
}

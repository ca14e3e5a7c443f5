import { type FileHandle, open } from "node:fs/promises";
import { fromHex } from "@axoneme/base";
import { emptyResolver, FlowIds, type FlowResolver, type RawStore } from "@axoneme/flow";
import type { Frame } from "./format.ts";
import type { Segment } from "./segment.ts";

/** A place in the history: the n-th frame of a segment. */
export interface Mark {
  readonly segment: number;
  readonly frame: number;
}

/** Records that were written together, with what belongs to them. `lost`: records that should be here and are not. */
export interface Chunk {
  readonly records: Uint8Array;
  readonly view: DataView;
  readonly count: number;
  /** Number of the first record in its run. */
  readonly firstSeq: number;
  /** Whether that run is this one: its numbers are those of the ring. */
  readonly isThisRun: boolean;
  readonly ids: FlowIds;
  readonly resolver: FlowResolver;
  readonly mark: Mark;
  readonly lost: number;
}

/** What readers look at. */
export interface Reading {
  readonly segments: readonly Segment[];
  readonly store: RawStore;
  readonly run: string;
  readonly nodeLabels: readonly string[] | undefined;
  isWriting(segment: Segment): boolean;
  damaged(): void;
}

const nothing = new Uint8Array(0);

/**
 * Frames in order of their writing, up to where the ring has the rest. Returns the number behind the last record that
 * was come by, if that was one of this run.
 */
export async function* readForward(
  reading: Reading,
  from: { sinceNs?: bigint | undefined; untilNs?: bigint | undefined; mark?: Mark },
): AsyncGenerator<Chunk, number | undefined> {
  const { sinceNs, untilNs, mark } = from;
  let next: { run: string; seq: number } | undefined;
  const end = (): number | undefined => (next?.run === reading.run ? next.seq : undefined);
  for (let number = mark?.segment ?? 0; ; number++) {
    const segment = reading.segments.find((candidate) => candidate.number >= number);
    if (segment === undefined) return end();
    const isFirst = segment.number === mark?.segment;
    number = segment.number;
    if (segment.records === 0 || !overlaps(segment, sinceNs, untilNs)) {
      next = undefined;
      continue;
    }
    const file = await openSegment(segment);
    if (file === undefined) {
      next = undefined;
      yield lostChunk(segment, segment.records);
      continue;
    }
    try {
      const frames = await segment.frames(file);
      // The list grows while the segment is written.
      for (let i = isFirst ? (mark?.frame ?? 0) : 0; i < frames.length; i++) {
        const frame = frames[i];
        if (frame === undefined) break;
        const run = segment.head?.run ?? "";
        if (run === reading.run && frame.firstSeq >= reading.store.oldestSeq) return end();
        const gap = next?.run === run ? Math.max(0, frame.firstSeq - next.seq) : 0;
        next = { run, seq: frame.firstSeq + frame.count };
        if (!overlaps(frame, sinceNs, untilNs)) continue;
        yield await chunkOf(reading, segment, file, frames, i, gap);
      }
    } finally {
      await close(reading, segment, file);
    }
  }
}

/** Frames from the newest to the oldest; of this run those that begin before record `before`. */
export async function* readBackward(
  reading: Reading,
  before: number,
  untilNs: bigint | undefined,
): AsyncGenerator<Chunk> {
  let number = Number.POSITIVE_INFINITY;
  for (;;) {
    const segment = reading.segments.findLast((candidate) => candidate.number < number);
    if (segment === undefined) return;
    number = segment.number;
    if (segment.records === 0 || !overlaps(segment, undefined, untilNs)) continue;
    const file = await openSegment(segment);
    if (file === undefined) return; // the oldest went meanwhile, and with it all before
    try {
      const frames = await segment.frames(file);
      for (let i = frames.length - 1; i >= 0; i--) {
        const frame = frames[i];
        if (frame === undefined || !overlaps(frame, undefined, untilNs)) continue;
        if (segment.head?.run === reading.run && frame.firstSeq >= before) continue;
        yield await chunkOf(reading, segment, file, frames, i, 0);
      }
    } finally {
      await close(reading, segment, file);
    }
  }
}

/** Whether records may be in a span of time, both ends included. */
function overlaps(
  { minNs, maxNs }: Pick<Frame, "minNs" | "maxNs">,
  sinceNs: bigint | undefined,
  untilNs: bigint | undefined,
): boolean {
  return (sinceNs === undefined || maxNs >= sinceNs) && (untilNs === undefined || minNs <= untilNs);
}

async function openSegment(segment: Segment): Promise<FileHandle | undefined> {
  try {
    return await open(segment.path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function close(reading: Reading, segment: Segment, file: FileHandle): Promise<void> {
  if (!reading.isWriting(segment)) segment.forget();
  await file.close();
}

async function chunkOf(
  reading: Reading,
  segment: Segment,
  file: FileHandle,
  frames: readonly Frame[],
  index: number,
  gap: number,
): Promise<Chunk> {
  const frame = frames[index];
  const records = frame && (await segment.read(file, frame));
  if (frame === undefined || records === undefined) {
    reading.damaged();
    return lostChunk(segment, gap + (frame?.count ?? 0), segment.head?.run === reading.run, frame, index);
  }
  const names = await segment.names(file, frames, index);
  const nodeName = segment.head?.nodeName ?? "";
  return {
    records,
    view: new DataView(records.buffer, records.byteOffset, records.byteLength),
    count: frame.count,
    firstSeq: frame.firstSeq,
    isThisRun: segment.head?.run === reading.run,
    ids: idsOf(segment),
    resolver: names.resolver(index, nodeName, reading.nodeLabels),
    mark: { segment: segment.number, frame: index },
    lost: gap,
  };
}

/** Says that records are not there any more. */
function lostChunk(segment: Segment, lost: number, isThisRun = false, frame?: Frame, index = 0): Chunk {
  const firstSeq = frame?.firstSeq ?? 0;
  return {
    records: nothing,
    view: new DataView(nothing.buffer),
    count: 0,
    firstSeq,
    isThisRun,
    ids: idsOf(segment),
    resolver: emptyResolver(segment.head?.nodeName ?? ""),
    mark: { segment: segment.number, frame: index },
    lost,
  };
}

function idsOf(segment: Segment): FlowIds {
  return new FlowIds(fromHex(segment.head?.run ?? ""));
}

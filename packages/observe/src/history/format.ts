/**
 * Form of a segment, a file of flow history. Little-endian throughout:
 *
 *     "AXONHIST" u32 version, u32 length, JSON (SegmentHead), u32 CRC-32 of all before
 *     frames: 48 bytes of head, names (JSON), records
 *     when closed: for each frame f64 offset and its head, then "AXEN" u32 frames, u32 CRC-32 of those, u32 CRC-32 of this
 *
 * A frame holds at most a second of records, so that the list of frames is the index by time. Its head:
 *
 *     "AXFM" u32 bytes of names, u32 records, u32 CRC-32 of names and records, f64 number of the first record in its run,
 *     u64 earliest and u64 latest wall time, u32 0, u32 CRC-32 of the head before it
 */
import { crc32 } from "node:zlib";
import { layouts } from "@axoneme/abi";
import { AxonError } from "@axoneme/base";
import { recordSize } from "@axoneme/flow";

/** Version of the form of frames. Records have a version of their own: SegmentHead names their fields. */
export const formatVersion = 1;
export const headBytes = 48;
const magic = new TextEncoder().encode("AXONHIST");
const frameMagic = 0x4d46_5841;
const endMagic = 0x4e45_5841;
const endBytes = 16;
const entryBytes = headBytes + 8;
/** More cannot be a head. */
const maxHeadJson = 64 * 1024;

/** Fields of a record: offset and bytes. */
export type RecordFields = Readonly<Record<string, readonly [number, number]>>;

/** What a segment says of itself. Records are those of the build that wrote them. */
export interface SegmentHead {
  /** 8 bytes in hex: names the run of the agent; with a record's number it makes the UUIDs of its flows. */
  readonly run: string;
  readonly nodeName: string;
  readonly recordSize: number;
  readonly fields: RecordFields;
}

/** A frame, and where it is. */
export interface Frame {
  readonly offset: number;
  readonly nameBytes: number;
  readonly count: number;
  readonly crc: number;
  readonly firstSeq: number;
  readonly minNs: bigint;
  readonly maxNs: bigint;
}

/** Bytes of a frame with its head. */
export function frameBytes({ nameBytes, count }: Frame, size: number): number {
  return headBytes + nameBytes + count * size;
}

/** The head of a segment that this build writes. */
export function headOf(run: string, nodeName: string): SegmentHead {
  return { run, nodeName, recordSize, fields: layouts.Event.fields };
}

/** A head in bytes. */
export function encodeHead(head: SegmentHead): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(head));
  const bytes = new Uint8Array(magic.length + 8 + json.length + 4);
  const view = new DataView(bytes.buffer);
  bytes.set(magic);
  view.setUint32(8, formatVersion, true);
  view.setUint32(12, json.length, true);
  bytes.set(json, 16);
  view.setUint32(16 + json.length, crc32(bytes.subarray(0, 16 + json.length)), true);
  return bytes;
}

/** Bytes of a head that are enough to know the length of all of it. */
export const headStart = 16;

/**
 * Length of a segment's head by its first bytes.
 * @throws AxonError `observe.history_unreadable`: no segment, or one of another version
 */
export function headLength(start: Uint8Array): number {
  const view = viewOf(start);
  if (start.length < headStart || !magic.every((byte, i) => start[i] === byte))
    throw unreadable("is no segment");
  const version = view.getUint32(8, true);
  if (version !== formatVersion)
    throw unreadable(`has version ${version}; this agent reads ${formatVersion}`);
  const length = view.getUint32(12, true);
  if (length > maxHeadJson) throw unreadable("has a damaged head");
  return headStart + length + 4;
}

/** @throws AxonError `observe.history_unreadable` */
export function decodeHead(bytes: Uint8Array | undefined): SegmentHead {
  if (bytes === undefined) throw unreadable("ends in its head");
  const end = bytes.length - 4;
  if (crc32(bytes.subarray(0, end)) !== viewOf(bytes).getUint32(end, true))
    throw unreadable("has a damaged head");
  return JSON.parse(new TextDecoder().decode(bytes.subarray(headStart, end))) as SegmentHead;
}

function unreadable(why: string): AxonError {
  return new AxonError("observe.history_unreadable", why);
}

/** Writes the head of a frame into `bytes` at 0. */
export function encodeFrame(frame: Frame, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  view.setUint32(0, frameMagic, true);
  view.setUint32(4, frame.nameBytes, true);
  view.setUint32(8, frame.count, true);
  view.setUint32(12, frame.crc, true);
  view.setFloat64(16, frame.firstSeq, true);
  view.setBigUint64(24, frame.minNs, true);
  view.setBigUint64(32, frame.maxNs, true);
  view.setUint32(40, 0, true);
  view.setUint32(44, crc32(bytes.subarray(0, 44)), true);
}

/** The frame whose head this is; undefined when it is none. */
export function decodeFrame(bytes: Uint8Array, offset: number): Frame | undefined {
  if (bytes.length < headBytes) return undefined;
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== frameMagic) return undefined;
  if (crc32(bytes.subarray(0, 44)) !== view.getUint32(44, true)) return undefined;
  return {
    offset,
    nameBytes: view.getUint32(4, true),
    count: view.getUint32(8, true),
    crc: view.getUint32(12, true),
    firstSeq: view.getFloat64(16, true),
    minNs: view.getBigUint64(24, true),
    maxNs: view.getBigUint64(32, true),
  };
}

/** The end of a segment that is complete: its index. */
export function encodeIndex(frames: readonly Frame[]): Uint8Array {
  const bytes = new Uint8Array(frames.length * entryBytes + endBytes);
  const view = viewOf(bytes);
  for (const [i, frame] of frames.entries()) {
    view.setFloat64(i * entryBytes, frame.offset, true);
    encodeFrame(frame, bytes.subarray(i * entryBytes + 8, (i + 1) * entryBytes));
  }
  const end = frames.length * entryBytes;
  view.setUint32(end, endMagic, true);
  view.setUint32(end + 4, frames.length, true);
  view.setUint32(end + 8, crc32(bytes.subarray(0, end)), true);
  view.setUint32(end + 12, crc32(bytes.subarray(end, end + 12)), true);
  return bytes;
}

/** Bytes of the index that the last bytes of a segment announce; undefined when they are no end. */
export function indexLength(end: Uint8Array): number | undefined {
  if (end.length !== endBytes) return undefined;
  const view = viewOf(end);
  if (view.getUint32(0, true) !== endMagic || crc32(end.subarray(0, 12)) !== view.getUint32(12, true))
    return undefined;
  return view.getUint32(4, true) * entryBytes + endBytes;
}

/** Bytes at the end of a segment that announce its index. */
export const indexEnd = endBytes;

/** The frames of an index; undefined when it is damaged. */
export function decodeIndex(bytes: Uint8Array): Frame[] | undefined {
  const end = bytes.length - endBytes;
  const view = viewOf(bytes);
  if (crc32(bytes.subarray(0, end)) !== view.getUint32(end + 8, true)) return undefined;
  const frames: Frame[] = [];
  for (let o = 0; o < end; o += entryBytes) {
    const frame = decodeFrame(bytes.subarray(o + 8, o + entryBytes), view.getFloat64(o, true));
    if (frame === undefined) return undefined;
    frames.push(frame);
  }
  return frames;
}

/** Turns records of another build into ours: fields of the same name and size are kept, others are 0. */
export function translator(head: SegmentHead): (records: Uint8Array, count: number) => Uint8Array {
  const ours: RecordFields = layouts.Event.fields;
  const same =
    head.recordSize === recordSize &&
    Object.entries(ours).every(
      ([name, [o, n]]) => head.fields[name]?.[0] === o && head.fields[name]?.[1] === n,
    );
  if (same) return (records) => records;
  const kept = Object.entries(ours).flatMap(([name, [to, size]]) => {
    const [from, was] = head.fields[name] ?? [0, 0];
    return was === size && from + size <= head.recordSize ? [{ from, to, size }] : [];
  });
  return (records, count) => {
    const made = new Uint8Array(count * recordSize);
    for (let i = 0; i < count; i++)
      for (const { from, to, size } of kept) {
        const start = i * head.recordSize + from;
        made.set(records.subarray(start, start + size), i * recordSize + to);
      }
    return made;
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

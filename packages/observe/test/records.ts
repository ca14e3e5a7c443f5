import { at, recordSize } from "@axoneme/flow";

/** What of a record the observer's tests care about. */
export interface TestRecord {
  type?: number;
  subtype?: number;
  flags?: number;
  reason?: number;
  proto?: number;
  tcpFlags?: number;
  dport?: number;
  len?: number;
  srcEp?: number;
  dstEp?: number;
  srcIdentity?: number;
  dstIdentity?: number;
  /** IPv4; 10.0.0.1 and 10.0.0.2 unless given. */
  saddr?: readonly number[];
  daddr?: readonly number[];
  icmpType?: number;
  ruleEgress?: number;
  ruleIngress?: number;
  srcProcess?: number;
  /** Milliseconds of CLOCK_MONOTONIC. */
  ms?: number;
}

/** Records one after the other, as a drain of the ring buffer yields them. */
export function batchOf(records: readonly TestRecord[]): Uint8Array {
  const bytes = new Uint8Array(records.length * recordSize);
  const view = new DataView(bytes.buffer);
  for (const [i, record] of records.entries()) {
    const o = i * recordSize;
    view.setBigUint64(o + at.timeNs, BigInt(record.ms ?? 0) * 1_000_000n, true);
    view.setUint8(o + at.type, record.type ?? 4);
    view.setUint8(o + at.subtype, record.subtype ?? 0);
    view.setUint8(o + at.flags, record.flags ?? 0);
    view.setUint8(o + at.reason, record.reason ?? 0);
    view.setUint8(o + at.proto, record.proto ?? 17);
    view.setUint8(o + at.tcpFlags, record.tcpFlags ?? 0);
    view.setUint16(o + at.dport, record.dport ?? 0);
    view.setUint32(o + at.len, record.len ?? 100, true);
    view.setUint16(o + at.srcEp, record.srcEp ?? 0, true);
    view.setUint16(o + at.dstEp, record.dstEp ?? 0, true);
    view.setUint32(o + at.srcIdentity, record.srcIdentity ?? 0, true);
    view.setUint32(o + at.dstIdentity, record.dstIdentity ?? 0, true);
    view.setUint32(o + at.srcProcess, record.srcProcess ?? 0, true);
    view.setUint8(o + at.icmpType, record.icmpType ?? 0);
    view.setUint32(o + at.ruleEgress, record.ruleEgress ?? 0, true);
    view.setUint32(o + at.ruleIngress, record.ruleIngress ?? 0, true);
    // v4-mapped
    bytes.set([0xff, 0xff, ...(record.saddr ?? [10, 0, 0, 1])], o + at.saddr + 10);
    bytes.set([0xff, 0xff, ...(record.daddr ?? [10, 0, 0, 2])], o + at.daddr + 10);
  }
  return bytes;
}

/** All items of a stream that ends. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

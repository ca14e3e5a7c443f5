import { at, recordSize } from "@axoneme/flow";

/** A packet from endpoint 1 (10.0.0.1:40000) to endpoint 2 (10.0.0.2:port). */
export interface FakeRecord {
  port: number;
  type?: number;
  subtype?: number;
  flags?: number;
  ruleIngress?: number;
  /** Milliseconds after the test's now. */
  ms?: number;
}

/** The records as a drain of the ring buffer yields them. */
export function encodeRecords(records: readonly FakeRecord[]): Uint8Array {
  const bytes = new Uint8Array(records.length * recordSize);
  const view = new DataView(bytes.buffer);
  for (const [i, record] of records.entries()) {
    const o = i * recordSize;
    view.setBigUint64(o + at.timeNs, BigInt(record.ms ?? 0) * 1_000_000n, true);
    view.setUint8(o + at.type, record.type ?? 4);
    view.setUint8(o + at.subtype, record.subtype ?? 0);
    view.setUint8(o + at.flags, record.flags ?? 0);
    view.setUint8(o + at.proto, 6);
    view.setUint8(o + at.tcpFlags, 2);
    view.setUint32(o + at.len, 74, true);
    view.setUint16(o + at.srcEp, 1, true);
    view.setUint16(o + at.dstEp, 2, true);
    view.setUint16(o + at.sport, 40000);
    view.setUint16(o + at.dport, record.port);
    view.setUint32(o + at.ruleIngress, record.ruleIngress ?? 0, true);
    bytes.set([0xff, 0xff, 10, 0, 0, 1], o + at.saddr + 10);
    bytes.set([0xff, 0xff, 10, 0, 0, 2], o + at.daddr + 10);
  }
  return bytes;
}

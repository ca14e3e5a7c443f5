/**
 * Raw access to `struct ax_event` (bpf/include/axon/abi.h): offsets for code that looks at bytes
 * without building objects (store, pre-filters, metrics). Checked against the generated codec by
 * test/record.test.ts.
 */

/** Bytes of one record. */
export const recordSize = 112;

/** Offsets of the fields. All little-endian but `sport`, `dport`, `origDport` (network order). */
export const at = {
  timeNs: 0,
  type: 8,
  subtype: 9,
  reason: 10,
  flags: 11,
  proto: 12,
  tcpFlags: 13,
  icmpType: 14,
  icmpCode: 15,
  len: 16,
  ifindex: 20,
  srcIdentity: 24,
  dstIdentity: 28,
  srcEp: 32,
  dstEp: 34,
  sport: 36,
  dport: 38,
  saddr: 40,
  daddr: 56,
  ruleEgress: 72,
  ruleIngress: 76,
  origDaddr: 80,
  origDport: 96,
  cpu: 98,
  smac: 100,
  dmac: 106,
} as const;

/** A record in a buffer: the bytes, and where the record begins. */
export interface RecordRef {
  readonly view: DataView;
  /** The same memory as `view`. */
  readonly bytes: Uint8Array;
  /** Offset of the record in both. */
  readonly offset: number;
}

/** The fields of a record, named as in `at`. Addresses and MACs are views of the record's memory. */
export interface RawEvent {
  /** Wall time once in the store. */
  timeNs: bigint;
  type: number;
  subtype: number;
  reason: number;
  flags: number;
  proto: number;
  tcpFlags: number;
  icmpType: number;
  icmpCode: number;
  len: number;
  ifindex: number;
  srcIdentity: number;
  dstIdentity: number;
  srcEp: number;
  dstEp: number;
  sport: number;
  dport: number;
  saddr: Uint8Array;
  daddr: Uint8Array;
  ruleEgress: number;
  ruleIngress: number;
  origDaddr: Uint8Array;
  origDport: number;
  cpu: number;
  smac: Uint8Array;
  dmac: Uint8Array;
}

/** Reads all fields of a record. */
export function readEvent({ view, bytes, offset: o }: RecordRef): RawEvent {
  return {
    timeNs: view.getBigUint64(o + at.timeNs, true),
    type: view.getUint8(o + at.type),
    subtype: view.getUint8(o + at.subtype),
    reason: view.getUint8(o + at.reason),
    flags: view.getUint8(o + at.flags),
    proto: view.getUint8(o + at.proto),
    tcpFlags: view.getUint8(o + at.tcpFlags),
    icmpType: view.getUint8(o + at.icmpType),
    icmpCode: view.getUint8(o + at.icmpCode),
    len: view.getUint32(o + at.len, true),
    ifindex: view.getUint32(o + at.ifindex, true),
    srcIdentity: view.getUint32(o + at.srcIdentity, true),
    dstIdentity: view.getUint32(o + at.dstIdentity, true),
    srcEp: view.getUint16(o + at.srcEp, true),
    dstEp: view.getUint16(o + at.dstEp, true),
    sport: view.getUint16(o + at.sport),
    dport: view.getUint16(o + at.dport),
    saddr: bytes.subarray(o + at.saddr, o + at.saddr + 16),
    daddr: bytes.subarray(o + at.daddr, o + at.daddr + 16),
    ruleEgress: view.getUint32(o + at.ruleEgress, true),
    ruleIngress: view.getUint32(o + at.ruleIngress, true),
    origDaddr: bytes.subarray(o + at.origDaddr, o + at.origDaddr + 16),
    origDport: view.getUint16(o + at.origDport),
    cpu: view.getUint16(o + at.cpu, true),
    smac: bytes.subarray(o + at.smac, o + at.smac + 6),
    dmac: bytes.subarray(o + at.dmac, o + at.dmac + 6),
  };
}

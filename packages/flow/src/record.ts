/**
 * Raw access to `struct ax_event` (bpf/include/axon/abi.h) through the layout generated from BTF: offsets for code that
 * looks at bytes without building objects (store, pre-filters, metrics), and all fields at once.
 */
import { decodeEvent, type Event, eventSize, layouts } from "@axoneme/abi";

/** Bytes of one record. */
export const recordSize = eventSize;

const { fields } = layouts.Event;

/** Offsets of the fields. All little-endian but `sport`, `dport`, `origDport` (network order). */
export const at = {
  timeNs: fields.time_ns[0],
  type: fields.type[0],
  subtype: fields.subtype[0],
  reason: fields.reason[0],
  flags: fields.flags[0],
  proto: fields.proto[0],
  tcpFlags: fields.tcp_flags[0],
  icmpType: fields.icmp_type[0],
  icmpCode: fields.icmp_code[0],
  len: fields.len[0],
  ifindex: fields.ifindex[0],
  srcIdentity: fields.src_identity[0],
  dstIdentity: fields.dst_identity[0],
  srcEp: fields.src_ep[0],
  dstEp: fields.dst_ep[0],
  sport: fields.sport[0],
  dport: fields.dport[0],
  saddr: fields.saddr[0],
  daddr: fields.daddr[0],
  ruleEgress: fields.rule_egress[0],
  ruleIngress: fields.rule_ingress[0],
  origDaddr: fields.orig_daddr[0],
  origDport: fields.orig_dport[0],
  cpu: fields.cpu[0],
  smac: fields.smac[0],
  dmac: fields.dmac[0],
  srcProcess: fields.src_process[0],
  dstProcess: fields.dst_process[0],
} as const;

/** A record in a buffer: the bytes, and where the record begins. */
export interface RecordRef {
  readonly view: DataView;
  /** The same memory as `view`. */
  readonly bytes: Uint8Array;
  /** Offset of the record in both. */
  readonly offset: number;
}

/** The fields of a record. `timeNs` is wall time once in the store; addresses and MACs are views of its memory. */
export type RawEvent = Event;

/** Reads all fields of a record. */
export function readEvent({ view, offset }: RecordRef): RawEvent {
  return decodeEvent(view, offset);
}

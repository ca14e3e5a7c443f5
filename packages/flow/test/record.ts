import { parseIp } from "@axoneme/base";
import { at, type RecordRef, recordSize } from "../src/index.ts";

/** Fields of a test record; addresses as text. */
export interface TestRecord {
  timeNs?: bigint;
  type?: number;
  subtype?: number;
  reason?: number;
  flags?: number;
  proto?: number;
  tcpFlags?: number;
  icmpType?: number;
  icmpCode?: number;
  len?: number;
  ifindex?: number;
  srcIdentity?: number;
  dstIdentity?: number;
  srcEp?: number;
  dstEp?: number;
  sport?: number;
  dport?: number;
  saddr?: string;
  daddr?: string;
  ruleEgress?: number;
  ruleIngress?: number;
  origDaddr?: string;
  origDport?: number;
  cpu?: number;
  smac?: readonly number[];
  dmac?: readonly number[];
}

/** The bytes of a record as the kernel writes them. */
export function encodeRecord(r: TestRecord): Uint8Array {
  const bytes = new Uint8Array(recordSize);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(at.timeNs, r.timeNs ?? 0n, true);
  const bytesAt = [
    "type",
    "subtype",
    "reason",
    "flags",
    "proto",
    "tcpFlags",
    "icmpType",
    "icmpCode",
  ] as const;
  for (const name of bytesAt) view.setUint8(at[name], r[name] ?? 0);
  const words = ["len", "ifindex", "srcIdentity", "dstIdentity", "ruleEgress", "ruleIngress"] as const;
  for (const name of words) view.setUint32(at[name], r[name] ?? 0, true);
  for (const name of ["srcEp", "dstEp", "cpu"] as const) view.setUint16(at[name], r[name] ?? 0, true);
  for (const name of ["sport", "dport", "origDport"] as const) view.setUint16(at[name], r[name] ?? 0);
  bytes.set(parseIp(r.saddr ?? "10.0.0.1"), at.saddr);
  bytes.set(parseIp(r.daddr ?? "10.0.0.2"), at.daddr);
  if (r.origDaddr !== undefined) bytes.set(parseIp(r.origDaddr), at.origDaddr);
  bytes.set(r.smac ?? [], at.smac);
  bytes.set(r.dmac ?? [], at.dmac);
  return bytes;
}

/** A record alone in its buffer. */
export function recordRef(r: TestRecord): RecordRef {
  const bytes = encodeRecord(r);
  return { bytes, view: new DataView(bytes.buffer), offset: 0 };
}

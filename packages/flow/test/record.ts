import { type Event, encodeEvent, eventSize } from "@axoneme/abi";
import { parseIp } from "@axoneme/base";
import type { RecordRef } from "../src/index.ts";

/** Fields of a test record; addresses as text, the rest zero unless given. */
export type TestRecord = Partial<Omit<Event, "saddr" | "daddr" | "origDaddr" | "smac" | "dmac">> & {
  saddr?: string;
  daddr?: string;
  origDaddr?: string;
  smac?: readonly number[];
  dmac?: readonly number[];
};

const zeros: Event = {
  timeNs: 0n,
  type: 0,
  subtype: 0,
  reason: 0,
  flags: 0,
  proto: 0,
  tcpFlags: 0,
  icmpType: 0,
  icmpCode: 0,
  len: 0,
  ifindex: 0,
  srcIdentity: 0,
  dstIdentity: 0,
  srcEp: 0,
  dstEp: 0,
  sport: 0,
  dport: 0,
  saddr: parseIp("10.0.0.1"),
  daddr: parseIp("10.0.0.2"),
  ruleEgress: 0,
  ruleIngress: 0,
  origDaddr: new Uint8Array(16),
  origDport: 0,
  cpu: 0,
  smac: new Uint8Array(6),
  dmac: new Uint8Array(6),
  srcProcess: 0,
  dstProcess: 0,
};

/** The bytes of a record as the kernel writes them. */
export function encodeRecord(record: TestRecord): Uint8Array {
  const { saddr, daddr, origDaddr, smac, dmac, ...numbers } = record;
  const event: Event = {
    ...zeros,
    ...numbers,
    ...(saddr === undefined ? {} : { saddr: parseIp(saddr) }),
    ...(daddr === undefined ? {} : { daddr: parseIp(daddr) }),
    ...(origDaddr === undefined ? {} : { origDaddr: parseIp(origDaddr) }),
    ...(smac === undefined ? {} : { smac: Uint8Array.from(smac) }),
    ...(dmac === undefined ? {} : { dmac: Uint8Array.from(dmac) }),
  };
  const bytes = new Uint8Array(eventSize);
  encodeEvent(event, new DataView(bytes.buffer), 0);
  return bytes;
}

/** A record alone in its buffer. */
export function recordRef(record: TestRecord): RecordRef {
  const bytes = encodeRecord(record);
  return { bytes, view: new DataView(bytes.buffer), offset: 0 };
}

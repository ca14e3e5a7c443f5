import { formatIp, formatMac, type Ip, parseIp } from "@axoneme/base";
import { concat, read16, sum16, u8, u16, u32 } from "./bytes.ts";
import { Proto } from "./packet.ts";

/** What a frame says, and every checksum in it that is wrong. For assertions on packets out. */
export interface Dissected {
  smac: string;
  dmac: string;
  src: string;
  dst: string;
  ttl: number;
  proto: number;
  sport?: number;
  dport?: number;
  /** ICMP */
  type?: number;
  code?: number;
  id?: number;
  body: Uint8Array;
  /** The packet an ICMP error quotes. */
  quoted?: Omit<Dissected, "smac" | "dmac">;
  wrong: string[];
}

const V4_PREFIX = concat(new Uint8Array(10), u16(0xffff));

function address(bytes: Uint8Array): string {
  return formatIp((bytes.length === 4 ? concat(V4_PREFIX, bytes) : bytes) as Ip);
}

interface Layer {
  src: Uint8Array;
  dst: Uint8Array;
  ttl: number;
  proto: number;
  later: boolean;
  more: boolean;
  l4: Uint8Array;
  wrong: string[];
}

function layer4(bytes: Uint8Array): Layer {
  const header = ((bytes[0] ?? 0) & 15) * 4;
  const frag = read16(bytes, 6);
  return {
    src: bytes.subarray(12, 16),
    dst: bytes.subarray(16, 20),
    ttl: bytes[8] ?? 0,
    proto: bytes[9] ?? 0,
    later: (frag & 0x1fff) !== 0,
    more: (frag & 0x2000) !== 0,
    l4: bytes.subarray(header, Math.max(header, read16(bytes, 2))),
    wrong: sum16(bytes.subarray(0, header)) === 0xffff ? [] : ["ip"],
  };
}

/** In bytes: a fragment's header has no length, an authentication header counts words (RFC 4302 2.2), others units of eight. */
function extensionLength(proto: number, length: number): number {
  if (proto === 44) return 8;
  return proto === 51 ? (length + 2) * 4 : (length + 1) * 8;
}

function layer6(bytes: Uint8Array): Layer {
  let proto = bytes[6] ?? 0;
  let at = 40;
  let frag = 0;
  while ([0, 43, 44, 51, 60].includes(proto)) {
    const next = bytes[at] ?? 59;
    if (proto === 44) frag = read16(bytes, at + 2);
    at += extensionLength(proto, bytes[at + 1] ?? 0);
    proto = next;
  }
  const end = 40 + read16(bytes, 4);
  const common = { ttl: bytes[7] ?? 0, proto, later: frag >> 3 !== 0, more: (frag & 1) !== 0 };
  return {
    src: bytes.subarray(8, 24),
    dst: bytes.subarray(24, 40),
    ...common,
    l4: bytes.subarray(at, end),
    wrong: [],
  };
}

function pseudo(l: Layer): Uint8Array {
  if (l.proto === Proto.ICMP) return u8();
  if (l.src.length === 4) return concat(l.src, l.dst, u8(0, l.proto), u16(l.l4.length));
  return concat(l.src, l.dst, u32(l.l4.length), u8(0, 0, 0, l.proto));
}

const CHECK_AT: Record<number, number> = {
  [Proto.TCP]: 16,
  [Proto.UDP]: 6,
  [Proto.ICMP]: 2,
  [Proto.ICMPV6]: 2,
};

function checkL4(l: Layer, whole: boolean): string[] {
  const at = CHECK_AT[l.proto];
  if (at === undefined || !whole || l.later || l.more) return [];
  if (l.proto === Proto.UDP && read16(l.l4, at) === 0) return [];
  return sum16(pseudo(l), l.l4) === 0xffff ? [] : [`proto ${l.proto}`];
}

function isError(l: Layer): boolean {
  const type = l.l4[0] ?? 0;
  if (l.proto === Proto.ICMP) return [3, 11, 12].includes(type);
  return l.proto === Proto.ICMPV6 && type >= 1 && type <= 4;
}

/** `whole`: the bytes are not cut short, so that the transport checksum can be verified. */
export function dissectIp(bytes: Uint8Array, whole = true): Omit<Dissected, "smac" | "dmac"> {
  const l = (bytes[0] ?? 0) >> 4 === 4 ? layer4(bytes) : layer6(bytes);
  const out: Omit<Dissected, "smac" | "dmac"> = {
    src: address(l.src),
    dst: address(l.dst),
    ttl: l.ttl,
    proto: l.proto,
    body: l.l4,
    wrong: [...l.wrong, ...checkL4(l, whole)],
  };
  if (l.later) return out;
  if (l.proto === Proto.ICMP || l.proto === Proto.ICMPV6) {
    out.type = l.l4[0] ?? 0;
    out.code = l.l4[1] ?? 0;
    out.id = read16(l.l4, 4);
  } else {
    out.sport = read16(l.l4, 0);
    out.dport = read16(l.l4, 2);
  }
  if (!isError(l)) return out;
  const quoted = l.l4.subarray(8);
  const v4 = (quoted[0] ?? 0) >> 4 === 4;
  const full = v4 ? read16(quoted, 2) === quoted.length : read16(quoted, 4) + 40 === quoted.length;
  out.quoted = dissectIp(quoted, full);
  out.wrong.push(...out.quoted.wrong.map((w) => `quoted ${w}`));
  return out;
}

export function dissect(frame: Uint8Array): Dissected {
  const macs = { smac: formatMac(frame.subarray(6, 12)), dmac: formatMac(frame.subarray(0, 6)) };
  return { ...macs, ...dissectIp(frame.subarray(14)) };
}

/** The bytes of an address as the maps hold it. */
export function mapped(ip: string): Uint8Array {
  return Uint8Array.from(parseIp(ip));
}

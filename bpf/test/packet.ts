import { type Ip, isV4, parseIp, parseMac } from "@axoneme/base";
import { checksum, concat, u8, u16, u32 } from "./bytes.ts";

/** Builds packets, from Ethernet up, with right checksums unless told otherwise. */

export const Proto = { ICMP: 1, TCP: 6, UDP: 17, ICMPV6: 58, SCTP: 132 } as const;
export const Tcp = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;

const ETH_IP4 = 0x0800;
const ETH_IP6 = 0x86dd;
const ETH_ARP = 0x0806;

export const podMac = "02:00:00:00:00:01";
export const hostMac = "02:00:00:00:00:fe";

export interface Frame {
  smac?: string;
  dmac?: string;
  src: string;
  dst: string;
  ttl?: number;
  /** IPv4: the identification; IPv6: of the fragment header. */
  id?: number;
  /** In bytes, a multiple of 8. */
  fragOffset?: number;
  moreFragments?: boolean;
  /** IPv4 options or IPv6 extension headers, ready made; `next` is the first extension's number. */
  options?: Uint8Array;
  extensions?: { next: number; bytes: Uint8Array };
  payload?: Uint8Array;
}

/** The address as it travels: 4 or 16 bytes. */
export function wire(ip: Ip): Uint8Array {
  return isV4(ip) ? ip.subarray(12) : ip;
}

export function ethernet(type: number, body: Uint8Array, smac = podMac, dmac = hostMac): Uint8Array {
  return concat(parseMac(dmac), parseMac(smac), u16(type), body);
}

function ip4(f: Frame, proto: number, l4: Uint8Array): Uint8Array {
  const options = f.options ?? u8();
  const words = (20 + options.length) / 4;
  const frag = (f.moreFragments ? 0x2000 : 0) | ((f.fragOffset ?? 0) / 8);
  const head = (check: number) =>
    concat(
      u8(0x40 | words, 0),
      u16(words * 4 + l4.length, f.id ?? 0x1234, frag),
      u8(f.ttl ?? 64, proto),
      u16(check),
      wire(parseIp(f.src)),
      wire(parseIp(f.dst)),
      options,
    );
  return concat(head(checksum(head(0))), l4);
}

function ip6(f: Frame, proto: number, l4: Uint8Array): Uint8Array {
  const fragmented = f.fragOffset !== undefined || f.moreFragments === true;
  const word = (f.fragOffset ?? 0) | (f.moreFragments ? 1 : 0);
  const fragment = fragmented ? concat(u8(proto, 0), u16(word), u32(f.id ?? 0x1234)) : u8();
  const first = f.extensions?.next ?? (fragmented ? 44 : proto);
  const body = concat(f.extensions?.bytes ?? u8(), fragment, l4);
  const addresses = concat(wire(parseIp(f.src)), wire(parseIp(f.dst)));
  return concat(u32(0x60000000), u16(body.length), u8(first, f.ttl ?? 64), addresses, body);
}

/** An IP packet without its Ethernet header, as ICMP errors quote it. */
export function ip(f: Frame, proto: number, l4: Uint8Array): Uint8Array {
  return isV4(parseIp(f.src)) ? ip4(f, proto, l4) : ip6(f, proto, l4);
}

export function pseudoHeader(src: string, dst: string, proto: number, length: number): Uint8Array {
  const [a, b] = [parseIp(src), parseIp(dst)];
  const tail = isV4(a) ? concat(u8(0, proto), u16(length)) : concat(u32(length), u8(0, 0, 0, proto));
  return concat(wire(a), wire(b), tail);
}

function sealed(f: Frame, proto: number, at: number, l4: Uint8Array): Uint8Array {
  const plain = proto === Proto.ICMP ? u8() : pseudoHeader(f.src, f.dst, proto, l4.length);
  const check = checksum(plain, l4);
  l4.set(u16(check === 0 && proto === Proto.UDP ? 0xffff : check), at);
  return l4;
}

export function tcpSegment(f: Frame & { sport: number; dport: number; flags?: number }): Uint8Array {
  const head = concat(u16(f.sport, f.dport), u32(1, 0), u8(0x50, f.flags ?? Tcp.ACK), u16(65535, 0, 0));
  return sealed(f, Proto.TCP, 16, concat(head, f.payload ?? u8()));
}

export function udpDatagram(f: Frame & { sport: number; dport: number; noChecksum?: boolean }): Uint8Array {
  const payload = f.payload ?? u8(1, 2, 3, 4);
  const datagram = concat(u16(f.sport, f.dport, 8 + payload.length, 0), payload);
  return f.noChecksum ? datagram : sealed(f, Proto.UDP, 6, datagram);
}

function framed(f: Frame, proto: number, l4: Uint8Array): Uint8Array {
  const type = isV4(parseIp(f.src)) ? ETH_IP4 : ETH_IP6;
  return ethernet(type, ip(f, proto, l4), f.smac, f.dmac);
}

export function tcp(f: Frame & { sport: number; dport: number; flags?: number }): Uint8Array {
  return framed(f, Proto.TCP, tcpSegment(f));
}

export function udp(f: Frame & { sport: number; dport: number; noChecksum?: boolean }): Uint8Array {
  return framed(f, Proto.UDP, udpDatagram(f));
}

/** Anything by number; the payload is the transport header too. */
export function other(f: Frame, proto: number): Uint8Array {
  return framed(f, proto, f.payload ?? new Uint8Array(16));
}

export function icmpProto(src: string): number {
  return isV4(parseIp(src)) ? Proto.ICMP : Proto.ICMPV6;
}

export function icmp(f: Frame & { type: number; code?: number; rest?: Uint8Array }): Uint8Array {
  const proto = icmpProto(f.src);
  const body = concat(u8(f.type, f.code ?? 0), u16(0), f.rest ?? u32(0), f.payload ?? u8());
  return framed(f, proto, sealed(f, proto, 2, body));
}

export function echo(f: Frame & { id: number; reply?: boolean }): Uint8Array {
  const v4 = isV4(parseIp(f.src));
  const type = f.reply ? (v4 ? 0 : 129) : v4 ? 8 : 128;
  const { id, ...frame } = f;
  return icmp({ ...frame, type, rest: u16(id, 1), payload: f.payload ?? u8(9, 9, 9, 9) });
}

/** Destination unreachable (port), quoting an IP packet cut to `length` bytes. */
export function unreachable(f: Frame, quoted: Uint8Array, length = quoted.length): Uint8Array {
  const v4 = isV4(parseIp(f.src));
  return icmp({ ...f, type: v4 ? 3 : 1, code: v4 ? 3 : 4, payload: quoted.subarray(0, length) });
}

export function arp(f: { op: 1 | 2; sip: string; tip: string; smac?: string; tmac?: string }): Uint8Array {
  const smac = f.smac ?? podMac;
  const body = concat(
    u16(1, ETH_IP4),
    u8(6, 4),
    u16(f.op),
    parseMac(smac),
    wire(parseIp(f.sip)),
    parseMac(f.tmac ?? "00:00:00:00:00:00"),
    wire(parseIp(f.tip)),
  );
  return ethernet(ETH_ARP, body, smac, f.op === 1 ? "ff:ff:ff:ff:ff:ff" : hostMac);
}

/** Neighbour solicitation, to the solicited-node group unless `dst` is given. */
export function solicit(f: {
  src: string;
  target: string;
  dst?: string;
  dmac?: string;
  hops?: number;
}): Uint8Array {
  const target = parseIp(f.target);
  const [a = 0, b = 0, c = 0] = target.subarray(13);
  const hex = (v: number) => v.toString(16).padStart(2, "0");
  const dst = f.dst ?? `ff02::1:ff${hex(a)}:${hex(b)}${hex(c)}`;
  const dmac = f.dmac ?? `33:33:ff:${hex(a)}:${hex(b)}:${hex(c)}`;
  const option = concat(u8(1, 1), parseMac(podMac));
  return icmp({ src: f.src, dst, dmac, ttl: f.hops ?? 255, type: 135, payload: concat(target, option) });
}

import { type Ip, isV4, isV4Prefix, type Prefix } from "@axoneme/base";
import { malformed } from "./errors.ts";

/** Address families and their forms on the wire: 4 or 16 bytes, against our 16 (IPv4 v4-mapped). */
const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

/** An address family; absent in filters means both. */
export type Family = 4 | 6;

export function familyNumber(family: Family | undefined): number {
  if (family === undefined) return AF_UNSPEC;
  return family === 4 ? AF_INET : AF_INET6;
}

export function familyOf(ip: Ip): number {
  return isV4(ip) ? AF_INET : AF_INET6;
}

export function wireIp(ip: Ip): Uint8Array {
  return isV4(ip) ? ip.subarray(12, 16) : ip.subarray(0, 16);
}

export function wireLength(prefix: Prefix): number {
  return isV4Prefix(prefix) ? prefix.length - 96 : prefix.length;
}

/** The 16-byte form of 4 or 16 bytes from the wire. Throws EBADMSG for another length. */
export function ipFromWire(bytes: Uint8Array): Ip {
  if (bytes.length !== 4 && bytes.length !== 16) throw malformed("length of an address");
  const ip = new Uint8Array(16);
  if (bytes.length === 4) ip.fill(0xff, 10, 12);
  ip.set(bytes, 16 - bytes.length);
  return ip;
}

/** The prefix of a family's `length` bits; without bytes it is the family's default (0.0.0.0/0, ::/0). */
export function prefixFromWire(family: number, bytes: Uint8Array | undefined, length: number): Prefix {
  const v4 = family === AF_INET;
  const ip = ipFromWire(bytes ?? new Uint8Array(v4 ? 4 : 16));
  const bits = v4 ? length + 96 : length;
  if (bits > 128) throw malformed("length of a prefix");
  return { ip, length: bits };
}

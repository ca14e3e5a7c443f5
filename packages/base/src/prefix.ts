import { AxonError } from "./errors.ts";
import { formatIp, type Ip, ipCompare, ipKey, isV4, tryParseIp } from "./ip.ts";

/**
 * A block of addresses: `length` counts bits of the 16-byte form, 0..128, so `10.0.0.0/8` has length 104.
 * Prefixes have their host bits clear unless a function says otherwise. The families stay apart: `::/0`
 * does not contain IPv4 addresses although their mapped form would fall in it.
 */
export interface Prefix {
  readonly ip: Ip;
  readonly length: number;
}

function parseLength(text: string, max: number): number {
  if (!/^(0|[1-9][0-9]{0,2})$/.test(text)) return -1;
  const length = Number(text);
  return length <= max ? length : -1;
}

/** Parses `address/length` and keeps the host bits (an interface address). Throws `prefix.invalid`. */
export function parseInterfaceAddress(text: string): Prefix {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const ip = slash < 0 ? undefined : tryParseIp(address);
  if (ip !== undefined) {
    // The length is counted the way the address was written: "::ffff:10.0.0.0/104" is 10.0.0.0/8.
    const dotted = !address.includes(":");
    const length = parseLength(text.slice(slash + 1), dotted ? 32 : 128);
    if (length >= 0) return { ip, length: dotted ? length + 96 : length };
  }
  throw new AxonError("prefix.invalid", `"${text}" is not a prefix (want address/length, as in 10.0.0.0/8)`);
}

/** Parses `address/length`; host bits are cleared (`10.1.2.3/8` is `10.0.0.0/8`). Throws `prefix.invalid`. */
export function parsePrefix(text: string): Prefix {
  const { ip, length } = parseInterfaceAddress(text);
  return { ip: maskIp(ip, length), length };
}

/** Like {@link parsePrefix}, and a bare address is its host prefix (/32, /128). */
export function parsePrefixOrIp(text: string): Prefix {
  const ip = text.includes("/") ? undefined : tryParseIp(text);
  return ip === undefined ? parsePrefix(text) : hostPrefix(ip);
}

/** The prefix of one address. */
export function hostPrefix(ip: Ip): Prefix {
  return { ip, length: 128 };
}

/** Whether the prefix is of IPv4. */
export function isV4Prefix(prefix: Prefix): boolean {
  return prefix.length >= 96 && isV4(prefix.ip);
}

/** Canonical text; an IPv4 prefix shows its IPv4 length. */
export function formatPrefix(prefix: Prefix): string {
  const v4 = isV4Prefix(prefix);
  return `${formatIp(prefix.ip)}/${v4 ? prefix.length - 96 : prefix.length}`;
}

/** A string equal exactly for equal prefixes: a Map key. Opaque. */
export function prefixKey(prefix: Prefix): string {
  return ipKey(prefix.ip) + String.fromCharCode(prefix.length);
}

/** The address with every bit from `length` (0..128) on cleared; a copy. */
export function maskIp(ip: Ip, length: number): Ip {
  const masked = new Uint8Array(16);
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) masked[i] = ip[i] ?? 0;
  if (whole < 16) masked[whole] = (ip[whole] ?? 0) & (0xff00 >> (length & 7));
  return masked;
}

/** Number of leading bits in which `a` and `b` agree, at most `limit`. */
export function commonBits(a: Ip, b: Ip, limit: number): number {
  for (let i = 0; i * 8 < limit; i++) {
    const diff = (a[i] ?? 0) ^ (b[i] ?? 0);
    if (diff !== 0) return Math.min(limit, i * 8 + Math.clz32(diff) - 24);
  }
  return limit;
}

/** Whether `prefix` contains the address; never across families. */
export function prefixContains(prefix: Prefix, ip: Ip): boolean {
  return commonBits(prefix.ip, ip, prefix.length) === prefix.length && isV4Prefix(prefix) === isV4(ip);
}

/** Whether every address of `inner` is in `outer`; never across families. */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  if (outer.length > inner.length || isV4Prefix(outer) !== isV4Prefix(inner)) return false;
  return commonBits(outer.ip, inner.ip, outer.length) === outer.length;
}

/** Whether two prefixes share an address (one then covers the other). */
export function prefixOverlaps(a: Prefix, b: Prefix): boolean {
  return prefixCovers(a, b) || prefixCovers(b, a);
}

/** Whether two prefixes are the same. */
export function prefixEqual(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && ipCompare(a.ip, b.ip) === 0;
}

/** First and last address. */
export function prefixRange(prefix: Prefix): { first: Ip; last: Ip } {
  const last = maskIp(prefix.ip, prefix.length);
  for (let bit = prefix.length; bit < 128; bit++)
    last[bit >> 3] = (last[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return { first: maskIp(prefix.ip, prefix.length), last };
}

/** The two halves. The prefix must be shorter than 128. */
export function prefixHalves(prefix: Prefix): [Prefix, Prefix] {
  const upper = maskIp(prefix.ip, prefix.length);
  upper[prefix.length >> 3] = (upper[prefix.length >> 3] ?? 0) | (0x80 >> (prefix.length & 7));
  const length = prefix.length + 1;
  return [
    { ip: maskIp(prefix.ip, prefix.length), length },
    { ip: upper, length },
  ];
}

/** The fewest prefixes that hold exactly the addresses of `prefix` outside all of `except`; sorted. */
export function prefixSubtract(prefix: Prefix, except: readonly Prefix[]): Prefix[] {
  const relevant = except.filter((hole) => prefixOverlaps(prefix, hole));
  if (relevant.length === 0) return [prefix];
  if (relevant.some((hole) => prefixCovers(hole, prefix))) return [];
  return prefixHalves(prefix).flatMap((half) => prefixSubtract(half, relevant));
}

import { AxonError } from "./errors.ts";

/**
 * An address: always 16 bytes, IPv4 v4-mapped (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2), as in the datapath's
 * `struct ax_addr`. `::ffff:1.2.3.4` and `1.2.3.4` are therefore the same address.
 */
export type Ip = Uint8Array;

const COLON = 58;
const DOT = 46;
const ZERO = 48;

/** Parses `text` or returns undefined. Strict: no zone, octal, leading zero (IPv4), blank or short form. */
export function tryParseIp(text: string): Ip | undefined {
  const ip = new Uint8Array(16);
  const end = text.length;
  for (let i = 0; i < end && i < 5; i++) {
    if (text.charCodeAt(i) === COLON) return parse6(text, ip) ? ip : undefined;
  }
  ip[10] = 0xff;
  ip[11] = 0xff;
  return parse4(text, 0, ip, 12) ? ip : undefined;
}

/** Parses an address strictly (see {@link tryParseIp}). Throws `ip.invalid`. */
export function parseIp(text: string): Ip {
  const ip = tryParseIp(text);
  if (ip === undefined) throw new AxonError("ip.invalid", `"${text}" is not an IPv4 or IPv6 address`);
  return ip;
}

/** Reads a dotted quad from `start` to the end of `text` into four bytes at `at`. */
function parse4(text: string, start: number, into: Uint8Array, at: number): boolean {
  let octet = 0;
  let digits = 0;
  let parts = 0;
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || parts === 3) return false;
      into[at + parts++] = octet;
      octet = 0;
      digits = 0;
      continue;
    }
    const digit = code - ZERO;
    if (digit < 0 || digit > 9 || (digits > 0 && octet === 0)) return false;
    octet = octet * 10 + digit;
    digits++;
    if (octet > 255) return false;
  }
  if (parts !== 3 || digits === 0) return false;
  into[at + 3] = octet;
  return true;
}

function hexDigit(code: number): number {
  if (code >= ZERO && code <= 57) return code - ZERO;
  if (code >= 97 && code <= 102) return code - 87;
  if (code >= 65 && code <= 70) return code - 55;
  return -1;
}

/** Reads IPv6 text: groups are stored as they come; those after `::` are moved to the end afterwards. */
function parse6(text: string, ip: Uint8Array): boolean {
  const end = text.length;
  let at = 0; // next byte to write
  let gap = -1; // byte where `::` stands
  let i = 0;
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false;
    gap = 0;
    i = 2;
  }
  while (i < end) {
    if (at === 16) return false;
    const start = i;
    let value = 0;
    let digit = 0;
    while (i < end) {
      digit = hexDigit(text.charCodeAt(i));
      if (digit < 0) break;
      if (i - start === 4) return false;
      value = (value << 4) | digit;
      i++;
    }
    if (i < end && text.charCodeAt(i) === DOT) {
      if (at > 12 || !parse4(text, start, ip, at)) return false;
      at += 4;
      i = end;
      break;
    }
    if (i === start) return false;
    ip[at++] = value >> 8;
    ip[at++] = value & 0xff;
    if (i === end) break;
    if (text.charCodeAt(i) !== COLON) return false;
    i++;
    if (i < end && text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false;
      gap = at;
      i++;
    } else if (i === end) return false;
  }
  if (gap < 0) return at === 16;
  if (at === 16) return false; // `::` must stand for at least one group
  ip.copyWithin(16 - (at - gap), gap, at);
  ip.fill(0, gap, 16 - (at - gap));
  return true;
}

/** Whether the address is IPv4 (stored v4-mapped). */
export function isV4(ip: Ip): boolean {
  if (ip[10] !== 0xff || ip[11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (ip[i] !== 0) return false;
  return true;
}

/** Canonical text: dotted quad, or RFC 5952 (lower case, longest run of two or more zero groups as `::`). */
export function formatIp(ip: Ip): string {
  if (isV4(ip)) return `${ip[12]}.${ip[13]}.${ip[14]}.${ip[15]}`;
  return format6(ip);
}

function group(ip: Ip, index: number): number {
  return ((ip[index * 2] ?? 0) << 8) | (ip[index * 2 + 1] ?? 0);
}

function longestZeroRun(ip: Ip): { start: number; length: number } {
  let best = { start: -1, length: 1 };
  let start = -1;
  for (let i = 0; i <= 8; i++) {
    if (i < 8 && group(ip, i) === 0) {
      if (start < 0) start = i;
      continue;
    }
    if (start >= 0 && i - start > best.length) best = { start, length: i - start };
    start = -1;
  }
  return best;
}

function format6(ip: Ip): string {
  const run = longestZeroRun(ip);
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === run.start) {
      text += "::";
      i += run.length - 1;
      continue;
    }
    if (text !== "" && !text.endsWith(":")) text += ":";
    text += group(ip, i).toString(16);
  }
  return text;
}

/** A string that is equal exactly for equal addresses: a Map key. Opaque: not printable, not for JSON. */
export function ipKey(ip: Ip): string {
  return String.fromCharCode(
    group(ip, 0),
    group(ip, 1),
    group(ip, 2),
    group(ip, 3),
    group(ip, 4),
    group(ip, 5),
    group(ip, 6),
    group(ip, 7),
  );
}

/** Whether two addresses are the same. */
export function ipEqual(a: Ip, b: Ip): boolean {
  return ipCompare(a, b) === 0;
}

/** Order of the 16 bytes: negative, zero or positive, for sorting. */
export function ipCompare(a: Ip, b: Ip): number {
  for (let i = 0; i < 16; i++) {
    const diff = (a[i] ?? 0) - (b[i] ?? 0);
    if (diff !== 0) return diff;
  }
  return 0;
}

/** The 128 bits as an unsigned number. */
export function ipToBigInt(ip: Ip): bigint {
  const view = new DataView(ip.buffer, ip.byteOffset, 16);
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

/** The inverse of {@link ipToBigInt}; the value is taken modulo 2^128. */
export function ipFromBigInt(value: bigint): Ip {
  const ip = new Uint8Array(16);
  const view = new DataView(ip.buffer);
  view.setBigUint64(0, BigInt.asUintN(64, value >> 64n));
  view.setBigUint64(8, BigInt.asUintN(64, value));
  return ip;
}

/** The address `n` further on (negative: back), modulo 2^128. */
export function ipAdd(ip: Ip, n: bigint): Ip {
  return ipFromBigInt(ipToBigInt(ip) + n);
}

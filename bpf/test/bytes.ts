/** Bytes of test packets: writing in network order, and the Internet checksum (RFC 1071). */

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function u8(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values);
}

export function u16(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((v) => [(v >> 8) & 255, v & 255]));
}

export function u32(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((v) => [v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255]));
}

export function read16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** The one's complement sum of 16-bit words, folded: 0xffff over bytes that carry a right checksum. */
export function sum16(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += read16(part, i);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

export function checksum(...parts: readonly Uint8Array[]): number {
  return ~sum16(...parts) & 0xffff;
}

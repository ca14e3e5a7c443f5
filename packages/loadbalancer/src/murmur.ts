/**
 * MurmurHash3, x64, 128 bits (Austin Appleby's public-domain algorithm), over bytes, in 32-bit halves: no BigInt,
 * because a node hashes every backend of every Maglev Service.
 */

/** A 64-bit number as two unsigned halves. */
export interface Wide {
  hi: number;
  lo: number;
}

function add(into: Wide, hi: number, lo: number): void {
  const sum = into.lo + lo;
  into.hi = (into.hi + hi + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  into.lo = sum >>> 0;
}

function xor(into: Wide, hi: number, lo: number): void {
  into.hi = (into.hi ^ hi) >>> 0;
  into.lo = (into.lo ^ lo) >>> 0;
}

function multiply(into: Wide, hi: number, lo: number): void {
  const a0 = into.lo & 0xffff;
  const a1 = into.lo >>> 16;
  const b0 = lo & 0xffff;
  const b1 = lo >>> 16;
  const low = a0 * b0;
  const left = a1 * b0;
  const right = a0 * b1;
  const middle = (low >>> 16) + (left & 0xffff) + (right & 0xffff);
  const carried = a1 * b1 + (left >>> 16) + (right >>> 16) + (middle >>> 16);
  into.hi = (carried + Math.imul(into.lo, hi) + Math.imul(into.hi, lo)) >>> 0;
  into.lo = ((middle << 16) | (low & 0xffff)) >>> 0;
}

/** Rotates left by 1 to 63 bits, not 32. */
function rotate(into: Wide, bits: number): void {
  const { hi, lo } = into;
  const [left, right] = bits < 32 ? [hi, lo] : [lo, hi];
  const n = bits & 31;
  into.hi = ((left << n) | (right >>> (32 - n))) >>> 0;
  into.lo = ((right << n) | (left >>> (32 - n))) >>> 0;
}

const c1 = { hi: 0x87c37b91, lo: 0x114253d5 };
const c2 = { hi: 0x4cf5ad43, lo: 0x2745937f };

function mix1(k: Wide): void {
  multiply(k, c1.hi, c1.lo);
  rotate(k, 31);
  multiply(k, c2.hi, c2.lo);
}

function mix2(k: Wide): void {
  multiply(k, c2.hi, c2.lo);
  rotate(k, 33);
  multiply(k, c1.hi, c1.lo);
}

function finish(k: Wide): void {
  xor(k, 0, k.hi >>> 1);
  multiply(k, 0xff51afd7, 0xed558ccd);
  xor(k, 0, k.hi >>> 1);
  multiply(k, 0xc4ceb9fe, 0x1a85ec53);
  xor(k, 0, k.hi >>> 1);
}

/** Up to 8 bytes from `at`, little endian; what lies beyond the end is 0. */
function read(bytes: Uint8Array, at: number): Wide {
  const word = (from: number): number => {
    const byte = (i: number): number => bytes[from + i] ?? 0;
    return (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
  };
  return { hi: word(at + 4), lo: word(at) };
}

/** The two 64-bit halves of the hash. */
export function murmur128(bytes: Uint8Array, seed: number): { h1: Wide; h2: Wide } {
  const h1 = { hi: 0, lo: seed >>> 0 };
  const h2 = { hi: 0, lo: seed >>> 0 };
  const whole = bytes.length & ~15;
  for (let at = 0; at < whole; at += 16) {
    const k1 = read(bytes, at);
    mix1(k1);
    xor(h1, k1.hi, k1.lo);
    rotate(h1, 27);
    add(h1, h2.hi, h2.lo);
    multiply(h1, 0, 5);
    add(h1, 0, 0x52dce729);
    const k2 = read(bytes, at + 8);
    mix2(k2);
    xor(h2, k2.hi, k2.lo);
    rotate(h2, 31);
    add(h2, h1.hi, h1.lo);
    multiply(h2, 0, 5);
    add(h2, 0, 0x38495ab5);
  }
  const k1 = read(bytes, whole);
  const k2 = read(bytes, whole + 8);
  mix2(k2);
  xor(h2, k2.hi, k2.lo);
  mix1(k1);
  xor(h1, k1.hi, k1.lo);
  xor(h1, 0, bytes.length);
  xor(h2, 0, bytes.length);
  add(h1, h2.hi, h2.lo);
  add(h2, h1.hi, h1.lo);
  finish(h1);
  finish(h2);
  add(h1, h2.hi, h2.lo);
  add(h2, h1.hi, h1.lo);
  return { h1, h2 };
}

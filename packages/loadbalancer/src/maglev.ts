import { AxonError } from "@axoneme/base";
import { murmur128 } from "./murmur.ts";
import { protocolText } from "./objects.ts";

/** Sizes a table may have: the field's, primes. */
export const maglevSizes: readonly number[] = [
  251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071,
];

/** Below this many slots a backend, the removal of one moves more than a per cent of the others' slots. */
const slotsPerBackend = 250;

/** How far above its share a backend may go: the tighter, the more moves when its neighbours change. */
const slack = 1 / 16;

/** When so little of the table is free (size >> this), darts hit too seldom. */
const restShift = 10;

/** A backend of a table. */
export interface MaglevBackend {
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  /** 1 to 65,535: shares are proportional. */
  readonly weight: number;
}

/** Checks a configured largest size. Throws `maglev.size`. */
export function checkMaglevSize(size: number): number {
  if (maglevSizes.includes(size)) return size;
  throw new AxonError("maglev.size", `${size} is no Maglev table size (${maglevSizes.join(", ")})`);
}

/** The smallest size that spreads so many backends well, within what is configured. */
export function maglevSizeFor(backends: number, largest: number): number {
  const want = backends * slotsPerBackend;
  return maglevSizes.find((size) => size >= want && size <= largest) ?? largest;
}

const encoder = new TextEncoder();

/** The text a backend is hashed and ordered by: the same on every node. */
function backendText({ address, port }: MaglevBackend, protocol: string): string {
  const host = address.includes(":") ? `[${address}]` : address;
  return `[${host}:${port}/${protocol},State:active]`;
}

/** One backend at work on a table. */
interface Thrower {
  readonly index: number;
  /** Both halves of its hash, folded. */
  readonly seed: number;
  /** Darts a round; at most 1. */
  readonly rate: number;
  /** Slots it may have. */
  readonly most: number;
  has: number;
}

/**
 * The table of a Service: for every slot the index of its backend in `backends`. The look-up is Maglev's (Eisenbud et
 * al., NSDI 2016), its way to fill is not: there, a backend that finds a slot taken goes on to another, so that one
 * backend's removal makes the others take each other's slots. Here all throw darts, round by round; a free slot is its
 * first dart's, and a dart on a taken slot is lost. What a backend that goes had falls to whose dart came second, and
 * nobody else moves, but for those at the limit of their share. Depends on the set of backends only, not on their order.
 */
export function maglevTable(
  backends: readonly MaglevBackend[],
  proto: number,
  size: number,
  seed: number,
): Uint32Array {
  const table = new Uint32Array(size);
  if (backends.length === 0) return table;
  const throwers = throwersOf(backends, proto, size, seed);
  const taken = new Uint8Array(size);
  let free = size;
  for (let round = 0; free > size >> restShift; round++) {
    for (const thrower of throwers) {
      if (thrower.has >= thrower.most) continue;
      // Of its rate per round, whole darts only: 0.5 throws every second round.
      const dart = Math.floor((round + 1) * thrower.rate);
      if (dart === Math.floor(round * thrower.rate)) continue;
      const slot = hash(thrower.seed, dart) % size;
      if (taken[slot] === 1) continue;
      taken[slot] = 1;
      table[slot] = thrower.index;
      thrower.has++;
      free--;
    }
  }
  for (let slot = 0; slot < size; slot++) {
    if (taken[slot] === 0) table[slot] = takeRest(throwers, slot);
  }
  return table;
}

function throwersOf(
  backends: readonly MaglevBackend[],
  proto: number,
  size: number,
  seed: number,
): Thrower[] {
  const protocol = protocolText(proto);
  const sum = backends.reduce((total, { weight }) => total + weight, 0);
  const heaviest = backends.reduce((most, { weight }) => Math.max(most, weight), 1);
  // A power of two, so that rates stay when the heaviest backend goes.
  const top = 2 ** Math.ceil(Math.log2(heaviest));
  return backends
    .map((backend, index) => ({ backend, index, text: backendText(backend, protocol) }))
    .sort((a, b) => (a.text < b.text ? -1 : 1))
    .map(({ backend: { weight }, index, text }) => {
      const { h1, h2 } = murmur128(encoder.encode(text), seed);
      // Rounded up for some and down for others: a limit that rose for all at once would move slots of all.
      const most = Math.floor(((size * weight) / sum) * (1 + slack) + 1 + h1.lo / 2 ** 32);
      return { index, seed: h1.lo ^ h1.hi ^ h2.lo ^ h2.hi, rate: weight / top, most, has: 0 };
    });
}

/** The one with the highest hash of the slot (rendezvous), at its limit or not: so few slots upset no share. */
function takeRest(throwers: readonly Thrower[], slot: number): number {
  let best = 0;
  let highest = -1;
  for (const { index, seed } of throwers) {
    const height = hash(seed, ~slot);
    if (height <= highest) continue;
    best = index;
    highest = height;
  }
  return best;
}

/** 32 bits of a backend's n-th dart: the finaliser of MurmurHash3 on a Weyl sequence. */
function hash(seed: number, n: number): number {
  let h = (seed + Math.imul(n, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

import { AxonError } from "@axoneme/base";
import { modulo, murmur128 } from "./murmur.ts";
import { protocolText } from "./objects.ts";

/** Sizes a table may have: primes, so that every step visits every slot. */
export const maglevSizes: readonly number[] = [
  251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071,
];

/** A table this many times as large as its backends spreads them within a per cent. */
const slotsPerBackend = 100;

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

/**
 * The table (Eisenbud et al., NSDI 2016): for every slot the index of its backend in `backends`. Depends on the
 * set of backends only, not on their order. With weights, a backend lets its turn pass until its share is due.
 */
export function maglevTable(
  backends: readonly MaglevBackend[],
  proto: number,
  size: number,
  seed: number,
): Uint32Array {
  const protocol = protocolText(proto);
  const order = backends
    .map((backend, index) => ({ index, text: backendText(backend, protocol), weight: backend.weight }))
    .sort((a, b) => (a.text < b.text ? -1 : 1));
  const count = order.length;
  const table = new Uint32Array(size);
  if (count === 0) return table;
  const next = new Uint32Array(count);
  const step = new Uint32Array(count);
  for (const [i, { text }] of order.entries()) {
    const { h1, h2 } = murmur128(encoder.encode(text), seed);
    next[i] = modulo(h1, size);
    step[i] = modulo(h2, size - 1) + 1;
  }
  const turns = turnsOf(order.map(({ weight }) => weight));
  const taken = new Uint8Array(size);
  for (let filled = 0; filled < size; filled++) {
    const i = turns(filled);
    let slot = next[i] ?? 0;
    while (taken[slot] === 1) slot = (slot + (step[i] ?? 1)) % size;
    taken[slot] = 1;
    table[slot] = order[i]?.index ?? 0;
    next[i] = (slot + (step[i] ?? 1)) % size;
  }
  return table;
}

/** Whose turn it is to take the slot number `filled`: round and round, the light ones now and then. */
function turnsOf(weights: readonly number[]): (filled: number) => number {
  const count = weights.length;
  const sum = weights.reduce((total, weight) => total + weight, 0);
  let turn = -1;
  if (sum <= count) {
    return () => {
      turn = (turn + 1) % count;
      return turn;
    };
  }
  const due = weights.map((weight) => weight / count);
  return (filled) => {
    for (;;) {
      turn = (turn + 1) % count;
      const when = due[turn] ?? 0;
      if ((filled + 1) * (weights[turn] ?? 1) < when) continue;
      due[turn] = when + sum;
      return turn;
    }
  };
}

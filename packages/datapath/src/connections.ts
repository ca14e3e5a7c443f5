import { setImmediate as nextTurn } from "node:timers/promises";
import { CtFlags, layouts } from "@axoneme/abi";
import { type Ip, ipKey } from "@axoneme/base";
import type { BpfMap } from "@axoneme/bpf";

/** Entries looked at before other work gets its turn. */
const chunkSize = 8192;
const { fields: key } = layouts.CtKey;
const { fields: value } = layouts.Ct;

/** Two addresses between which there may be a connection. */
export interface AddressPair {
  readonly client: Ip;
  readonly address: Ip;
}

/**
 * Which of some pairs of addresses have a live connection: one walk over all connections that looks at bytes only, in
 * turns. An answer is about the time of the walk.
 * @returns keys of `pairKey`.
 */
export async function connectedPairs(
  ct: Pick<BpfMap, "chunks">,
  pairs: Iterable<AddressPair>,
): Promise<Set<string>> {
  const wanted = new Set<string>();
  // Most connections are no business of ours: four bytes of an address tell.
  const tails = new Set<number>();
  for (const { client, address } of pairs) {
    wanted.add(pairKey(client, address));
    tails.add(tailOf(address, 0));
  }
  const found = new Set<string>();
  if (wanted.size === 0) return found;
  for (const { keys, values, count } of ct.chunks(chunkSize)) {
    for (let i = 0; i < count; i++) {
      const a = i * layouts.CtKey.size + key.a[0];
      const b = i * layouts.CtKey.size + key.b[0];
      const atA = tails.has(tailOf(keys, a));
      const atB = tails.has(tailOf(keys, b));
      if (!atA && !atB) continue;
      if (isClosed(values, i * layouts.Ct.size)) continue;
      const first = keys.subarray(a, a + 16);
      const second = keys.subarray(b, b + 16);
      for (const text of [atA ? pairKey(second, first) : "", atB ? pairKey(first, second) : ""]) {
        if (wanted.has(text)) found.add(text);
      }
    }
    await nextTurn();
  }
  return found;
}

/** The text under which a pair is found. */
export function pairKey(client: Ip, address: Ip): string {
  return ipKey(client) + ipKey(address);
}

function tailOf(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at + 12] ?? 0) |
    ((bytes[at + 13] ?? 0) << 8) |
    ((bytes[at + 14] ?? 0) << 16) |
    ((bytes[at + 15] ?? 0) << 24)
  );
}

function isClosed(values: Uint8Array, at: number): boolean {
  const flags = new DataView(values.buffer, values.byteOffset + at).getUint32(value.flags[0], true);
  return (flags & CtFlags.CLOSED) !== 0;
}

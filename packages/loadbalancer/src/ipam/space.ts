import { MinHeap } from "@axoneme/base";
import type { AddressRange } from "./range.ts";

/**
 * The addresses of one family of a pool. Finds the lowest free one without looking at those in use again and
 * again: a cursor that only goes up, and a heap of what was freed below it.
 */
export class Space {
  readonly ranges: readonly AddressRange[];
  readonly size: bigint;
  readonly #freed = new MinHeap<bigint>((a, b) => a < b);
  readonly #isFreed = new Set<bigint>();
  /** Everything below is in use or in the heap. */
  #cursor: bigint;
  #range = 0;

  /** Ranges sorted and without overlap. */
  constructor(ranges: readonly AddressRange[]) {
    this.ranges = ranges;
    this.size = ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
    this.#cursor = ranges[0]?.first ?? 0n;
  }

  contains(address: bigint): boolean {
    let [low, high] = [0, this.ranges.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.ranges[middle];
      if (range === undefined || address < range.first) high = middle - 1;
      else if (address > range.last) low = middle + 1;
      else return true;
    }
    return false;
  }

  /** The lowest address that is not taken; undefined when all are. */
  lowestFree(isTaken: (address: bigint) => boolean): bigint | undefined {
    for (let top = this.#freed.peek(); top !== undefined; top = this.#freed.peek()) {
      if (!isTaken(top)) return top;
      this.#freed.pop();
      this.#isFreed.delete(top);
    }
    for (;;) {
      const range = this.ranges[this.#range];
      if (range === undefined) return undefined;
      for (; this.#cursor <= range.last; this.#cursor++) if (!isTaken(this.#cursor)) return this.#cursor;
      const next = this.ranges[++this.#range];
      if (next !== undefined) this.#cursor = next.first;
    }
  }

  /** Notes that one of its addresses is free again. */
  free(address: bigint): void {
    if (address >= this.#cursor || this.#isFreed.has(address)) return;
    this.#freed.push(address);
    this.#isFreed.add(address);
  }
}

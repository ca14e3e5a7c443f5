import type { Clock } from "@axoneme/base";

/** Samples that differ by more than this (clock step, drift) replace what was known. */
const toleranceNs = 2_000_000n;

/**
 * CLOCK_REALTIME minus CLOCK_MONOTONIC. The wall clock is read in whole milliseconds, so a sample is up to one
 * millisecond low: the highest recent sample is the best.
 */
export class WallOffset {
  readonly #clock: Clock;
  #offset: bigint;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offset = this.#atEdge();
  }

  /** The offset now, in nanoseconds. */
  now(): bigint {
    const sample = this.#sample();
    if (sample > this.#offset || sample < this.#offset - toleranceNs) this.#offset = sample;
    return this.#offset;
  }

  /**
   * The best of the samples of a millisecond, which has an edge of the wall clock in it: nodes of one machine then
   * agree to microseconds, and their flows merge in the order in which they happened. Looks 20,000 times at most, for
   * clocks that stand still.
   */
  #atEdge(): bigint {
    const end = this.#clock.monotonicNs() + 1_200_000n;
    let best = this.#sample();
    for (let i = 0; i < 20_000 && this.#clock.monotonicNs() < end; i++) {
      const sample = this.#sample();
      if (sample > best) best = sample;
    }
    return best;
  }

  #sample(): bigint {
    return BigInt(Math.floor(this.#clock.now())) * 1_000_000n - this.#clock.monotonicNs();
  }
}

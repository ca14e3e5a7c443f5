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
    this.#offset = this.#sample();
  }

  /** The offset now, in nanoseconds. */
  now(): bigint {
    const sample = this.#sample();
    if (sample > this.#offset || sample < this.#offset - toleranceNs) this.#offset = sample;
    return this.#offset;
  }

  #sample(): bigint {
    return BigInt(Math.floor(this.#clock.now())) * 1_000_000n - this.#clock.monotonicNs();
  }
}

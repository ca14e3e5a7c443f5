import { MinHeap } from "./heap.ts";

/** A running timer. Cancelling one that has fired does nothing. */
export interface Timer {
  cancel(): void;
}

/** Time as a dependency, so that tests own it. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Nanoseconds of CLOCK_MONOTONIC (in a browser: since the page was loaded). */
  monotonicNs(): bigint;
  /** Calls `fn` once after `ms` milliseconds. */
  setTimer(ms: number, fn: () => void): Timer;
}

type Hrtime = { hrtime?: { bigint?: () => bigint } };

function systemMonotonic(): () => bigint {
  // Looked up, not imported: this package runs in the browser too.
  const hrtime = (globalThis as { process?: Hrtime }).process?.hrtime?.bigint;
  if (hrtime !== undefined) return () => hrtime();
  return () => BigInt(Math.round(performance.now() * 1e6));
}

/** The machine's clock. Its timers do not keep a process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicNs: systemMonotonic(),
  setTimer(ms, fn) {
    const handle = setTimeout(fn, ms) as unknown as { unref?: () => void };
    handle.unref?.();
    return { cancel: () => clearTimeout(handle as unknown as ReturnType<typeof setTimeout>) };
  },
};

interface FakeTimer {
  at: number;
  sequence: number;
  fn: (() => void) | undefined;
}

/** A clock that stands still until told to move: for tests. */
export class FakeClock implements Clock {
  #now: number;
  readonly #start: number;
  #sequence = 0;
  readonly #timers = new MinHeap<FakeTimer>(
    (a, b) => a.at < b.at || (a.at === b.at && a.sequence < b.sequence),
  );

  constructor(startMs = 1_700_000_000_000) {
    this.#now = startMs;
    this.#start = startMs;
  }

  now(): number {
    return this.#now;
  }

  monotonicNs(): bigint {
    return BigInt(Math.round((this.#now - this.#start) * 1e6));
  }

  setTimer(ms: number, fn: () => void): Timer {
    const timer: FakeTimer = { at: this.#now + Math.max(0, ms), sequence: this.#sequence++, fn };
    this.#timers.push(timer);
    return {
      cancel: () => {
        timer.fn = undefined;
      },
    };
  }

  /** Moves on by `ms`, firing what falls due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    while (this.#fireNext(end));
    this.#now = end;
  }

  /** Like `advance`, and lets promises settle before, between and after timers. */
  async advanceAsync(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    while (this.#fireNext(end)) await settle();
    this.#now = end;
    await settle();
  }

  #fireNext(end: number): boolean {
    let timer = this.#timers.peek();
    while (timer !== undefined && timer.fn === undefined) {
      this.#timers.pop();
      timer = this.#timers.peek();
    }
    if (timer === undefined || timer.at > end) return false;
    this.#timers.pop();
    this.#now = timer.at;
    timer.fn?.();
    return true;
  }
}

/** Runs the microtask queue for a few turns, enough for promise chains to finish. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

import { type Clock, systemClock } from "./clock.ts";
import { AxonError } from "./errors.ts";

/** A promise with its two ends in hand. Settling twice does nothing. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T | PromiseLike<T>) => void;
  readonly reject: (reason: unknown) => void;
  #settled = false;

  constructor() {
    let settleOk: (value: T | PromiseLike<T>) => void = () => undefined;
    let settleError: (reason: unknown) => void = () => undefined;
    this.promise = new Promise<T>((resolve, reject) => {
      settleOk = resolve;
      settleError = reject;
    });
    this.resolve = (value) => {
      this.#settled = true;
      settleOk(value);
    };
    this.reject = (reason) => {
      this.#settled = true;
      settleError(reason);
    };
  }

  /** Whether resolve or reject has been called. */
  get settled(): boolean {
    return this.#settled;
  }
}

/** The promise's outcome, or `deadline.exceeded` after `ms`. `what` completes "… took longer than". */
export async function withDeadline<T>(
  promise: Promise<T>,
  ms: number,
  what: string,
  clock: Clock = systemClock,
): Promise<T> {
  const late = new Deferred<never>();
  const timer = keepAliveTimer(clock, ms, () =>
    late.reject(new AxonError("deadline.exceeded", `${what} took longer than ${ms} ms`)),
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    timer.cancel();
  }
}

/** systemClock's timers let a process end; one that somebody awaits must not. */
function keepAliveTimer(clock: Clock, ms: number, fn: () => void): { cancel(): void } {
  if (clock !== systemClock) return clock.setTimer(ms, fn);
  const handle = setTimeout(fn, ms);
  return { cancel: () => clearTimeout(handle) };
}

/** Resolves after `ms`; keeps the process alive meanwhile. */
export function delay(ms: number, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve) => {
    keepAliveTimer(clock, ms, resolve);
  });
}

export interface WaitForOptions {
  /** Deadline in milliseconds (default 15 000: what is waited for is certain to come, on a busy machine late). */
  timeoutMs?: number;
  /** Time between two looks (default 10). */
  everyMs?: number;
  /** Names the condition in the error: "waited 15000 ms for <what>". */
  what?: string;
}

type Falsy = false | undefined | null | 0 | "";

/**
 * Looks at `condition` until it yields something truthy, and returns that. A throw counts as "not yet" and
 * becomes the cause of the final `wait.timeout`. For tests and the lab.
 */
export async function waitFor<T>(
  condition: () => T | Falsy | Promise<T | Falsy>,
  options: WaitForOptions = {},
): Promise<T> {
  const { timeoutMs = 15_000, everyMs = 10, what = "a condition" } = options;
  const end = Date.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= end) {
      throw new AxonError("wait.timeout", `waited ${timeoutMs} ms for ${what}`, { cause: last });
    }
    await delay(everyMs);
  }
}

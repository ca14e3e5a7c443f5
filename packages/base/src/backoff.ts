/** Waiting times that double from `baseMs` up to `maxMs`. */
export interface Backoff {
  /** The next waiting time in milliseconds; counts an attempt. */
  next(): number;
  /** Back to the first waiting time. */
  reset(): void;
  /** Attempts since the last reset. */
  readonly attempt: number;
}

export interface BackoffOptions {
  baseMs: number;
  maxMs: number;
  /** Share of the waiting time that is random, 0..1 (default 0.2): the result lies in [t*(1-jitter), t]. */
  jitter?: number;
  /** Source of randomness in [0, 1); tests pin it. */
  random?: () => number;
}

/** Makes an exponential backoff (factor 2) with jitter. */
export function backoff(options: BackoffOptions): Backoff {
  const { baseMs, maxMs, jitter = 0.2, random = Math.random } = options;
  let attempt = 0;
  return {
    next() {
      const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt++, 52));
      return full * (1 - jitter * random());
    },
    reset() {
      attempt = 0;
    },
    get attempt() {
      return attempt;
    },
  };
}

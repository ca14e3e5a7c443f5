import { type Clock, errorText, type Timer } from "@axoneme/base";
import type { Probe } from "kubernetes-types/core/v1";

/** What one check found. */
export interface ProbeResult {
  ok: boolean;
  message: string;
}

/** Performs one check; may throw, which counts as a failure. */
type ProbeCheck = (probe: Probe, timeoutMs: number) => Promise<ProbeResult>;

/** Consecutive results against the thresholds. */
export interface ProbeCount {
  /** The verdict so far; undefined until a threshold was reached. */
  passing: boolean | undefined;
  successes: number;
  failures: number;
}

export const noResults: ProbeCount = { passing: undefined, successes: 0, failures: 0 };

/** The count after one more result: the verdict changes when its threshold is reached. */
export function counted(count: ProbeCount, ok: boolean, probe: Probe): ProbeCount {
  const successes = ok ? count.successes + 1 : 0;
  const failures = ok ? 0 : count.failures + 1;
  if (ok && successes >= (probe.successThreshold ?? 1)) return { passing: true, successes, failures };
  if (!ok && failures >= (probe.failureThreshold ?? 3)) return { passing: false, successes, failures };
  return { passing: count.passing, successes, failures };
}

export interface ProbeLoopOptions {
  probe: Probe;
  check: ProbeCheck;
  clock: Clock;
  /** Called when the verdict changes. */
  onVerdict(passing: boolean, message: string): void;
  /** Called on each failed check, for events. */
  onFailure?(message: string): void;
}

/** Checks again and again until stopped. */
export class ProbeLoop {
  readonly #options: ProbeLoopOptions;
  #count = noResults;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: ProbeLoopOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule((this.#options.probe.initialDelaySeconds ?? 0) * 1000);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #schedule(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(ms, () => void this.#once());
  }

  async #once(): Promise<void> {
    const { probe, check, onVerdict, onFailure } = this.#options;
    const result = await check(probe, (probe.timeoutSeconds ?? 1) * 1000).catch((error: unknown) => ({
      ok: false,
      message: errorText(error),
    }));
    if (this.#stopped) return;
    const before = this.#count.passing;
    this.#count = counted(this.#count, result.ok, probe);
    if (!result.ok) onFailure?.(result.message);
    this.#schedule((probe.periodSeconds ?? 10) * 1000);
    if (this.#count.passing !== undefined && this.#count.passing !== before) {
      onVerdict(this.#count.passing, result.message);
    }
  }
}

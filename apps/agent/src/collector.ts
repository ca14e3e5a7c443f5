import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import type { Kernel, SweepResult } from "@axoneme/datapath";

/** Above this share of the connection table the sweep runs at its fastest. */
const pressureShare = 0.5;
const fastSweepMs = 1000;

/** Removes expired connections on a beat that quickens when the table fills; reports how full it is. */
export class ConntrackCollector implements Module {
  readonly name = "conntrack";
  readonly #kernel: Kernel;
  readonly #intervalMs: number;
  readonly #capacity: number;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #last: SweepResult = { ctSeen: 0, ctDeleted: 0, natSeen: 0, natDeleted: 0 };

  constructor(kernel: Kernel, intervalMs: number, capacity: number, log: Logger) {
    this.#kernel = kernel;
    this.#intervalMs = intervalMs;
    this.#capacity = capacity;
    this.#log = log;
  }

  /** What the last sweep saw. */
  get last(): SweepResult {
    return this.#last;
  }

  start(health: HealthReporter): void {
    const sweep = () => {
      this.#sweep(health);
      const live = this.#last.ctSeen - this.#last.ctDeleted;
      const next =
        live > this.#capacity * pressureShare ? Math.min(fastSweepMs, this.#intervalMs) : this.#intervalMs;
      this.#timer = setTimeout(sweep, next);
      this.#timer.unref();
    };
    sweep();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #sweep(health: HealthReporter): void {
    try {
      this.#last = this.#kernel.sweep(monotonicSeconds());
      const live = this.#last.ctSeen - this.#last.ctDeleted;
      const text = `${live} of ${this.#capacity} connections, ${this.#last.natSeen - this.#last.natDeleted} NAT rows`;
      if (live > this.#capacity * 0.9)
        health.degraded(`${text}: new connections will soon be refused, raise conntrackMax`);
      else health.ok(text);
    } catch (error) {
      health.degraded(`expired connections are not removed: ${errorText(error)}`);
      this.#log.error({ err: error }, "conntrack sweep failed");
    }
  }
}

/** CLOCK_MONOTONIC in seconds, as the datapath's expiry times. */
function monotonicSeconds(): number {
  return Number(process.hrtime.bigint() / 1_000_000_000n);
}

import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, formatIp, type Ip, type Logger } from "@axoneme/base";
import type { Kernel, SweepResult } from "@axoneme/datapath";

/** Above this share of the connection table the sweep runs at its fastest. */
const pressureShare = 0.5;
const fastSweepMs = 1000;
/** Pause between two walks of the table for freed addresses. */
const flushEveryMs = 10;

/** Removes expired connections on a beat that quickens when the table fills; reports how full it is. */
export class ConntrackCollector implements Module {
  readonly name = "conntrack";
  readonly #kernel: Kernel;
  readonly #intervalMs: number;
  readonly #capacity: number;
  readonly #log: Logger;
  readonly #freed: Ip[] = [];
  #timer: NodeJS.Timeout | undefined;
  #flushTimer: NodeJS.Timeout | undefined;
  #last: SweepResult = {
    ctSeen: 0,
    ctDeleted: 0,
    natSeen: 0,
    natDeleted: 0,
    flowSeen: 0,
    flowDeleted: 0,
  };

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
    clearTimeout(this.#flushTimer);
  }

  /**
   * Forgets the connections of an address that was given up, before its next owner can meet them. One walk of the
   * table each, so a burst is spread out; a freed address rests for longer than that takes.
   */
  flush(ip: Ip): void {
    this.#freed.push(ip);
    this.#flushTimer ??= setTimeout(() => this.#flushNext(), flushEveryMs).unref();
  }

  #flushNext(): void {
    this.#flushTimer = undefined;
    const ip = this.#freed.shift();
    if (!ip) return;
    try {
      // Given out again already: what is there may be of its new owner, who inherits nothing of the old in any case.
      if (!this.#kernel.maps.endpoints.get(ip)) this.#kernel.sweep(monotonicSeconds(), ip);
    } catch (error) {
      this.#log.error({ err: error, ip: formatIp(ip) }, "connections of a freed address were not removed");
    }
    if (this.#freed.length > 0) this.#flushTimer = setTimeout(() => this.#flushNext(), flushEveryMs).unref();
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
export function monotonicSeconds(): number {
  return Number(process.hrtime.bigint() / 1_000_000_000n);
}

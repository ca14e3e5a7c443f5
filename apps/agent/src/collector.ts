import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, formatIp, type Ip, type Logger } from "@axoneme/base";
import type { Kernel, SweepResult } from "@axoneme/datapath";
import type { Meters } from "./metrics/meters.ts";

/** Above this share of any table the sweep runs at its fastest. */
const pressureShare = 0.5;
/** Above this share of a table somebody has to know. */
const fullShare = 0.9;
const fastSweepMs = 1000;
/** Pause between two walks of the table for freed addresses. */
const flushEveryMs = 10;

/** Rows that the tables take. */
export interface TableSizes {
  readonly conntrackMax: number;
  readonly natMax: number;
  readonly lbFlowMax: number;
}

interface Fill {
  readonly rows: number;
  readonly limit: number;
  /** What the rows are, and the option that says how many there may be. */
  readonly what: string;
  readonly option: keyof TableSizes;
}

/** Removes expired rows on a beat that quickens when a table fills; reports how full they are. */
export class ConntrackCollector implements Module {
  readonly name = "conntrack";
  readonly #kernel: Kernel;
  /** Between sweeps, while no table is nearly full; counts from the next one on. */
  intervalMs: number;
  readonly #sizes: TableSizes;
  readonly #meters: Meters;
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

  constructor(kernel: Kernel, intervalMs: number, sizes: TableSizes, meters: Meters, log: Logger) {
    this.#kernel = kernel;
    this.intervalMs = intervalMs;
    this.#sizes = sizes;
    this.#meters = meters;
    this.#log = log;
  }

  /** What the last sweep saw. */
  get last(): SweepResult {
    return this.#last;
  }

  /** Told after each sweep. */
  onSwept: () => void = () => undefined;

  start(health: HealthReporter): void {
    const sweep = () => {
      this.#sweep(health);
      this.onSwept();
      const pressed = this.#fills().some(({ rows, limit }) => rows > limit * pressureShare);
      const next = pressed ? Math.min(fastSweepMs, this.intervalMs) : this.intervalMs;
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

  #fills(): Fill[] {
    const { ctSeen, ctDeleted, natSeen, natDeleted, flowSeen, flowDeleted } = this.#last;
    const fill = (rows: number, what: string, option: keyof TableSizes): Fill => ({
      rows,
      limit: this.#sizes[option],
      what,
      option,
    });
    return [
      fill(ctSeen - ctDeleted, "connections", "conntrackMax"),
      fill(natSeen - natDeleted, "NAT rows", "natMax"),
      fill(flowSeen - flowDeleted, "flows of Services", "lbFlowMax"),
    ];
  }

  #sweep(health: HealthReporter): void {
    const begin = performance.now();
    let swept = false;
    try {
      this.#last = this.#kernel.sweep(monotonicSeconds());
      swept = true;
      const fills = this.#fills();
      const text = fills.map(({ rows, limit, what }) => `${rows} of ${limit} ${what}`).join(", ");
      const full = fills.filter(({ rows, limit }) => rows > limit * fullShare).map(({ option }) => option);
      if (full.length > 0)
        health.degraded(`${text}: new connections will soon be refused, raise ${full.join(", ")}`);
      else health.ok(text);
    } catch (error) {
      health.degraded(`expired connections are not removed: ${errorText(error)}`);
      this.#log.error({ err: error }, "conntrack sweep failed");
    } finally {
      this.#meters.swept(swept, (performance.now() - begin) / 1000);
    }
  }
}

/** CLOCK_MONOTONIC in seconds, as the datapath's expiry times. */
export function monotonicSeconds(): number {
  return Number(process.hrtime.bigint() / 1_000_000_000n);
}

import { eventSize, MetricIndex } from "@axoneme/abi";
import type { HealthReporter, Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import type { RingBuffer } from "@axoneme/bpf";
import { type Kernel, readMetrics } from "@axoneme/datapath";
import type { FlowMetrics, Observer } from "@axoneme/observe";
import type { RuleUses } from "./state/rule-use.ts";

/**
 * How often the ring buffer is emptied. Programs do not wake us for a record (a wake-up costs them more than the
 * record) but only when much has gathered; what is left is fetched on this beat.
 */
const beatMs = 50;
/** A steady stream wakes us no more often than this. */
const pauseMs = 20;
/** How often the programs' counter of records that found no room is read: it is a row of a map that is read whole. */
const lossEveryMs = 1000;
/** Records of one drain. */
const batchRecords = 4096;
/** Drains in a row before other work gets its turn. */
const maxDrains = 16;

/** Moves the datapath's events from the kernel's ring buffer to the flow store, in batches of bytes. */
export class EventPump implements Module {
  readonly name = "events";
  readonly #open: () => RingBuffer;
  readonly #lostCounter: () => bigint;
  readonly #observer: Observer;
  readonly #metrics: FlowMetrics;
  readonly #uses: RuleUses;
  readonly #log: Logger;
  readonly #batch = new Uint8Array(batchRecords * eventSize);
  #ring: RingBuffer | undefined;
  #beat: NodeJS.Timeout | undefined;
  #lossBeat: NodeJS.Timeout | undefined;
  #lost = 0n;
  #offLost: (() => void) | undefined;

  /** @param lostCounter events the programs could not put into the ring buffer, since it exists. */
  constructor(
    open: () => RingBuffer,
    lostCounter: () => bigint,
    observer: Observer,
    metrics: FlowMetrics,
    uses: RuleUses,
    log: Logger,
  ) {
    this.#open = open;
    this.#lostCounter = lostCounter;
    this.#observer = observer;
    this.#metrics = metrics;
    this.#uses = uses;
    this.#log = log;
  }

  start(health: HealthReporter): void {
    const ring = this.#open();
    this.#ring = ring;
    this.#offLost = this.#observer.readerLost.on((count) =>
      this.#metrics.countLoss("hubble_ring_buffer", count),
    );
    this.#lost = this.#lostCounter();
    ring.watch((error) => {
      if (error) {
        health.failed(error.message);
        this.#log.error({ err: error }, "the ring buffer cannot be waited for");
        return;
      }
      this.#drain(ring);
      ring.arm(pauseMs);
    });
    ring.unref();
    this.#beat = setInterval(() => this.#drain(ring), beatMs).unref();
    this.#lossBeat = setInterval(() => this.#countLoss(), lossEveryMs).unref();
    health.ok(`ring buffer of ${ring.size >> 20} MiB`);
  }

  stop(): void {
    clearInterval(this.#beat);
    clearInterval(this.#lossBeat);
    if (this.#ring) this.#drain(this.#ring);
    this.#ring?.close();
    this.#offLost?.();
  }

  #drain(ring: RingBuffer): void {
    for (let drains = 0; drains < maxDrains; drains++) {
      const count = ring.drainPacked(this.#batch, eventSize);
      if (count === 0) return;
      this.#observer.ingest(this.#batch, count);
      this.#metrics.count(this.#batch, count);
      this.#uses.count(this.#batch, count);
      if (count < batchRecords) return;
    }
  }

  #countLoss(): void {
    const lost = this.#lostCounter();
    if (lost <= this.#lost) return;
    const count = Number(lost - this.#lost);
    this.#lost = lost;
    this.#observer.ingestLoss(count);
    this.#uses.countLoss(count);
    this.#metrics.countLoss("perf_event_ring_buffer", count);
  }
}

/** Events that the programs could not put into the ring buffer, since it exists. */
export function lostEvents(kernel: Kernel): bigint {
  const lost = readMetrics(kernel.maps.metrics).filter(
    ({ reason }) => reason === MetricIndex.EVENTS_LOST >> 2,
  );
  return lost.reduce((sum, { packets }) => sum + packets, 0n);
}

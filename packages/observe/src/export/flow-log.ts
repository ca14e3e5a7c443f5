import { setTimeout as delay } from "node:timers/promises";
import { errorText, type Logger } from "@axoneme/base";
import type { Flow, GetFlowsRequest, GetFlowsResponse } from "@axoneme/flow";
import { loadEngines } from "../expression/lazy.ts";
import type { Observer, ReadPosition } from "../observer.ts";
import type { FlowLogConfig } from "./config.ts";
import { OtlpSink, otlpAddress } from "./otlp.ts";
import { flowProjection } from "./projection.ts";
import { type LineSink, RotatingFile, StandardOutput } from "./rotating-file.ts";

/** How long a log that could not be written to is left alone. */
const retryMs = 1000;

/** What became of the flows of a log. */
export interface FlowLogFigures {
  readonly written: number;
  /** Records that the store had overwritten before they were read. */
  readonly overrun: number;
  /** Flows that the file did not take. */
  readonly failed: number;
}

/**
 * Writes flows to a file for as long as it runs. It is a reader of the store like any other: a disk that is too slow
 * holds up this log alone, and what the store overwrites meanwhile is counted, and told in the file.
 */
export class FlowLog {
  readonly config: FlowLogConfig;
  /** From where another log may go on when this one has stopped. */
  readonly position: ReadPosition;
  readonly #observer: Observer;
  readonly #log: Logger;
  readonly #project: (flow: Flow) => object;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #written = 0;
  #overrun = 0;
  #failed = 0;
  #problem: string | undefined;
  #running = true;

  /** Starts at once, with the records after `position` (default: those that come from now on). */
  constructor(config: FlowLogConfig, observer: Observer, log: Logger, position?: ReadPosition) {
    this.config = config;
    this.position = position ?? { seq: observer.store.nextSeq };
    this.#observer = observer;
    this.#log = log;
    this.#project = flowProjection(config.fieldMask);
    this.#done = this.#run();
  }

  get figures(): FlowLogFigures {
    return { written: this.#written, overrun: this.#overrun, failed: this.#failed };
  }

  /** Why nothing is written now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** False once stopped, or after its end. */
  get running(): boolean {
    return this.#running;
  }

  /** Writes what it has begun to write, and closes the file. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const sink = sinkOf(this.config, this.#stop.signal);
    const { includeFilters, excludeFilters, end } = this.config;
    const request: GetFlowsRequest = {
      follow: true,
      whitelist: includeFilters,
      blacklist: excludeFilters,
      ...(end === undefined ? {} : { until: end }),
    };
    try {
      const { signal } = this.#stop;
      await loadEngines(request.whitelist, request.blacklist);
      for await (const batch of this.#observer.getFlowBatches(request, signal, this.position)) {
        await this.#write(sink, batch);
        if (signal.aborted) break;
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#running = false;
      await sink.close().catch((error: unknown) => this.#fail(error));
    }
  }

  async #write(sink: LineSink, batch: readonly GetFlowsResponse[]): Promise<void> {
    for (const { lost_events: lost } of batch) {
      if (lost?.source === "HUBBLE_RING_BUFFER") this.#overrun += Number(lost.num_events_lost);
    }
    const { written, error } = await sink.write(batch.map((response) => this.#line(response)));
    this.#written += flowsIn(batch.slice(0, written));
    this.#failed += flowsIn(batch.slice(written));
    if (error === undefined) this.#problem = undefined;
    else this.#fail(error);
    if (written < batch.length) await pause(this.#stop.signal);
  }

  #line(response: GetFlowsResponse): string {
    if (response.flow === undefined) return JSON.stringify(response);
    return JSON.stringify({ ...response, flow: this.#project(response.flow) });
  }

  /** Said once for as long as it lasts. */
  #fail(error: unknown): void {
    const problem = errorText(error);
    if (problem !== this.#problem) {
      const { name, filePath } = this.config;
      this.#log.error({ err: error, name, filePath }, "flows cannot be written to their log");
    }
    this.#problem = problem;
  }
}

function sinkOf(config: FlowLogConfig, stop: AbortSignal): LineSink {
  if (config.filePath === "stdout") return new StandardOutput();
  const collector = otlpAddress(config.filePath);
  if (collector !== undefined) return new OtlpSink(collector, stop);
  return new RotatingFile(config.filePath, {
    maxBytes: config.fileMaxSizeMb * 1_048_576,
    backups: config.fileMaxBackups,
    compress: config.fileCompress,
  });
}

function flowsIn(batch: readonly GetFlowsResponse[]): number {
  return batch.reduce((sum, { flow }) => sum + (flow === undefined ? 0 : 1), 0);
}

function pause(signal: AbortSignal): Promise<void> {
  // Only a stop ends it early.
  return delay(retryMs, undefined, { signal }).catch(() => undefined);
}

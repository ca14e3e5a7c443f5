import type { HealthReporter, Lifecycle, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  type History,
  type HistoryFigures,
  keepHistory,
  type Observer,
  parseHistorySize,
} from "@axoneme/observe";
import { Counter, Gauge, type Registry } from "prom-client";
import type { AgentConfig } from "./options.ts";

type HistoryConfig = Pick<AgentConfig, "hubbleHistory" | "hubbleHistoryDir">;

/** How often the module says anew how much there is. */
const tellMs = 10_000;

/** Keeps flow records on disk. What is wrong there costs the node its past, not its flows and not its pods. */
export class HistoryModule implements Module {
  readonly name = "flow-history";
  readonly #dir: string;
  readonly #limitBytes: number;
  readonly #observer: Observer;
  readonly #registry: Registry;
  readonly #log: Logger;
  #history: History | undefined;
  #teller: NodeJS.Timeout | undefined;

  /** @throws AxonError `observe.history_size` */
  constructor(config: HistoryConfig, observer: Observer, registry: Registry, log: Logger) {
    this.#dir = config.hubbleHistoryDir;
    this.#limitBytes = parseHistorySize(config.hubbleHistory);
    this.#observer = observer;
    this.#registry = registry;
    this.#log = log;
  }

  async start(health: HealthReporter): Promise<void> {
    try {
      const history = await keepHistory(this.#observer, {
        dir: this.#dir,
        limitBytes: this.#limitBytes,
        log: this.#log,
      });
      this.#history = history;
      registerHistory(this.#registry, history);
      this.#tell(health, history);
      this.#teller = setInterval(() => this.#tell(health, history), tellMs).unref();
    } catch (error) {
      health.degraded(errorText(error));
      this.#log.error({ err: error }, "flow history is not kept");
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#teller);
    await this.#history?.stop();
  }

  #tell(health: HealthReporter, history: History): void {
    const { figures, unreadable } = history;
    const state = historyText(figures, this.#limitBytes);
    if (figures.problem !== undefined) health.degraded(`nothing is written: ${figures.problem}; ${state}`);
    else if (unreadable !== undefined) health.degraded(`${unreadable}; ${state}`);
    else health.ok(state);
  }
}

/** One line about a history: how much there is, from when on, what is missing. */
export function historyText(figures: HistoryFigures, limitBytes: number): string {
  const { bytes, records, oldestNs, lost, tornBytes } = figures;
  const since =
    oldestNs === undefined
      ? ""
      : ` since ${new Date(Number(oldestNs / 1_000_000_000n) * 1000).toISOString().replace(".000", "")}`;
  const missing = [
    ...(lost > 0 ? [`${lost} records lost`] : []),
    ...(tornBytes > 0 ? [`${tornBytes} bytes torn when an agent was killed`] : []),
  ];
  const of = `${mebibytes(bytes)} of ${mebibytes(limitBytes)} MiB`;
  return [`${records} records${since}, ${of}`, ...missing].join("; ");
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)}`;
}

/** Adds the history of flows to an agent, if one is asked for. */
export function addHistory(
  lifecycle: Lifecycle,
  config: HistoryConfig,
  observer: Observer,
  registry: Registry,
  log: Logger,
): void {
  const module = new HistoryModule(config, observer, registry, log);
  if (parseHistorySize(config.hubbleHistory) > 0) lifecycle.add(module);
}

function registerHistory(registry: Registry, history: History): void {
  const registers = [registry];
  new Counter({
    name: "axoneme_flow_history_records_total",
    help: "Flow records for the history on disk: written, or lost because the ring overwrote them first",
    labelNames: ["outcome"],
    registers,
    collect() {
      this.reset();
      this.inc({ outcome: "written" }, history.figures.written);
      this.inc({ outcome: "lost" }, history.figures.lost);
    },
  });
  new Counter({
    name: "axoneme_flow_history_failures_total",
    help: "Writes of the flow history that failed",
    registers,
    collect() {
      this.reset();
      this.inc(history.figures.failures);
    },
  });
  new Gauge({
    name: "axoneme_flow_history_bytes",
    help: "Bytes of the flow history on disk",
    registers,
    collect() {
      this.set(history.figures.bytes);
    },
  });
  new Gauge({
    name: "axoneme_flow_history_unreadable",
    help: "Segments of the flow history that cannot be read, and damaged frames that were come by",
    registers,
    collect() {
      this.set(history.figures.unreadable);
    },
  });
  new Gauge({
    name: "axoneme_flow_history_oldest_seconds",
    help: "Time of the oldest record of the flow history, seconds since the epoch; 0: there is none",
    registers,
    collect() {
      this.set(Number((history.figures.oldestNs ?? 0n) / 1_000_000_000n));
    },
  });
}

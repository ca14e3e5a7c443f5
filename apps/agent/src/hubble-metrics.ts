import type { HealthReporter, Lifecycle, Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import { type FlowMetrics, followMetricsFile, type MetricsFile } from "@axoneme/observe";

/** Follows the file of hubble_* metrics. A file that is wrong costs what it wants to change, and no other series. */
export class MetricsFileModule implements Module {
  readonly name = "flow-metrics";
  readonly #path: string;
  readonly #metrics: FlowMetrics;
  readonly #log: Logger;
  #file: MetricsFile | undefined;

  constructor(path: string, metrics: FlowMetrics, log: Logger) {
    this.#path = path;
    this.#metrics = metrics;
    this.#log = log;
  }

  async start(health: HealthReporter): Promise<void> {
    this.#file = await followMetricsFile({
      path: this.#path,
      metrics: this.#metrics,
      log: this.#log,
      onState: (problem, count) =>
        problem === undefined
          ? health.ok(`${count} metrics of ${this.#path}`)
          : health.degraded(`${problem}; ${count} metrics are counted as before`),
    });
  }

  stop(): void {
    this.#file?.stop();
  }
}

/** Adds the module to an agent if a file is named. */
export function addMetricsFile(lifecycle: Lifecycle, path: string, metrics: FlowMetrics, log: Logger): void {
  if (path !== "") lifecycle.add(new MetricsFileModule(path, metrics, log));
}

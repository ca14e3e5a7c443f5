import { readFile } from "node:fs/promises";
import { type Clock, errorText, type Logger, systemClock, type Timer } from "@axoneme/base";
import { parseMetricsFile } from "./config.ts";
import type { FlowMetrics } from "./flow-metrics.ts";

/** How often the file is looked at: watches do not see what Kubernetes does to mounted files. */
const lookEveryMs = 5000;

export interface MetricsFileOptions {
  readonly path: string;
  readonly metrics: Pick<FlowMetrics, "apply">;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Told after every look: what is wrong now (undefined: nothing), and how many metrics are counted. */
  readonly onState?: (problem: string | undefined, metrics: number) => void;
}

/** The metrics that a file wants, followed while it changes. A file that is wrong leaves in force what was. */
export class MetricsFile {
  readonly #options: MetricsFileOptions;
  readonly #clock: Clock;
  #text: string | undefined;
  #count = 0;
  #problem: string | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  private constructor(options: MetricsFileOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Applies what the file says now. Nothing here throws for a file that is wrong: it is said, and looked at again. */
  static async start(options: MetricsFileOptions): Promise<MetricsFile> {
    const file = new MetricsFile(options);
    await file.look();
    file.#again();
    return file;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Looks at the file now. */
  async look(): Promise<void> {
    const { path, metrics, log, onState } = this.#options;
    try {
      const text = await readFile(path, "utf8");
      if (text !== this.#text && !this.#stopped) {
        const { specs, later } = parseMetricsFile(text);
        metrics.apply(specs);
        this.#text = text;
        this.#count = specs.length;
        log.info(
          { path, metrics: specs.map(({ name }) => name) },
          "metrics of flows are counted as the file says",
        );
        if (later.length > 0)
          log.warn({ metrics: later }, "these metrics count nothing: what they are about is not observed");
      }
      this.#problem = undefined;
    } catch (error) {
      const problem = errorText(error);
      if (problem !== this.#problem)
        log.error(
          { problem, path },
          "the file of metrics is not used; what was counted before is counted on",
        );
      this.#problem = problem;
    }
    onState?.(this.#problem, this.#count);
  }

  #again(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.setTimer(lookEveryMs, () => void this.look().then(() => this.#again()));
  }
}

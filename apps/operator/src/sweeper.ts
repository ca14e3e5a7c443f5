import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";

/** Runs a sweep at the start and every so often, never two at once; a failed one waits for its next turn. */
export class Sweeper implements Module {
  readonly name: string;
  readonly #intervalMs: number;
  readonly #sweep: () => Promise<void>;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(name: string, intervalMs: number, log: Logger, sweep: () => Promise<void>) {
    this.name = name;
    this.#intervalMs = intervalMs;
    this.#log = log;
    this.#sweep = sweep;
  }

  start(health: HealthReporter): void {
    health.ok();
    this.#running = this.#run(health);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(health: HealthReporter): Promise<void> {
    try {
      await this.#sweep();
      health.ok();
    } catch (error) {
      if (this.#stopped) return;
      this.#log.warn({ sweep: this.name, err: errorText(error) }, "a sweep failed");
      health.degraded(errorText(error));
    }
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#run(health);
    }, this.#intervalMs);
  }
}

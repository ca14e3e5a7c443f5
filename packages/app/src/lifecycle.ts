import type { Logger } from "@axoneme/base";
import { Health, type HealthReporter } from "./health.ts";

/** One part of a program: started after the parts before it, stopped before them. */
export interface Module {
  /** Short id, as in logs and `axon status`. */
  readonly name: string;
  /** Resolves when the module serves its purpose; a rejection stops the program. */
  start(health: HealthReporter): Promise<void> | void;
  /** Releases what start took. Must work after a start that failed half-way. */
  stop?(): Promise<void> | void;
}

/** Starts modules in order, stops them in reverse, and never leaves some started after a failure. */
export class Lifecycle {
  readonly health: Health;
  readonly #log: Logger;
  readonly #modules: Module[] = [];
  readonly #started: Module[] = [];

  constructor(log: Logger, health: Health = new Health()) {
    this.#log = log;
    this.health = health;
  }

  /** Adds a module behind those already added. */
  add(module: Module): this {
    this.#modules.push(module);
    return this;
  }

  /** Starts all modules; on a failure stops those that started and rethrows. */
  async start(): Promise<void> {
    for (const module of this.#modules) {
      const begin = performance.now();
      const health = this.health.reporter(module.name);
      this.#started.push(module);
      try {
        await module.start(health);
        if (this.#stateOf(module.name) === "starting") health.ok();
      } catch (error) {
        health.failed(error instanceof Error ? error.message : String(error));
        await this.stop();
        throw error;
      }
      this.#log.debug({ module: module.name, ms: Math.round(performance.now() - begin) }, "module started");
    }
  }

  /** Stops what was started, last first. A module that fails to stop is logged and does not hold up the others. */
  async stop(): Promise<void> {
    for (let module = this.#started.pop(); module !== undefined; module = this.#started.pop()) {
      try {
        await module.stop?.();
      } catch (error) {
        this.#log.error({ module: module.name, err: error }, "module did not stop cleanly");
      }
      if (this.#stateOf(module.name) !== "failed") this.health.stopped(module.name);
    }
  }

  #stateOf(name: string) {
    return this.health.modules().find((m) => m.name === name)?.state;
  }
}

import type { HealthReporter, Module } from "@axoneme/app";
import { delay, type Logger } from "@axoneme/base";
import {
  isNotFound,
  type KubeClient,
  type KubeObject,
  ListWatch,
  type ListWatchHandlers,
  type ListWatchOptions,
  type Resource,
} from "@axoneme/kube";
import type { Meters } from "../metrics/meters.ts";
import { metered } from "../metrics/watching.ts";

/** Longest pause after a failure: a node that was there before the operator installed the CRDs comes up soon after. */
const maxBackoffMs = 3000;
/** How often the health of the watches is looked at. */
const healthEveryMs = 1000;
/** A copy that could not be refreshed for this long is worth a word in `axon status`. */
const staleAfterMs = 15_000;

interface Watch {
  readonly name: string;
  readonly lister: ListWatch<KubeObject, unknown>;
  readonly start: () => void;
}

/** All list-and-watch copies of the agent, as one module: started together, their health told together. */
export class Watches implements Module {
  readonly name = "kubernetes";
  readonly #client: KubeClient;
  readonly #meters: Meters;
  readonly #log: Logger;
  readonly #watches: Watch[] = [];
  #timer: NodeJS.Timeout | undefined;
  #toldOfMissing = false;
  #health: HealthReporter | undefined;

  constructor(client: KubeClient, meters: Meters, log: Logger) {
    this.#client = client;
    this.#meters = meters;
    this.#log = log;
  }

  /** Adds a copy; it starts with the module. Its store is readable at once, and empty until synced. */
  add<T extends KubeObject, S = T>(
    resource: Resource<T>,
    handlers: ListWatchHandlers<S>,
    options: ListWatchOptions<T, S> = {},
  ): ListWatch<T, S> {
    const lister = new ListWatch<T, S>(this.#client, resource, {
      maxBackoffMs,
      ...options,
      log: this.#log,
      onError: (error) => {
        this.#tellOfMissing(resource.plural, error);
        options.onError?.(error);
      },
    });
    this.#watches.push({
      name: resource.plural,
      lister: lister as unknown as ListWatch<KubeObject, unknown>,
      start: () => lister.start(metered(handlers, resource.plural, this.#meters)),
    });
    return lister;
  }

  start(health: HealthReporter): void {
    this.#health = health;
    for (const watch of this.#watches) watch.start();
    this.#report(health);
    this.#timer = setInterval(() => this.#report(health), healthEveryMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.race([Promise.all(this.#watches.map(({ lister }) => lister.stop())), delay(2000)]);
  }

  /** Resolves when every copy has been listed once: from then on, what is not in a copy does not exist. */
  async synced(): Promise<void> {
    await Promise.all(this.#watches.map(({ lister }) => lister.synced));
    // At once: pods are served from here on, and nobody is to be told that we wait.
    if (this.#health) this.#report(this.#health);
  }

  /** Our definitions come with the operator, often seconds later: one line, whatever is missing. */
  #tellOfMissing(resource: string, error: unknown): void {
    if (this.#toldOfMissing || !isNotFound(error)) return;
    this.#toldOfMissing = true;
    this.#log.info({ resource }, "waiting for custom resource definitions, which the operator installs");
  }

  #report(health: HealthReporter): void {
    const waiting = this.#watches.filter(({ lister }) => !lister.health().synced);
    if (waiting.length > 0) {
      const first = waiting[0]?.lister.health().lastError;
      health.degraded(`waiting for ${waiting.map((w) => w.name).join(", ")}${first ? `: ${first}` : ""}`);
      return;
    }
    const now = Date.now();
    const stale = this.#watches.filter(({ lister }) => {
      const since = lister.health().staleSince;
      return since !== undefined && now - since > staleAfterMs;
    });
    if (stale.length > 0) {
      health.degraded(
        `no contact with the API server for ${stale.map((w) => w.name).join(", ")}: working on the last state`,
      );
      return;
    }
    health.ok(`${this.#watches.length} resources watched at ${this.#client.server}`);
  }
}

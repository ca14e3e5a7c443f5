import { setTimeout as sleep } from "node:timers/promises";
import type { HealthReporter, Module } from "@axoneme/app";
import { backoff, Deferred, errorText, type Logger } from "@axoneme/base";
import {
  isNotFound,
  type KubeClient,
  type KubeObject,
  ListWatch,
  type ListWatchHandlers,
  type Resource,
  tierPolicyResources,
} from "@axoneme/kube";

/** How often the API is asked whether a definition was installed meanwhile, milliseconds. */
const lookEveryMs = 30_000;

/**
 * Copies of policies whose definitions may not be there: those that are served are listed before anything is written,
 * the others as soon as somebody installs them.
 */
export class TierPolicies implements Module {
  readonly name = "tier-policies";
  readonly #client: KubeClient;
  readonly #log: Logger;
  readonly #handlers: (kind: string) => ListWatchHandlers<KubeObject>;
  readonly #everyMs: number;
  readonly #copies = new Map<string, ListWatch<KubeObject>>();
  readonly #synced = new Deferred<void>();
  readonly #stop = new AbortController();
  #health: HealthReporter | undefined;

  constructor(
    client: KubeClient,
    log: Logger,
    handlers: (kind: string) => ListWatchHandlers<KubeObject>,
    everyMs = lookEveryMs,
  ) {
    this.#client = client;
    this.#log = log;
    this.#handlers = handlers;
    this.#everyMs = everyMs;
  }

  /** Resolves when all that is served has been listed once. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  start(health: HealthReporter): void {
    this.#health = health;
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#copies.values()].map((copy) => copy.stop()));
  }

  async #follow(): Promise<void> {
    const wait = backoff({ baseMs: 50, maxMs: 3000 });
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = this.#everyMs;
      try {
        await this.#look();
        wait.reset();
        this.#health?.ok(this.#copies.size === 0 ? "not served" : [...this.#copies.keys()].join(", "));
        this.#synced.resolve();
      } catch (error) {
        pause = wait.next();
        if (!signal.aborted)
          this.#health?.degraded(`cannot tell which policies are served: ${errorText(error)}`);
      }
      // It rejects when this is stopped, and the loop ends.
      await sleep(pause, undefined, { ref: false, signal }).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    this.#client.discovery.forget();
    for (const resource of tierPolicyResources) {
      if (this.#copies.has(resource.kind) || !(await this.#isServed(resource))) continue;
      const copy = new ListWatch(this.#client, resource, { log: this.#log });
      this.#copies.set(resource.kind, copy);
      if (this.#stop.signal.aborted) return;
      copy.start(this.#handlers(resource.kind));
      await copy.synced;
    }
  }

  async #isServed({ group, version, kind }: Resource<KubeObject>): Promise<boolean> {
    try {
      const served = await this.#client.discovery.resources(`${group}/${version}`);
      return served.some((resource) => resource.kind === kind);
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }
}

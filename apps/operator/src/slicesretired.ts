import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { completeSlice, isNotFound, type KubeClient, resources } from "@axoneme/kube";
import { ownLabels } from "./members.ts";

/**
 * Takes the CiliumEndpointSlices away that an operator wrote before this was switched off. First the sign that they are complete:
 * agents then list the CiliumEndpoints, and meanwhile go by the slices, which therefore stay a while.
 */
export class SlicesRetired implements Module {
  readonly name = "endpoint-slices";
  readonly #client: KubeClient;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  readonly #graceMs: number;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(around: { client: KubeClient; log: Logger; signal: AbortSignal }, graceMs: number) {
    this.#client = around.client;
    this.#log = around.log;
    this.#signal = around.signal;
    this.#graceMs = graceMs;
  }

  start(health: HealthReporter): void {
    health.ok();
    this.#running = this.#try();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #try(): Promise<void> {
    try {
      await this.#announce();
    } catch (error) {
      if (this.#signal.aborted || isNotFound(error)) return;
      this.#log.warn({ err: errorText(error) }, "CiliumEndpointSlices of before are not removed yet");
      this.#later();
    }
  }

  async #announce(): Promise<void> {
    const names = await this.#names();
    if (names.length === 0) return;
    const slices = this.#client.resource(resources.ciliumendpointslices);
    await slices.deleteIfExists(completeSlice, { signal: this.#signal });
    this.#later(async () => {
      for (const name of await this.#names()) await slices.deleteIfExists(name, { signal: this.#signal });
      this.#log.info({ slices: names.length }, "CiliumEndpointSlices removed: agents follow CiliumEndpoints");
    });
  }

  #later(work: () => Promise<void> = () => this.#announce()): void {
    this.#timer = setTimeout(() => {
      this.#running = work().catch((error: unknown) => {
        if (this.#signal.aborted) return;
        this.#log.warn({ err: errorText(error) }, "CiliumEndpointSlices of before are not removed yet");
        this.#later(work);
      });
    }, this.#graceMs);
  }

  async #names(): Promise<string[]> {
    const labelSelector = Object.entries(ownLabels)
      .map(([key, value]) => `${key}=${value}`)
      .join();
    const { items } = await this.#client
      .resource(resources.ciliumendpointslices)
      .list({ labelSelector, limit: 50, signal: this.#signal });
    return items.flatMap(({ metadata }) => metadata?.name ?? []);
  }
}

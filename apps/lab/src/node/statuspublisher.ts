import { backoff, delay, errorText } from "@axoneme/base";
import type { Pod, PodStatus } from "kubernetes-types/core/v1";
import { condition, keyOf, sameJson } from "../controllers/objects.ts";
import type { NodeContext } from "./context.ts";

/** Writes a pod's status whenever it differs from what was written last; changes that come meanwhile become one. */
export class StatusPublisher {
  readonly #context: NodeContext;
  readonly #current: () => { pod: Pod; status: PodStatus };
  readonly #onStored: (status: PodStatus) => void;
  #sent: PodStatus | undefined;
  #running = false;
  #again = false;
  #stopped = false;

  constructor(
    context: NodeContext,
    current: () => { pod: Pod; status: PodStatus },
    onStored: (status: PodStatus) => void,
  ) {
    this.#context = context;
    this.#current = current;
    this.#onStored = onStored;
  }

  publish(): void {
    this.#again = true;
    if (!this.#running) void this.#loop();
  }

  /** Somebody else (the node lifecycle) may have marked the pod not ready: then what we know is said again. */
  seen(pod: Pod): void {
    if (this.#running || this.#stopped) return;
    const ours = condition(this.#sent?.conditions, "Ready")?.status;
    const theirs = condition(pod.status?.conditions, "Ready")?.status;
    if (ours !== "True" || theirs !== "False") return;
    this.#sent = undefined;
    this.publish();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #loop(): Promise<void> {
    this.#running = true;
    const retry = backoff({ baseMs: 200, maxMs: 10_000 });
    while (this.#again && !this.#stopped) {
      this.#again = false;
      const { pod, status } = this.#current();
      if (sameJson(status, this.#sent)) continue;
      try {
        const stored = await this.#context.api.updatePodStatus(pod, status);
        this.#sent = status;
        if (stored?.status !== undefined) this.#onStored(stored.status);
      } catch (error) {
        this.#context.log.warn({ pod: keyOf(pod), err: errorText(error) }, "the status could not be written");
        this.#again = true;
        await delay(retry.next());
      }
    }
    this.#running = false;
  }
}

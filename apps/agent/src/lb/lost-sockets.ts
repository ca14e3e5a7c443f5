import type { HealthReporter, Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import type { Kernel, SocketCloser } from "@axoneme/datapath";
import { netnsCookie } from "@axoneme/netlink";
import type { PodNamespaces } from "../endpoint/namespaces.ts";

/** What the module works with. */
export interface LostSocketsDeps {
  readonly kernel: Kernel;
  readonly namespaces: Pick<PodNamespaces, "pathOf">;
  /** Resolves when the node serves. */
  readonly ready: Promise<void>;
  readonly log: Logger;
}

/**
 * Sockets that lost their backend, as a part of the agent. The kernel's part is loaded once the node serves, so that
 * it does not hold up the start; a first look then finds what was lost until that moment.
 */
export class LostSockets implements Module {
  readonly name = "sockets";
  readonly #deps: LostSocketsDeps;
  #closer: SocketCloser | undefined;
  #isStopped = false;

  constructor(deps: LostSocketsDeps) {
    this.#deps = deps;
  }

  start(health: HealthReporter): void {
    health.ok("not closed yet with their backend: the node is being set up");
    this.#deps.ready.then(
      () => {
        if (!this.#isStopped) this.#open(health);
      },
      () => undefined,
    );
  }

  #open(health: HealthReporter): void {
    const { kernel, namespaces, log } = this.#deps;
    const own = netnsCookie(undefined);
    this.#closer = kernel.socketCloser({ own, pathOf: (cookie) => namespaces.pathOf(cookie) }, log);
    const { reason } = this.#closer.status;
    const closed = "closed when their backend is removed";
    health.ok(reason === undefined ? closed : `not ${closed}: ${reason}`);
    this.#closer.look();
  }

  /** Backends' rows were deleted. */
  backendsRemoved(ids: readonly number[]): void {
    this.#closer?.backendsRemoved(ids);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#closer?.close();
    this.#closer = undefined;
  }
}

import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, type Clock, Deferred, type Logger, systemClock, type Timer } from "@axoneme/base";
import {
  type CiliumEndpointSlice,
  completeSlice,
  type KubeClient,
  ListWatch,
  type ListWatchHandlers,
  resources,
  unpackSlice,
} from "@axoneme/kube";
import { EndpointLayers, type SliceOfEndpoints } from "./endpoint-layers.ts";
import type { Meters } from "./metrics/meters.ts";
import { metered } from "./metrics/watching.ts";
import { type RemoteEndpoint, trimEndpoint } from "./remote-endpoints.ts";
import { intern } from "./state/intern.ts";
import { type CiliumEndpointObject, ciliumEndpoints } from "./state/objects.ts";

/** Longest pause after a failure, as of the agent's other watches. */
const maxBackoffMs = 3000;
/** How long both kinds are followed after slices have come to be complete: pods of just then are in one of them. */
const settleMs = 30_000;
/** How long after that a CiliumEndpoint that no slice has is believed. */
const lingerMs = 60_000;

/** Keeps of a slice what {@link trimEndpoint} keeps of its endpoints. */
export function trimSlice(slice: CiliumEndpointSlice): SliceOfEndpoints {
  const { namespace = "" } = slice;
  const shared = intern(namespace);
  return {
    name: slice.metadata?.name ?? "",
    endpoints: unpackSlice(slice).map(({ core, labels }) =>
      trimEndpoint({
        metadata: { namespace: shared, name: core.name ?? "" },
        status: {
          identity: { id: core.id ?? 0, ...(labels === undefined ? {} : { labels }) },
          ...(core.networking === undefined ? {} : { networking: core.networking }),
          ...(core["named-ports"] === undefined ? {} : { "named-ports": core["named-ports"] }),
        },
      } as CiliumEndpointObject),
    ),
  };
}

/**
 * The cluster's endpoints from CiliumEndpointSlices as long as an operator keeps these complete, else from CiliumEndpoints. It
 * changes over while everything runs, and neither way is a pod without its identity meanwhile: what is left is kept until what
 * takes its place has been listed.
 */
export class EndpointSource implements Module {
  readonly name = "endpoint-source";
  readonly #client: KubeClient;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #layers: EndpointLayers;
  readonly #slices: ListWatch<CiliumEndpointSlice, SliceOfEndpoints>;
  readonly #meters: Meters;
  readonly #synced = new Deferred<void>();
  #endpoints: ListWatch<CiliumEndpointObject, RemoteEndpoint> | undefined;
  #timer: Timer | undefined;
  #complete = false;
  /** Until the first decision, slices are only kept. */
  #decided = false;
  #stopped = false;
  #health: HealthReporter | undefined;

  constructor(
    around: { client: KubeClient; meters: Meters; log: Logger; clock?: Clock },
    handlers: ListWatchHandlers<RemoteEndpoint>,
  ) {
    this.#client = around.client;
    this.#meters = around.meters;
    this.#log = around.log;
    this.#clock = around.clock ?? systemClock;
    this.#layers = new EndpointLayers(handlers);
    this.#synced.promise.catch(() => undefined);
    this.#slices = new ListWatch(this.#client, resources.ciliumendpointslices, {
      ...{ log: this.#log, maxBackoffMs, trim: trimSlice, pageSize: 50 },
      // Not defined, or not ours to read: there is nothing to wait for.
      onError: () => this.#decide(false),
    });
  }

  /** Resolves when all endpoints that there are have been told of. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Whether slices are what is followed. */
  get followsSlices(): boolean {
    return this.#layers.mode !== "endpoints";
  }

  start(health: HealthReporter): void {
    this.#health = health;
    const handlers: ListWatchHandlers<SliceOfEndpoints> = {
      onAdd: (slice) => this.#slice(slice),
      onUpdate: (slice, before) => this.#slice(slice, before),
      onDelete: (slice) => this.#sliceGone(slice),
      onSynced: () => this.#decide(this.#complete),
    };
    this.#slices.start(metered(handlers, resources.ciliumendpointslices.plural, this.#meters));
    this.#report();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#synced.reject(new AxonError("kube.stopped", "the agent stopped"));
    await Promise.all([this.#slices.stop(), this.#endpoints?.stop()]);
  }

  #slice(slice: SliceOfEndpoints, before?: SliceOfEndpoints): void {
    if (slice.name === completeSlice) {
      this.#complete = true;
      if (this.#decided) this.#toSlices();
    } else if (this.#keepsSlices) this.#layers.slice(slice, before);
  }

  #sliceGone(slice: SliceOfEndpoints): void {
    if (slice.name === completeSlice) {
      this.#complete = false;
      this.#toEndpoints();
      return;
    }
    // Slices that are taken away count until the CiliumEndpoints are there.
    if (this.#keepsSlices && this.#complete) this.#layers.sliceGone(slice);
  }

  get #keepsSlices(): boolean {
    return !this.#decided || this.#layers.mode !== "endpoints";
  }

  #decide(complete: boolean): void {
    if (this.#decided || this.#stopped) return;
    this.#decided = true;
    if (complete) {
      this.#layers.setMode("slices");
      this.#synced.resolve();
    } else {
      // Nobody has been told of slices that are not complete.
      this.#layers.clearSlices();
      this.#follow();
    }
    this.#report();
  }

  /** Somebody keeps slices complete from now on. */
  #toSlices(): void {
    const { store } = this.#slices;
    if (this.#layers.mode === "endpoints") {
      for (const slice of store.values()) if (slice.name !== completeSlice) this.#layers.slice(slice);
      this.#layers.setMode("both");
    } else this.#layers.retainSlices((name) => store.get(name) !== undefined); // it was about to change over
    this.#log.info({}, "CiliumEndpointSlices are complete: following these");
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(settleMs, () => this.#settle());
    this.#report();
  }

  #settle(): void {
    const endpoints = this.#endpoints;
    this.#endpoints = undefined;
    void endpoints?.stop();
    this.#synced.resolve();
    this.#layers.dropDirect("in slices");
    this.#timer = this.#clock.setTimer(lingerMs, () => {
      this.#layers.dropDirect("all");
      this.#layers.setMode("slices");
    });
  }

  /** Nobody does any more. */
  #toEndpoints(): void {
    if (!this.#decided || this.#layers.mode === "endpoints") return;
    this.#timer?.cancel();
    this.#layers.setMode("both");
    this.#log.info({}, "CiliumEndpointSlices are complete no more: following CiliumEndpoints");
    if (this.#endpoints === undefined) this.#follow();
    else if (this.#endpoints.health().synced) this.#listed(this.#endpoints);
  }

  #follow(): void {
    const endpoints = new ListWatch<CiliumEndpointObject, RemoteEndpoint>(this.#client, ciliumEndpoints, {
      ...{ log: this.#log, maxBackoffMs, trim: trimEndpoint },
    });
    this.#endpoints = endpoints;
    const handlers: ListWatchHandlers<RemoteEndpoint> = {
      onAdd: (endpoint) => this.#layers.put(endpoint),
      onUpdate: (endpoint) => this.#layers.put(endpoint),
      onDelete: (endpoint) => this.#layers.remove(endpoint),
      onSynced: () => this.#listed(endpoints),
    };
    endpoints.start(metered(handlers, ciliumEndpoints.plural, this.#meters));
  }

  /** All CiliumEndpoints are known. */
  #listed({ store }: ListWatch<CiliumEndpointObject, RemoteEndpoint>): void {
    this.#layers.retainDirect(
      ({ metadata: { name, namespace } }) => store.get(name, namespace) !== undefined,
    );
    if (!this.#complete) {
      this.#layers.setMode("endpoints");
      this.#layers.clearSlices();
    }
    this.#synced.resolve();
    this.#report();
  }

  #report(): void {
    this.#health?.ok(this.followsSlices ? "following CiliumEndpointSlices" : "following CiliumEndpoints");
  }
}

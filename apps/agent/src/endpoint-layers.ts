import type { ListWatchHandlers } from "@axoneme/kube";
import type { RemoteEndpoint } from "./remote-endpoints.ts";

/** The endpoints of one CiliumEndpointSlice. */
export interface SliceOfEndpoints {
  readonly name: string;
  /** Endpoints that are as before are the objects of before. */
  endpoints: RemoteEndpoint[];
}

/** Which of the two is told of: see {@link EndpointLayers}. */
export type LayerMode = "slices" | "endpoints" | "both";

interface Held {
  readonly slice: string;
  readonly endpoint: RemoteEndpoint;
}

/**
 * Endpoints as CiliumEndpointSlices and as CiliumEndpoints have them, and what is told of them: by mode those of slices, those that
 * stand for themselves, or both, of which what stands for itself is younger. A change of mode tells the differences.
 */
export class EndpointLayers {
  readonly #tell: ListWatchHandlers<RemoteEndpoint>;
  readonly #inSlices = new Map<string, Held>();
  /** Of those that several slices name, as while they are moved: what the others say. */
  readonly #also = new Map<string, Held[]>();
  readonly #direct = new Map<string, RemoteEndpoint>();
  #mode: LayerMode = "endpoints";

  constructor(tell: ListWatchHandlers<RemoteEndpoint>) {
    this.#tell = tell;
  }

  get mode(): LayerMode {
    return this.#mode;
  }

  /** Tells of other layers from now on. */
  setMode(mode: LayerMode): void {
    const keys = new Set([...this.#inSlices.keys(), ...this.#direct.keys()]);
    const before = new Map([...keys].map((key) => [key, this.#effective(key)]));
    this.#mode = mode;
    for (const [key, was] of before) this.#emit(was, this.#effective(key));
  }

  /** A slice is so; `before` is what it was. */
  slice(slice: SliceOfEndpoints, before?: SliceOfEndpoints): void {
    const old = new Map(before?.endpoints.map((endpoint) => [endpoint.key, endpoint]));
    slice.endpoints = slice.endpoints.map((endpoint) => {
      const key = endpoint.key;
      const known = old.get(key);
      old.delete(key);
      if (known !== undefined && sameEndpoint(known, endpoint)) return known;
      this.#change(key, () => this.#hold(key, { slice: slice.name, endpoint }));
      return endpoint;
    });
    for (const key of old.keys()) this.#change(key, () => this.#release(key, slice.name));
  }

  /** A slice is gone. */
  sliceGone({ name, endpoints }: SliceOfEndpoints): void {
    for (const endpoint of endpoints) {
      const key = endpoint.key;
      this.#change(key, () => this.#release(key, name));
    }
  }

  /** An endpoint is so. */
  put(endpoint: RemoteEndpoint): void {
    this.#change(endpoint.key, () => this.#direct.set(endpoint.key, endpoint));
  }

  /** An endpoint is gone. */
  remove(endpoint: RemoteEndpoint): void {
    this.#change(endpoint.key, () => this.#direct.delete(endpoint.key));
  }

  /** Forgets what stands for itself: all of it, or only what slices have too. */
  dropDirect(which: "all" | "in slices"): void {
    for (const [key, endpoint] of this.#direct) {
      if (which === "all" || this.#inSlices.has(key)) this.remove(endpoint);
    }
  }

  /** Forgets what stands for itself and is not there. */
  retainDirect(isThere: (endpoint: RemoteEndpoint) => boolean): void {
    for (const endpoint of this.#direct.values()) if (!isThere(endpoint)) this.remove(endpoint);
  }

  /** Forgets what slices of other names say. */
  retainSlices(isThere: (name: string) => boolean): void {
    for (const [key, held] of this.#inSlices) {
      const gone = [held, ...(this.#also.get(key) ?? [])].filter(({ slice }) => !isThere(slice));
      for (const { slice } of gone) this.#change(key, () => this.#release(key, slice));
    }
  }

  /** Forgets what slices say. */
  clearSlices(): void {
    for (const key of [...this.#inSlices.keys()]) {
      this.#change(key, () => {
        this.#also.delete(key);
        this.#inSlices.delete(key);
      });
    }
  }

  #hold(key: string, held: Held): void {
    const before = this.#inSlices.get(key);
    const others = (this.#also.get(key) ?? []).filter(({ slice }) => slice !== held.slice);
    if (before !== undefined && before.slice !== held.slice) others.push(before);
    if (others.length > 0) this.#also.set(key, others);
    else this.#also.delete(key);
    this.#inSlices.set(key, held);
  }

  #release(key: string, slice: string): void {
    const others = (this.#also.get(key) ?? []).filter((held) => held.slice !== slice);
    if (this.#inSlices.get(key)?.slice === slice) {
      const next = others.pop();
      if (next === undefined) this.#inSlices.delete(key);
      else this.#inSlices.set(key, next);
    }
    if (others.length > 0) this.#also.set(key, others);
    else this.#also.delete(key);
  }

  #effective(key: string): RemoteEndpoint | undefined {
    const direct = this.#direct.get(key);
    const inSlice = this.#inSlices.get(key)?.endpoint;
    if (this.#mode === "both") return direct ?? inSlice;
    return this.#mode === "slices" ? inSlice : direct;
  }

  #change(key: string, make: () => unknown): void {
    const before = this.#effective(key);
    make();
    this.#emit(before, this.#effective(key));
  }

  #emit(before: RemoteEndpoint | undefined, now: RemoteEndpoint | undefined): void {
    if (before === now) return;
    if (now === undefined) {
      if (before !== undefined) this.#tell.onDelete?.(before);
    } else if (before === undefined) this.#tell.onAdd?.(now);
    else if (!sameEndpoint(before, now)) this.#tell.onUpdate?.(now, before);
  }
}

function sameEndpoint(a: RemoteEndpoint, b: RemoteEndpoint): boolean {
  return (
    a.identity === b.identity &&
    a.node === b.node &&
    sameList(a.ips, b.ips) &&
    sameList(a.labels, b.labels) &&
    JSON.stringify(a.namedPorts) === JSON.stringify(b.namedPorts)
  );
}

function sameList(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((text, i) => text === b[i]);
}

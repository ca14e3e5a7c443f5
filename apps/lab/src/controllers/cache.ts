import type { Logger } from "@axoneme/base";
import { type KubeObject as ApiObject, type KubeClient, ListWatch, type Resource } from "@axoneme/kube";
import { type KubeObject, keyOf, meta, timestamp, uidOf } from "./objects.ts";

/** A change of one object, with apiVersion and kind set. */
export interface CacheEvent {
  type: "add" | "update" | "delete";
  resource: Resource<ApiObject>;
  object: KubeObject;
  previous?: KubeObject;
}

/**
 * The local copy of one resource. Beyond what the watch has told it, it knows what we wrote ourselves: a
 * controller that looks right after its own write must see it, or it would create the same pods twice.
 */
export class ResourceCache {
  readonly resource: Resource<ApiObject>;
  readonly #watch: ListWatch<ApiObject>;
  readonly #objects = new Map<string, KubeObject>();
  readonly #byNamespace = new Map<string, Map<string, KubeObject>>();
  readonly #apiVersion: string;

  constructor(client: KubeClient, resource: Resource<ApiObject>, log: Logger) {
    this.resource = resource;
    this.#apiVersion = resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
    this.#watch = new ListWatch(client, resource, { log });
  }

  async start(onEvent: (event: CacheEvent) => void): Promise<void> {
    const typed = (object: ApiObject): KubeObject => ({
      apiVersion: this.#apiVersion,
      kind: this.resource.kind,
      ...object,
    });
    this.#watch.start({
      onAdd: (object) => {
        const full = typed(object);
        const previous = this.#objects.get(keyOf(full));
        this.#take(full);
        onEvent({
          type: "add",
          resource: this.resource,
          object: full,
          ...(previous === undefined ? {} : { previous }),
        });
      },
      onUpdate: (object, previous) => {
        const full = typed(object);
        this.#take(full);
        onEvent({ type: "update", resource: this.resource, object: full, previous: typed(previous) });
      },
      onDelete: (object) => {
        const full = typed(object);
        if (uidOf(this.#objects.get(keyOf(full)) ?? full) === uidOf(full)) this.#drop(full);
        onEvent({ type: "delete", resource: this.resource, object: full });
      },
    });
    await this.#watch.synced;
  }

  async stop(): Promise<void> {
    await this.#watch.stop();
  }

  get(key: string): KubeObject | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<KubeObject> {
    return this.#objects.values();
  }

  in(namespace: string | undefined): Iterable<KubeObject> {
    if (namespace === undefined) return this.#objects.values();
    return this.#byNamespace.get(namespace)?.values() ?? [];
  }

  /** Takes an object the server returned to a write of ours. */
  observe(object: KubeObject): void {
    const known = this.#objects.get(keyOf(object));
    if (known !== undefined && version(known) >= version(object)) return;
    this.#put({ apiVersion: this.#apiVersion, kind: this.resource.kind, ...object });
  }

  /** After a delete of ours was accepted: until the watch says more, the object counts as being deleted. */
  observeDelete(key: string): void {
    const known = this.#objects.get(key);
    if (known === undefined || meta(known).deletionTimestamp !== undefined) return;
    this.#put({ ...known, metadata: { ...known.metadata, deletionTimestamp: timestamp(Date.now()) } });
  }

  /** After a binding of ours was accepted: until the watch says more, the pod counts as placed. */
  observeBinding(key: string, node: string): void {
    const known = this.#objects.get(key) as (KubeObject & { spec?: object }) | undefined;
    if (known === undefined) return;
    const placed: KubeObject & { spec: object } = { ...known, spec: { ...known.spec, nodeName: node } };
    this.#put(placed);
  }

  #take(object: KubeObject): void {
    const known = this.#objects.get(keyOf(object));
    // What we wrote may be newer than what the watch has reached so far.
    if (known !== undefined && uidOf(known) === uidOf(object) && version(known) > version(object)) return;
    this.#put(object);
  }

  #put(object: KubeObject): void {
    const key = keyOf(object);
    this.#objects.set(key, object);
    const namespace = meta(object).namespace;
    if (namespace === undefined) return;
    const group = this.#byNamespace.get(namespace) ?? new Map<string, KubeObject>();
    group.set(key, object);
    this.#byNamespace.set(namespace, group);
  }

  #drop(object: KubeObject): void {
    const key = keyOf(object);
    this.#objects.delete(key);
    const namespace = meta(object).namespace ?? "";
    const group = this.#byNamespace.get(namespace);
    group?.delete(key);
    if (group?.size === 0) this.#byNamespace.delete(namespace);
  }
}

function version(object: KubeObject): number {
  return Number(meta(object).resourceVersion ?? 0);
}

/** The caches of all resources the server has, found by discovery; new CRDs are taken up as they come. */
export class Caches {
  readonly #client: KubeClient;
  readonly #log: Logger;
  readonly #caches = new Map<string, ResourceCache>();
  readonly #onEvent: (event: CacheEvent) => void;

  constructor(client: KubeClient, log: Logger, onEvent: (event: CacheEvent) => void) {
    this.#client = client;
    this.#log = log;
    this.#onEvent = onEvent;
  }

  /** Starts caches for resources that have none yet, and resolves when they are filled. */
  async discover(): Promise<void> {
    this.#client.discovery.forget();
    const found: Resource<ApiObject>[] = [];
    for (const apiVersion of await this.#client.discovery.groupVersions()) {
      const [first = "", second] = apiVersion.split("/");
      for (const row of await this.#client.discovery.resources(apiVersion)) {
        if (!row.verbs.includes("list") || !row.verbs.includes("watch") || ignored.has(row.name)) continue;
        const group = second === undefined ? "" : first;
        const resource = {
          group,
          version: second ?? first,
          plural: row.name,
          kind: row.kind,
          namespaced: row.namespaced,
        };
        if (!this.#caches.has(`${group}/${row.name}`)) found.push(resource);
      }
    }
    await Promise.all(
      found.map(async (resource) => {
        const key = `${resource.group}/${resource.plural}`;
        if (this.#caches.has(key)) return;
        const cache = new ResourceCache(this.#client, resource, this.#log);
        this.#caches.set(key, cache);
        await cache.start(this.#onEvent);
      }),
    );
  }

  /** A built-in resource's cache; `group` "" for the core. */
  of(group: string, plural: string): ResourceCache | undefined {
    return this.#caches.get(`${group}/${plural}`);
  }

  byKind(apiVersion: string, kind: string): ResourceCache | undefined {
    const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
    for (const cache of this.#caches.values()) {
      if (cache.resource.kind === kind && cache.resource.group === group) return cache;
    }
    return undefined;
  }

  all(): Iterable<ResourceCache> {
    return this.#caches.values();
  }

  /** Forgets a resource whose CRD is gone. */
  async drop(group: string, plural: string): Promise<void> {
    const key = `${group}/${plural}`;
    const cache = this.#caches.get(key);
    this.#caches.delete(key);
    await cache?.stop();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#caches.values()].map((cache) => cache.stop()));
  }
}

/** Too many, owned by nobody, and of no use to a controller; `events` of events.k8s.io are the same objects. */
const ignored = new Set(["events", "componentstatuses"]);

import type { Clock, Logger } from "@axoneme/base";
import type { KubeClient } from "@axoneme/kube";
import type { OwnerReference } from "kubernetes-types/meta/v1";
import type { CacheEvent, Caches, ResourceCache } from "./cache.ts";
import type { ActionExecutor } from "./executor.ts";
import { type OwnerState, reconcileDependent, reconcileOwner } from "./garbage.ts";
import { isDeleting, type KubeObject, keyOf, meta, uidOf } from "./objects.ts";
import { WorkQueue } from "./queue.ts";

interface Place {
  cache: string;
  key: string;
}

export interface GarbageCollectorOptions {
  client: KubeClient;
  caches: Caches;
  executor: ActionExecutor;
  clock: Clock;
  log: Logger;
}

/** Removes what has lost its owners, and serves the deletion policies Foreground and Orphan. */
export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;
  readonly #places = new Map<string, Place>();
  /** Owner uid to the uids of its dependents. */
  readonly #dependents = new Map<string, Set<string>>();
  /** Owners known for certain not to exist. */
  readonly #absent = new Set<string>();
  readonly #queue: WorkQueue;

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#queue = new WorkQueue({
      name: "GarbageCollector",
      clock,
      log,
      parallel: 8,
      run: (uid) => this.#run(uid),
    });
  }

  stop(): void {
    this.#queue.stop();
  }

  /** Keeps the graph; called for every change, also before the caches are complete. */
  observe({ type, object, resource, previous }: CacheEvent): void {
    const uid = uidOf(object);
    for (const owner of meta(previous ?? {}).ownerReferences ?? [])
      this.#dependents.get(owner.uid)?.delete(uid);
    if (type === "delete") {
      this.#places.delete(uid);
      for (const owner of meta(object).ownerReferences ?? []) this.#unlink(owner.uid, uid);
      if (this.#absent.size > 10_000) this.#absent.clear();
      this.#absent.add(uid);
      return;
    }
    this.#places.set(uid, { cache: `${resource.group}/${resource.plural}`, key: keyOf(object) });
    for (const owner of meta(object).ownerReferences ?? []) {
      const group = this.#dependents.get(owner.uid) ?? new Set<string>();
      group.add(uid);
      this.#dependents.set(owner.uid, group);
    }
  }

  /** Decides what a change makes worth looking at. */
  enqueue({ type, object }: CacheEvent): void {
    const uid = uidOf(object);
    if (type === "delete") {
      for (const dependent of this.#dependents.get(uid) ?? []) this.#queue.add(dependent);
      for (const owner of meta(object).ownerReferences ?? [])
        if (this.#waits(owner)) this.#queue.add(owner.uid);
      return;
    }
    if ((meta(object).ownerReferences ?? []).length > 0) this.#queue.add(uid);
    if (!isDeleting(object)) return;
    const finalizers = meta(object).finalizers ?? [];
    if (!finalizers.includes("foregroundDeletion") && !finalizers.includes("orphan")) return;
    this.#queue.add(uid);
    if (finalizers.includes("foregroundDeletion")) {
      for (const dependent of this.#dependents.get(uid) ?? []) this.#queue.add(dependent);
    }
  }

  #unlink(owner: string, dependent: string): void {
    const group = this.#dependents.get(owner);
    group?.delete(dependent);
    if (group?.size === 0) this.#dependents.delete(owner);
  }

  #find(uid: string): KubeObject | undefined {
    const place = this.#places.get(uid);
    if (place === undefined) return undefined;
    const [group = "", plural = ""] = place.cache.split("/");
    const object = this.#cacheOf(group, plural)?.get(place.key);
    return object !== undefined && uidOf(object) === uid ? object : undefined;
  }

  #cacheOf(group: string, plural: string): ResourceCache | undefined {
    return this.#options.caches.of(group, plural);
  }

  #waits(owner: OwnerReference): boolean {
    const object = this.#find(owner.uid);
    return object !== undefined && isDeleting(object);
  }

  async #run(uid: string): Promise<{ againMs?: number }> {
    const object = this.#find(uid);
    if (object === undefined) return {};
    const dependents = [...(this.#dependents.get(uid) ?? [])].flatMap(
      (dependent) => this.#find(dependent) ?? [],
    );
    const states = new Map<string, OwnerState>();
    for (const owner of meta(object).ownerReferences ?? []) {
      states.set(owner.uid, await this.#ownerState(owner, meta(object).namespace));
    }
    const { executor } = this.#options;
    return executor.run([
      ...reconcileOwner({ owner: object, dependents }),
      ...reconcileDependent({ object, ownerState: (owner) => states.get(owner.uid) ?? "present" }),
    ]);
  }

  async #ownerState(owner: OwnerReference, namespace: string | undefined): Promise<OwnerState> {
    if (this.#absent.has(owner.uid)) return "absent";
    const known = this.#find(owner.uid);
    if (known !== undefined) {
      const foreground = (meta(known).finalizers ?? []).includes("foregroundDeletion");
      return isDeleting(known) && foreground ? "waiting" : "present";
    }
    // Not in a cache: only the server can say that it does not exist. A kind it does not serve proves nothing.
    const cache = this.#options.caches.byKind(owner.apiVersion, owner.kind);
    if (cache === undefined) return "present";
    const scope = cache.resource.namespaced ? { namespace } : {};
    const found = await this.#options.client.resource(cache.resource).find(owner.name, scope);
    if (found !== undefined && uidOf(found) === owner.uid) return "present";
    this.#absent.add(owner.uid);
    return "absent";
  }
}

import { AxonError } from "@axoneme/base";
import {
  type KubeObject as ApiObject,
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  type Resource,
  resourcePath,
} from "@axoneme/kube";
import type { Action, ObjectRef } from "./action.ts";
import type { Caches, ResourceCache } from "./cache.ts";
import type { EventRecorder } from "./eventrecorder.ts";
import { joinKey, nameOf } from "./objects.ts";

/** How many pods one reconcile creates or deletes at the same time. */
const width = 16;

/** Carries out actions through the API and tells the caches what came of them. */
export class ActionExecutor {
  readonly #client: KubeClient;
  readonly #caches: Caches;
  readonly #events: EventRecorder;

  constructor(client: KubeClient, caches: Caches, events: EventRecorder) {
    this.#client = client;
    this.#caches = caches;
    this.#events = events;
  }

  /** In order, equal verbs side by side; returns the soonest "again". Throws what the first failure threw. */
  async run(actions: readonly Action[]): Promise<{ againMs?: number }> {
    let againMs: number | undefined;
    for (let i = 0; i < actions.length; ) {
      const verb = actions[i]?.verb;
      let end = i + 1;
      while (end < actions.length && end - i < width && actions[end]?.verb === verb && isIndependent(verb))
        end++;
      await Promise.all(actions.slice(i, end).map((action) => this.#one(action)));
      i = end;
    }
    for (const action of actions) {
      if (action.verb === "again") againMs = Math.min(againMs ?? Number.POSITIVE_INFINITY, action.afterMs);
    }
    return againMs === undefined ? {} : { againMs };
  }

  async #one(action: Action): Promise<void> {
    switch (action.verb) {
      case "create":
        return this.#create(action.object);
      case "patch":
        return this.#patch(action);
      case "delete":
        return this.#delete(action);
      case "bind":
        return this.#bind(action.ref, action.node);
      case "event":
        this.#events.record(action.about, action.type, action.reason, action.message);
        return;
      case "again":
        return;
    }
  }

  async #cache(ref: {
    apiVersion: string;
    kind: string;
  }): Promise<{ resource: Resource<ApiObject>; cache: ResourceCache | undefined }> {
    const cache = this.#caches.byKind(ref.apiVersion, ref.kind);
    const resource = cache?.resource ?? (await this.#client.discovery.kind(ref.apiVersion, ref.kind));
    return { resource, cache };
  }

  async #create(object: Extract<Action, { verb: "create" }>["object"]): Promise<void> {
    const { resource, cache } = await this.#cache({
      apiVersion: object.apiVersion ?? "",
      kind: object.kind ?? "",
    });
    try {
      cache?.observe(await this.#client.resource(resource).create(object));
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      // The cache lags behind what exists; the watch will bring it, and the key back.
      throw new AxonError("lab.lag", `${object.kind} ${nameOf(object)} exists already`, { cause: error });
    }
  }

  async #patch({ ref, patch, subresource }: Extract<Action, { verb: "patch" }>): Promise<void> {
    const { resource, cache } = await this.#cache(ref);
    const options = { namespace: ref.namespace, ...(subresource === undefined ? {} : { subresource }) };
    try {
      cache?.observe(await this.#client.resource(resource).patch(ref.name, patch, options));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async #delete(action: Extract<Action, { verb: "delete" }>): Promise<void> {
    const { ref, gracePeriodSeconds, propagationPolicy } = action;
    const { resource, cache } = await this.#cache(ref);
    const options = {
      namespace: ref.namespace,
      ...(ref.uid === undefined ? {} : { preconditions: { uid: ref.uid } }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
      propagationPolicy: propagationPolicy ?? "Background",
    } as const;
    try {
      const found = await this.#client.resource(resource).deleteIfExists(ref.name, options);
      if (found) cache?.observeDelete(joinKey(ref.namespace, ref.name));
    } catch (error) {
      // Another incarnation has taken the name: the one meant is gone.
      if (!isConflict(error)) throw error;
    }
  }

  async #bind(ref: ObjectRef, node: string): Promise<void> {
    const { resource, cache } = await this.#cache(ref);
    const path = resourcePath(resource, ref.namespace, ref.name, "binding");
    const body = {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name: ref.name, namespace: ref.namespace, uid: ref.uid },
      target: { apiVersion: "v1", kind: "Node", name: node },
    };
    try {
      await this.#client.call({
        method: "POST",
        path,
        body,
        verb: "bind",
        object: `pod ${ref.namespace}/${ref.name}`,
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
    cache?.observeBinding(joinKey(ref.namespace, ref.name), node);
  }
}

function isIndependent(verb: Action["verb"] | undefined): boolean {
  return verb === "create" || verb === "delete" || verb === "bind" || verb === "event";
}

import type { DeleteOptions, ListMeta } from "kubernetes-types/meta/v1";
import { type Caller, type CallOptions, misuse, type Query, type Selectors } from "./call.ts";
import { isGone, isNotFound } from "./errors.ts";
import { apiVersionOf, type KubeObject, type Resource, resourceName, resourcePath } from "./resources.ts";
import { streamWatch, type WatchOptions } from "./watch.ts";

/** Where a named object is; for objects given whole, their own metadata.namespace wins. */
export interface ObjectOptions extends CallOptions {
  namespace?: string | undefined;
}

export interface WriteOptions extends ObjectOptions {
  fieldManager?: string;
  dryRun?: boolean;
  /** Write this subresource in place of the object ("status", "scale"). */
  subresource?: string;
}

export interface ApplyOptions extends WriteOptions {
  /** Who owns the fields. Required by the server. */
  fieldManager: string;
  /** Take fields over from other managers instead of failing with a conflict. */
  force?: boolean;
}

export interface PatchOptions extends WriteOptions {
  /** Default "merge" (RFC 7386); "json" is RFC 6902; "strategic" works for built-in kinds only. */
  type?: "merge" | "json" | "strategic";
}

export interface RemoveOptions extends ObjectOptions {
  propagationPolicy?: "Orphan" | "Background" | "Foreground";
  gracePeriodSeconds?: number;
  /** Delete only this very object (uid), or only if unchanged (resourceVersion); else a conflict. */
  preconditions?: { uid?: string; resourceVersion?: string };
  dryRun?: boolean;
}

export interface ListOptions extends CallOptions, Selectors {
  /** Objects a page (default 500). */
  limit?: number | undefined;
  resourceVersion?: string | undefined;
  resourceVersionMatch?: "Exact" | "NotOlderThan" | undefined;
  /** Called with each page's objects in place of collecting them: `items` of the result is then empty. */
  onPage?: ((items: unknown[]) => void) | undefined;
  /** Called when an expired continue token makes the list start over: forget the pages seen. */
  onRestart?: (() => void) | undefined;
}

export interface List<T> {
  items: T[];
  /** The collection's state that the list shows: watch from here. */
  resourceVersion: string;
}

interface ListBody<T> {
  metadata?: ListMeta;
  items?: T[] | null;
}

const patchTypes = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

/** How often a list starts over because its continue token expired. */
const maxListRestarts = 5;

/** Verbs on one resource. Every method throws KubeError, or `kube.misuse` for a call that cannot be sent. */
export class ResourceClient<T extends KubeObject> {
  readonly resource: Resource<T>;
  readonly #client: Caller;

  constructor(client: Caller, resource: Resource<T>) {
    this.#client = client;
    this.resource = resource;
  }

  async get(name: string, options: ObjectOptions & { subresource?: string } = {}): Promise<T> {
    const { path, object } = this.#target(name, options.namespace, options.subresource);
    return this.#client.call<T>({ path, object, verb: "get", ...rest(options) });
  }

  /** Like get; undefined where there is none. */
  async find(name: string, options: ObjectOptions = {}): Promise<T | undefined> {
    try {
      return await this.get(name, options);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** All objects, page by page; starts over when the server drops the continue token meanwhile. */
  async list(options: ListOptions = {}): Promise<List<T>> {
    for (let restarts = 0; ; restarts++) {
      try {
        return await this.#listOnce(options);
      } catch (error) {
        const restartable =
          isGone(error) && options.resourceVersion === undefined && restarts < maxListRestarts;
        if (!restartable) throw error;
        options.onRestart?.();
      }
    }
  }

  async create(object: T, options: WriteOptions = {}): Promise<T> {
    const namespace = object.metadata?.namespace ?? options.namespace;
    const name = object.metadata?.name ?? object.metadata?.generateName ?? "";
    const path = this.#collectionPath(
      namespace,
      options.subresource === undefined ? undefined : name,
      options,
    );
    const call = {
      path,
      object: this.#title(name, namespace),
      query: writeQuery(options),
      body: this.#typed(object),
    };
    return this.#client.call<T>({ ...call, method: "POST", verb: "create", ...rest(options) });
  }

  /** Replaces the object; metadata.resourceVersion, if set, must be the current one (else a conflict). */
  async update(object: T, options: WriteOptions = {}): Promise<T> {
    const target = this.#targetOf(object, options);
    const call = { ...target, query: writeQuery(options), body: this.#typed(object) };
    return this.#client.call<T>({ ...call, method: "PUT", verb: "update", ...rest(options) });
  }

  /** Replaces the status only. */
  async updateStatus(object: T, options: WriteOptions = {}): Promise<T> {
    return this.update(object, { ...options, subresource: "status" });
  }

  async patch(name: string, patch: unknown, options: PatchOptions = {}): Promise<T> {
    const target = this.#target(name, options.namespace, options.subresource);
    const contentType = patchTypes[options.type ?? "merge"];
    const call = { ...target, query: writeQuery(options), body: patch, contentType };
    return this.#client.call<T>({ ...call, method: "PATCH", verb: "patch", ...rest(options) });
  }

  /** Server-side apply: creates the object, or sets just the fields given, as their owner. */
  async apply(object: T, options: ApplyOptions): Promise<T> {
    const target = this.#targetOf(object, options);
    const query = { ...writeQuery(options), force: options.force === true ? true : undefined };
    const call = { ...target, query, body: this.#typed(object), contentType: "application/apply-patch+yaml" };
    return this.#client.call<T>({ ...call, method: "PATCH", verb: "apply", ...rest(options) });
  }

  async applyStatus(object: T, options: ApplyOptions): Promise<T> {
    return this.apply(object, { ...options, subresource: "status" });
  }

  /** Deletes; resolves when the server accepted it (finalizers may keep the object for a while). */
  async delete(name: string, options: RemoveOptions = {}): Promise<void> {
    const { path, object } = this.#target(name, options.namespace);
    await this.#client.callText({
      path,
      object,
      method: "DELETE",
      verb: "delete",
      body: deleteBody(options),
      ...rest(options),
    });
  }

  /** Like delete; false where there is none. */
  async deleteIfExists(name: string, options: RemoveOptions = {}): Promise<boolean> {
    try {
      await this.delete(name, options);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** Deletes all that the selectors match. */
  async deleteCollection(options: Selectors & RemoveOptions = {}): Promise<void> {
    const path = resourcePath(this.resource, this.#scope(options.namespace));
    const { labelSelector, fieldSelector } = options;
    const call = {
      path,
      object: this.#title(undefined, options.namespace),
      query: { labelSelector, fieldSelector },
    };
    const verb = "deletecollection";
    await this.#client.callText({
      ...call,
      method: "DELETE",
      verb,
      body: deleteBody(options),
      ...rest(options),
    });
  }

  /**
   * One raw watch: calls `options.onEvent` for each event in order; resolves when the server ends the stream.
   * Nothing is retried; {@link ListWatch} is what programs want.
   */
  async watch(options: WatchOptions<T>): Promise<void> {
    const path = resourcePath(this.resource, this.#scope(options.namespace));
    await streamWatch(this.#client, path, this.#title(undefined, options.namespace), options);
  }

  async #listOnce(options: ListOptions): Promise<List<T>> {
    const path = resourcePath(this.resource, this.#scope(options.namespace));
    const object = this.#title(undefined, options.namespace);
    const {
      labelSelector,
      fieldSelector,
      limit = 500,
      resourceVersion,
      resourceVersionMatch,
      onPage,
    } = options;
    const items: T[] = [];
    let next: string | undefined;
    let version = "";
    do {
      // The server takes resourceVersion with the first page only; the token carries it on.
      const first = next === undefined ? { resourceVersion, resourceVersionMatch } : {};
      const query = { labelSelector, fieldSelector, limit, continue: next, ...first };
      const page = await this.#client.call<ListBody<T>>({
        path,
        object,
        query,
        verb: "list",
        ...rest(options),
      });
      const typed = (page.items ?? []).map((item) => this.#typed(item));
      if (onPage) onPage(typed);
      else for (const item of typed) items.push(item);
      version = page.metadata?.resourceVersion ?? version;
      next = page.metadata?.continue || undefined;
    } while (next !== undefined);
    return { items, resourceVersion: version };
  }

  /** Items of lists come without apiVersion and kind; requests must have them. */
  #typed(object: T): T {
    if (object.kind !== undefined && object.apiVersion !== undefined) return object;
    return { apiVersion: apiVersionOf(this.resource), kind: this.resource.kind, ...object };
  }

  #targetOf(object: T, options: WriteOptions): { path: string; object: string } {
    const name = object.metadata?.name;
    if (!name) throw misuse(`a ${this.resource.kind} without metadata.name cannot be written`);
    return this.#target(name, object.metadata?.namespace ?? options.namespace, options.subresource);
  }

  #target(
    name: string,
    namespace: string | undefined,
    subresource?: string,
  ): { path: string; object: string } {
    // An empty name would address the whole collection: fatal with delete.
    if (name === "") throw misuse(`an empty name is no ${this.resource.kind}`);
    const path = resourcePath(this.resource, this.#required(namespace, name), name, subresource);
    const title = this.#title(name, namespace);
    return { path, object: subresource === undefined ? title : `${subresource} of ${title}` };
  }

  #collectionPath(namespace: string | undefined, name: string | undefined, options: WriteOptions): string {
    return resourcePath(this.resource, this.#required(namespace, name ?? ""), name, options.subresource);
  }

  #required(namespace: string | undefined, name: string): string | undefined {
    const scope = this.#scope(namespace);
    if (this.resource.namespaced && !scope) {
      throw misuse(`${resourceName(this.resource)} "${name}" needs a namespace`);
    }
    return scope;
  }

  #scope(namespace: string | undefined): string | undefined {
    return this.resource.namespaced && namespace !== "" ? namespace : undefined;
  }

  #title(name: string | undefined, namespace: string | undefined): string {
    const path = [this.#scope(namespace), name].filter((part) => part !== undefined && part !== "");
    return [resourceName(this.resource), path.join("/")].filter((part) => part !== "").join(" ");
  }
}

function rest(options: CallOptions): CallOptions {
  return { signal: options.signal, deadlineMs: options.deadlineMs };
}

function writeQuery(options: WriteOptions): Query {
  return { fieldManager: options.fieldManager, dryRun: options.dryRun ? "All" : undefined };
}

function deleteBody(options: RemoveOptions): DeleteOptions {
  const { propagationPolicy, gracePeriodSeconds, preconditions, dryRun } = options;
  return {
    apiVersion: "v1",
    kind: "DeleteOptions",
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(preconditions === undefined ? {} : { preconditions }),
    ...(dryRun ? { dryRun: ["All"] } : {}),
  };
}

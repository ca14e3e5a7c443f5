import type { Cluster } from "../cluster.ts";
import { methodNotAllowed, noSuchResource } from "../errors.ts";
import { type Resource, readObject } from "../operations/prepare.ts";
import { deleteOptions, remove } from "../operations/remove.ts";
import { create, requireObject } from "../operations/write.ts";
import { bucketName } from "../resources/resource.ts";
import { type Exchange, readDocument, sendJson, writeOptionsOf } from "./exchange.ts";
import { encodeList, negotiate } from "./format.ts";
import type { Lister } from "./list.ts";
import { selectorOf } from "./list.ts";
import { replaceObject, sendDeleted, sendObject } from "./objects.ts";
import { patchObject } from "./patch.ts";
import type { RequestInfo } from "./request.ts";
import { subresource } from "./subresources.ts";
import { Watch } from "./watch.ts";

/** Serves everything below a resource's URL. */
export class ResourceRoutes {
  readonly #cluster: Cluster;
  readonly #lister: Lister;

  constructor(cluster: Cluster, lister: Lister) {
    this.#cluster = cluster;
    this.#lister = lister;
  }

  async serve(exchange: Exchange, info: RequestInfo): Promise<void> {
    const resource = this.#cluster.registry.find(info.group, info.version, info.resource);
    if (resource === undefined) throw noSuchResource();
    if (!resource.type.namespaced && info.namespace !== "") throw noSuchResource();
    if (info.subresource !== "") {
      await subresource(this.#cluster, exchange, info, resource);
      return;
    }
    const method = exchange.request.method ?? "GET";
    if (info.name === "") await this.#collection(method, exchange, info, resource);
    else await this.#object(method, exchange, info, resource);
  }

  async #collection(
    method: string,
    exchange: Exchange,
    info: RequestInfo,
    resource: Resource,
  ): Promise<void> {
    if (method === "GET" || method === "HEAD") {
      if (info.watch) this.#watch(exchange, info, resource, "");
      else this.#list(exchange, info, resource);
    } else if (method === "POST") {
      await this.#create(exchange, info, resource);
    } else if (method === "DELETE") {
      await this.#deleteCollection(exchange, info, resource);
    } else {
      throw methodNotAllowed();
    }
  }

  async #object(method: string, exchange: Exchange, info: RequestInfo, resource: Resource): Promise<void> {
    if (resource.type.namespaced && info.namespace === "") throw noSuchResource();
    if (method === "GET" || method === "HEAD") {
      if (info.watch) this.#watch(exchange, info, resource, info.name);
      else this.#get(exchange, info, resource);
    } else if (method === "PUT") {
      await replaceObject(this.#cluster, exchange, info, resource, "");
    } else if (method === "PATCH") {
      await patchObject(this.#cluster, exchange, info, resource, "");
    } else if (method === "DELETE") {
      await this.#delete(exchange, info, resource);
    } else {
      throw methodNotAllowed();
    }
  }

  #watch(exchange: Exchange, info: RequestInfo, resource: Resource, name: string): void {
    const format = negotiate(exchange.request.headers.accept ?? "", exchange.query);
    new Watch(this.#cluster, exchange, resource, info.namespace, name, format).run();
  }

  #list(exchange: Exchange, info: RequestInfo, resource: Resource): void {
    const format = negotiate(exchange.request.headers.accept ?? "", exchange.query);
    const page = this.#lister.list(resource, info.namespace, exchange.query);
    sendJson(exchange, 200, encodeList(page.entries, page.metadata, resource, format, this.#cluster));
  }

  #get(exchange: Exchange, info: RequestInfo, resource: Resource): void {
    const object = requireObject(this.#cluster, resource, info.namespace, info.name);
    sendObject(this.#cluster, exchange, 200, object, resource);
  }

  async #create(exchange: Exchange, info: RequestInfo, resource: Resource): Promise<void> {
    if (resource.type.namespaced && info.namespace === "") throw methodNotAllowed();
    const body = await readDocument(exchange.request);
    const object = readObject(body, resource, info.namespace);
    const created = create(this.#cluster, resource, object, writeOptionsOf(exchange));
    sendObject(this.#cluster, exchange, 201, created, resource);
  }

  async #delete(exchange: Exchange, info: RequestInfo, resource: Resource): Promise<void> {
    const options = deleteOptions(await readDocument(exchange.request), exchange.query);
    const object = requireObject(this.#cluster, resource, info.namespace, info.name);
    const deleted = remove(this.#cluster, resource, object, options);
    sendDeleted(this.#cluster, exchange, deleted, resource);
  }

  async #deleteCollection(exchange: Exchange, info: RequestInfo, resource: Resource): Promise<void> {
    const options = deleteOptions(await readDocument(exchange.request), exchange.query);
    if (resource.type.namespaced && info.namespace === "") throw methodNotAllowed();
    const prefix = info.namespace === "" ? "" : `${info.namespace}/`;
    const selected = selectorOf(exchange.query, resource);
    const entries = [...this.#cluster.store.bucket(bucketName(resource.type)).entries(prefix)].filter(
      (entry) => selected === undefined || selected(entry.object),
    );
    for (const entry of entries) remove(this.#cluster, resource, entry.object, options);
    const format = negotiate(exchange.request.headers.accept ?? "", exchange.query);
    const metadata = { resourceVersion: String(this.#cluster.store.revision) };
    sendJson(exchange, 200, encodeList(entries, metadata, resource, format, this.#cluster));
  }
}

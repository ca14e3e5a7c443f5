import type { Cluster } from "../cluster.ts";
import { badRequest } from "../errors.ts";
import type { KubeObject } from "../object.ts";
import { type Resource, readObject } from "../operations/prepare.ts";
import type { Deleted } from "../operations/remove.ts";
import { type Part, requireObject, update } from "../operations/write.ts";
import { type Exchange, readDocument, sendJson, writeOptionsOf } from "./exchange.ts";
import { encodeObject, negotiate } from "./format.ts";
import type { RequestInfo } from "./request.ts";

/** Sends one object in the form the client asked for. */
export function sendObject(
  cluster: Cluster,
  exchange: Exchange,
  status: number,
  object: KubeObject,
  resource: Resource,
): void {
  const format = negotiate(exchange.request.headers.accept ?? "", exchange.query);
  sendJson(exchange, status, encodeObject(object, undefined, resource, format, cluster));
}

/** Sends what became of a deletion. */
export function sendDeleted(
  cluster: Cluster,
  exchange: Exchange,
  { object, gone }: Deleted,
  resource: Resource,
): void {
  const { type } = resource;
  // Pods and what is still there are returned; of the rest only that it is gone.
  if (!gone || type.plural === "pods") {
    sendObject(cluster, exchange, 200, object, resource);
    return;
  }
  sendJson(exchange, 200, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { name: object.metadata.name, group: type.group, kind: type.plural, uid: object.metadata.uid },
  });
}

/** PUT of the object or of one of its parts. */
export async function replaceObject(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
  part: Part,
): Promise<void> {
  const object = readObject(await readDocument(exchange.request), resource, info.namespace);
  if (object.metadata.name !== info.name) {
    if (object.metadata.name !== undefined && object.metadata.name !== "") {
      throw badRequest(
        `the name of the object (${object.metadata.name}) does not match the name on the URL (${info.name})`,
      );
    }
    object.metadata.name = info.name;
  }
  const old = requireObject(cluster, resource, info.namespace, info.name);
  const updated = update(cluster, resource, object, old, writeOptionsOf(exchange), part);
  sendObject(cluster, exchange, 200, updated, resource);
}

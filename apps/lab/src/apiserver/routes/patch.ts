import { serverSideApply } from "../apply/apply.ts";
import { fieldsOf, isEmpty } from "../apply/fieldset.ts";
import type { Author } from "../apply/managed.ts";
import { makeEntry, tracked } from "../apply/managed.ts";
import type { Cluster } from "../cluster.ts";
import { badRequest, notFound, unsupportedMediaType } from "../errors.ts";
import { clone, isObject, type KubeObject } from "../object.ts";
import {
  complete,
  copyOf,
  dropUnknown,
  inVersion,
  type Resource,
  readObject,
  requireNamespace,
} from "../operations/prepare.ts";
import { create, type Part, requireObject, update } from "../operations/write.ts";
import { jsonPatch } from "../patch/json-patch.ts";
import { mergePatch } from "../patch/merge-patch.ts";
import { strategicMerge } from "../patch/strategic.ts";
import { bucketName, groupVersion, objectKey } from "../resources/resource.ts";
import { type Exchange, mediaType, parseDocument, readBody, writeOptionsOf } from "./exchange.ts";
import { sendObject } from "./objects.ts";
import type { RequestInfo } from "./request.ts";

const json = "application/json-patch+json";
const merge = "application/merge-patch+json";
const strategic = "application/strategic-merge-patch+json";
const apply = "application/apply-patch+yaml";

/** The patch types a resource takes. */
export function patchTypes(builtin: boolean): string[] {
  return builtin ? [json, merge, strategic, apply] : [json, merge, apply];
}

/** `target` after the patch of the media type; throws 415 for a type the resource does not take. */
function patched(target: KubeObject, patch: unknown, type: string, resource: Resource): unknown {
  if (type === json) return jsonPatch(target, patch);
  if (type === merge) {
    if (!isObject(patch)) throw badRequest("a merge patch must be an object");
    return mergePatch(target, patch);
  }
  if (type === strategic && resource.type.builtin)
    return strategicMerge(target, patch, resource.version.schema);
  throw unsupportedMediaType(type, patchTypes(resource.type.builtin));
}

/** PATCH of the object or of its status. */
export async function patchObject(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
  part: Part,
): Promise<void> {
  const type = mediaType(exchange.request);
  const text = (await readBody(exchange.request)).toString("utf8");
  if (type.startsWith("application/apply-patch")) {
    const config = parseDocument(text, true);
    const result = applyObject(cluster, exchange, info, resource, part, config);
    sendObject(cluster, exchange, result.created ? 201 : 200, result.object, resource);
    return;
  }
  const old = requireObject(cluster, resource, info.namespace, info.name);
  const options = writeOptionsOf(exchange);
  const result = patched(copyOf(old), parseDocument(text, false), type, resource);
  const object = readObject(clone(result), resource, info.namespace);
  if (object.metadata.name !== info.name)
    throw badRequest("the name of the object cannot be changed by a patch");
  // A patch names no version unless it means to: it is made against the object as it is now.
  const updated = update(cluster, resource, object, old, options, part);
  sendObject(cluster, exchange, 200, updated, resource);
}

function readConfig(body: unknown, info: RequestInfo, resource: Resource): KubeObject {
  if (!isObject(body)) throw badRequest("an apply configuration must be an object");
  if (body["apiVersion"] === undefined || body["kind"] === undefined)
    throw badRequest("Object 'Kind' is missing: an apply configuration names apiVersion and kind");
  const config = readObject(body, resource, info.namespace);
  config.metadata.name ??= info.name;
  if (config.metadata.name !== info.name) {
    throw badRequest(
      `the name of the object (${config.metadata.name}) does not match the name on the URL (${info.name})`,
    );
  }
  if (config.metadata.managedFields !== undefined) throw badRequest("metadata.managedFields must be nil");
  return config;
}

function applyObject(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
  part: Part,
  body: unknown,
): { object: KubeObject; created: boolean } {
  const { type, version } = resource;
  const options = writeOptionsOf(exchange);
  const manager = exchange.query.get("fieldManager") ?? "";
  if (manager === "")
    throw badRequest(
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
  const force = exchange.query.get("force") === "true";
  const config = readConfig(body, info, resource);
  dropUnknown(config, resource, options.fieldValidation, options.warnings);
  const author: Author = {
    manager,
    apiVersion: groupVersion(type.group, version.name),
    subresource: part,
    statusApart: version.status,
    now: cluster.now(),
  };
  const bucket = cluster.store.bucket(bucketName(type));
  const entry = bucket.get(objectKey(type, info.namespace, info.name));
  if (entry === undefined) {
    if (part !== "") throw notFound(type.group, type.plural, info.name);
    if (type.namespaced) requireNamespace(cluster, type, info.namespace, info.name);
    if (config.metadata.uid !== undefined) throw notFound(type.group, type.plural, info.name);
    const fields = fieldsOf(tracked(partOf(config, part, version.status)), version.schema);
    const object = create(cluster, resource, copyOf(config), options, () =>
      isEmpty(fields) ? [] : [makeEntry(author, "Apply", fields)],
    );
    return { object, created: true };
  }
  const live = inVersion(entry.object, type, version.name);
  const relevant = partOf(config, part, version.status);
  const { object, managedFields } = serverSideApply(live, relevant, version.schema, author, force);
  const next = copyOf(object);
  if (config.metadata.resourceVersion === undefined) delete next.metadata.resourceVersion;
  complete(next, resource);
  const updated = update(cluster, resource, next, live, options, part, managedFields);
  return { object: updated, created: false };
}

/** What of a configuration counts for the part it is applied to. */
function partOf(config: KubeObject, part: Part, hasStatus: boolean): KubeObject {
  if (part === "status") {
    const { apiVersion, kind, metadata, status } = config;
    const { name, namespace, resourceVersion, uid } = metadata;
    const kept = { name, namespace, resourceVersion, uid };
    for (const field of Object.keys(kept) as (keyof typeof kept)[])
      if (kept[field] === undefined) delete kept[field];
    return {
      apiVersion,
      kind,
      metadata: kept as KubeObject["metadata"],
      ...(status === undefined ? {} : { status }),
    };
  }
  if (!hasStatus) return config;
  const { status: _status, ...rest } = config;
  return rest as KubeObject;
}

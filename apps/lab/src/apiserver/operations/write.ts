import { randomUUID } from "node:crypto";
import { randomSuffix, validateName } from "../admission/names.ts";
import { type Author, trackUpdate } from "../apply/managed.ts";
import type { Cluster } from "../cluster.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  forbiddenField,
  invalid,
  notFound,
  staleObject,
} from "../errors.ts";
import { equal, isObject, type KubeObject, type ManagedFieldsEntry, stringOf, timestamp } from "../object.ts";
import { bucketName, groupVersion, objectKey } from "../resources/resource.ts";
import {
  complete,
  copyOf,
  dropUnknown,
  type FieldValidation,
  inVersion,
  type Resource,
  requireNamespace,
  uidConflict,
  validateObject,
} from "./prepare.ts";

/** How a write is to be made. */
export interface WriteOptions {
  dryRun: boolean;
  manager: string;
  fieldValidation: FieldValidation;
  /** Filled with what the client is to be told in `Warning` headers. */
  warnings: string[];
}

export function writeOptions(manager: string): WriteOptions {
  return { dryRun: false, manager, fieldValidation: "Ignore", warnings: [] };
}

function author(
  cluster: Cluster,
  { type, version }: Resource,
  options: WriteOptions,
  subresource: string,
): Author {
  return {
    manager: options.manager,
    apiVersion: groupVersion(type.group, version.name),
    subresource,
    statusApart: version.status,
    now: cluster.now(),
  };
}

function nameObject(object: KubeObject): void {
  const prefix = stringOf(object.metadata.generateName);
  if (stringOf(object.metadata.name) === "" && prefix !== "") {
    object.metadata.name = `${prefix.slice(0, 58)}${randomSuffix()}`;
  }
}

/** Creates an object; `object` is taken over. `managedFields` is given when a server-side apply creates it. */
export function create(
  cluster: Cluster,
  resource: Resource,
  object: KubeObject,
  options: WriteOptions,
  managedFields?: (object: KubeObject) => ManagedFieldsEntry[],
): KubeObject {
  const { type, version } = resource;
  nameObject(object);
  const { metadata } = object;
  if (stringOf(metadata.resourceVersion) !== "") {
    throw badRequest("resourceVersion should not be set on objects to be created");
  }
  const nameCauses = validateName(type, stringOf(metadata.name));
  if (nameCauses.length > 0) throw invalid(type.group, type.kind, stringOf(metadata.name), nameCauses);
  const bucket = cluster.store.bucket(bucketName(type));
  const namespace = type.namespaced ? (metadata.namespace ?? "") : "";
  if (type.namespaced) requireNamespace(cluster, type, namespace, metadata.name);
  const key = objectKey(type, namespace, metadata.name);
  if (bucket.get(key) !== undefined) throw alreadyExists(type.group, type.plural, metadata.name);

  dropUnknown(object, resource, options.fieldValidation, options.warnings);
  const now = cluster.now();
  metadata.uid = randomUUID();
  metadata.creationTimestamp = timestamp(now);
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.resourceVersion;
  delete (metadata as { selfLink?: string }).selfLink;
  if (type.counted) metadata.generation = 1;
  else delete metadata.generation;
  if (version.status && type.strategy.keepsStatus !== true) delete object["status"];
  const managed = managedFields?.(object);
  complete(object, resource);
  try {
    type.strategy.prepareCreate?.(object, cluster);
    validateObject(object, undefined, resource);
  } catch (error) {
    type.strategy.removed?.(object, cluster);
    throw error;
  }
  metadata.managedFields =
    managed ?? trackUpdate(undefined, object, version.schema, author(cluster, resource, options, ""));
  if (options.dryRun) {
    // Allocations are given back; a definition that was only tried must not be registered.
    type.strategy.removed?.(object, cluster);
    return object;
  }
  const stored = inVersion(object, type, type.storageVersion);
  cluster.store.put(bucketName(type), key, stored);
  type.strategy.stored?.(stored, cluster);
  return inVersion(stored, type, version.name);
}

/** Which part of the object an update writes: the main resource keeps the status, `status` keeps everything else. */
export type Part = "" | "status" | "finalize";

/** The stored object, or 404. */
export function requireObject(
  cluster: Cluster,
  resource: Resource,
  namespace: string,
  name: string,
): KubeObject {
  const { type } = resource;
  const entry = cluster.store.bucket(bucketName(type)).get(objectKey(type, namespace, name));
  if (entry === undefined) throw notFound(type.group, type.plural, name);
  return inVersion(entry.object, type, resource.version.name);
}

function carryServerFields(object: KubeObject, old: KubeObject): void {
  const { metadata } = object;
  for (const field of [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
  ] as const) {
    const value = old.metadata[field];
    if (value === undefined) delete metadata[field];
    else Object.assign(metadata, { [field]: value });
  }
}

function mergeParts(object: KubeObject, old: KubeObject, part: Part, resource: Resource): KubeObject {
  if (part === "status") {
    const next = { ...copyOf(old), status: object["status"] } as KubeObject;
    if (object["status"] === undefined) delete next["status"];
    // Through status, of the metadata only labels and annotations' tracking may move along; the rest stands.
    if (object.metadata.managedFields !== undefined)
      next.metadata.managedFields = object.metadata.managedFields;
    return next;
  }
  if (resource.version.status) {
    if (old["status"] === undefined) delete object["status"];
    else object["status"] = copyOf({ s: old["status"] } as unknown as KubeObject)["s"];
  }
  return object;
}

function checkUpdate(object: KubeObject, old: KubeObject, { type }: Resource): void {
  const { name } = old.metadata;
  const given = stringOf(object.metadata.resourceVersion);
  if (given !== "" && given !== old.metadata.resourceVersion) {
    throw conflict(type.group, type.plural, name, staleObject);
  }
  const uid = stringOf(object.metadata.uid);
  if (uid !== "" && uid !== old.metadata.uid) throw uidConflict(type, name, uid, old.metadata.uid ?? "");
  if (old.metadata.deletionTimestamp === undefined) return;
  const before = new Set(old.metadata.finalizers ?? []);
  const fresh = (object.metadata.finalizers ?? []).filter((each) => !before.has(each));
  if (fresh.length > 0) {
    throw invalid(type.group, type.kind, name, [
      forbiddenField(
        "metadata.finalizers",
        `no new finalizers can be added if the object is being deleted, found new finalizers []string{${fresh.map((each) => JSON.stringify(each)).join(", ")}}`,
      ),
    ]);
  }
}

/** Whether the desired state differs: everything but metadata and status. */
function desiredDiffers(a: KubeObject, b: KubeObject, hasStatus: boolean): boolean {
  const rest = ({ apiVersion: _a, kind: _k, metadata: _m, status, ...others }: KubeObject) =>
    hasStatus ? others : { ...others, status };
  return !equal(rest(a), rest(b));
}

/**
 * Replaces the stored object by `object` (taken over; complete, as after a patch). Throws 409 on a stale
 * resourceVersion, 422 on broken rules. An update that changes nothing writes nothing.
 */
export function update(
  cluster: Cluster,
  resource: Resource,
  object: KubeObject,
  old: KubeObject,
  options: WriteOptions,
  part: Part = "",
  managedFields?: ManagedFieldsEntry[],
): KubeObject {
  const { type, version } = resource;
  checkUpdate(object, old, resource);
  dropUnknown(object, resource, options.fieldValidation, options.warnings);
  const next = mergeParts(object, old, part, resource);
  carryServerFields(next, old);
  complete(next, resource);
  try {
    if (part === "") type.strategy.prepareUpdate?.(next, old, cluster);
    if (part !== "finalize") validateObject(next, old, resource);
  } catch (error) {
    type.strategy.replaced?.(next, old, cluster);
    throw error;
  }
  if (type.counted && part === "" && desiredDiffers(next, old, version.status)) {
    next.metadata.generation = (old.metadata.generation ?? 0) + 1;
  }
  const subresource = part === "status" ? "status" : "";
  next.metadata.managedFields =
    managedFields ?? trackUpdate(old, next, version.schema, author(cluster, resource, options, subresource));
  if (next.metadata.managedFields.length === 0) delete next.metadata.managedFields;
  if (options.dryRun) {
    type.strategy.replaced?.(next, old, cluster);
    return next;
  }
  return commit(cluster, resource, next, old);
}

function withoutVersion(object: KubeObject): KubeObject {
  const { resourceVersion: _version, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function commit(cluster: Cluster, resource: Resource, next: KubeObject, old: KubeObject): KubeObject {
  const { type, version } = resource;
  const key = objectKey(type, next.metadata.namespace ?? "", next.metadata.name);
  const stored = inVersion(next, type, type.storageVersion);
  if (equal(withoutVersion(stored), withoutVersion(inVersion(old, type, type.storageVersion)))) return old;
  if (isFinished(next)) {
    removeNow(cluster, resource, next);
    return next;
  }
  cluster.store.put(bucketName(type), key, stored);
  type.strategy.replaced?.(old, stored, cluster);
  type.strategy.stored?.(stored, cluster);
  return inVersion(stored, type, version.name);
}

/** A deleted object that nothing holds any longer. */
export function isFinished(object: KubeObject): boolean {
  const { metadata } = object;
  if (metadata.deletionTimestamp === undefined || (metadata.finalizers ?? []).length > 0) return false;
  if ((metadata.deletionGracePeriodSeconds ?? 0) > 0) return false;
  const spec = object["spec"];
  const held =
    object.kind === "Namespace" && isObject(spec) && Array.isArray(spec["finalizers"])
      ? spec["finalizers"].length
      : 0;
  return held === 0;
}

/** Takes the object out of the store, whatever its finalizers. */
export function removeNow(cluster: Cluster, { type }: Resource, object: KubeObject): KubeObject {
  const key = objectKey(type, object.metadata.namespace ?? "", object.metadata.name);
  const change = cluster.store.delete(bucketName(type), key, inVersion(object, type, type.storageVersion));
  type.strategy.removed?.(object, cluster);
  return change?.entry.object ?? object;
}

/** Writes an object as the server itself: no validation, no ownership; for bookkeeping such as deletion marks. */
export function overwrite(cluster: Cluster, { type }: Resource, object: KubeObject): KubeObject {
  const key = objectKey(type, object.metadata.namespace ?? "", object.metadata.name);
  return cluster.store.put(bucketName(type), key, inVersion(object, type, type.storageVersion)).object;
}

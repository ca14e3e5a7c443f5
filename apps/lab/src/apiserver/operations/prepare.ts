import { validateMeta } from "../admission/names.ts";
import type { Cluster } from "../cluster.ts";
import { ApiError, badRequest, type Cause, forbidden, invalid, notFound } from "../errors.ts";
import { at, clone, dropNulls, isObject, type KubeObject, stringOf } from "../object.ts";
import { groupVersion, type ResourceType, type ResourceVersion } from "../resources/resource.ts";
import { applyDefaults, prune, pruneNulls } from "../schema/shape.ts";
import { transitionCauses } from "../schema/transitions.ts";
import { validateSchema } from "../schema/validate.ts";

/** A resource in the version a request speaks. */
export interface Resource {
  type: ResourceType;
  version: ResourceVersion;
}

export type FieldValidation = "Ignore" | "Warn" | "Strict";

/** Checks that the body is an object of the resource and gives it the parts that may be left out. */
export function readObject(body: unknown, { type, version }: Resource, namespace: string): KubeObject {
  if (!isObject(body)) throw badRequest(`the body is not a ${type.kind} object`);
  const apiVersion = groupVersion(type.group, version.name);
  const got = { apiVersion: body["apiVersion"] ?? apiVersion, kind: body["kind"] ?? type.kind };
  if (got.kind !== type.kind || got.apiVersion !== apiVersion) {
    throw badRequest(
      `${type.kind} in version "${version.name}" cannot be handled as a ${type.kind}: the object provided is a ${String(got.kind)} of ${String(got.apiVersion)}`,
    );
  }
  const metadata: unknown = body["metadata"] ?? {};
  if (!isObject(metadata)) throw badRequest("metadata must be an object");
  const { apiVersion: _version, kind: _kind, metadata: _metadata, ...rest } = body;
  const object = { apiVersion, kind: type.kind, metadata: { ...metadata }, ...rest } as unknown as KubeObject;
  if (!type.namespaced) {
    delete object.metadata.namespace;
    return object;
  }
  const given = stringOf(object.metadata.namespace);
  if (given !== "" && given !== namespace) {
    throw badRequest(
      `the namespace of the provided object does not match the namespace sent on the request (${given} and ${namespace})`,
    );
  }
  object.metadata.namespace = namespace;
  return object;
}

/** Drops or refuses fields the schema does not know, in place, and adds a warning for each where asked to. */
export function dropUnknown(
  object: KubeObject,
  { version, type }: Resource,
  how: FieldValidation,
  warnings: string[],
): void {
  const unknown = prune(object, version.schema);
  if (unknown.length === 0 || how === "Ignore") return;
  const words = unknown.map((field) => `unknown field ${JSON.stringify(field)}`);
  if (how === "Strict") {
    throw badRequest(
      `${type.kind} in version "${version.name}" cannot be handled as a ${type.kind}: strict decoding error: ${words.join(", ")}`,
    );
  }
  warnings.push(...words);
}

/** Nulls, defaults of the schema, defaults of the kind: in place. */
export function complete(object: KubeObject, { type, version }: Resource): void {
  if (type.builtin) {
    dropNulls(withoutTemplates(object));
    checkMap(object.metadata.labels, "labels");
    checkMap(object.metadata.annotations, "annotations");
  } else {
    dropNulls(object.metadata);
    pruneNulls(object, version.schema);
    applyDefaults(object, version.schema);
  }
  type.strategy.defaults?.(object);
}

/** CRD schemas may hold nulls as defaults or enum values; those are data. */
function withoutTemplates(object: KubeObject): unknown {
  return object.kind === "CustomResourceDefinition" ? object.metadata : object;
}

function checkMap(value: unknown, field: string): void {
  if (value === undefined || isObject(value)) return;
  throw badRequest(`metadata.${field} must be a map of strings`);
}

/** Throws 422 with every rule broken. */
export function validateObject(
  object: KubeObject,
  old: KubeObject | undefined,
  { type, version }: Resource,
): void {
  const types = validateSchema(object, version.schema);
  if (types.length > 0 && type.builtin) {
    // Built-in types are decoded into typed fields: a wrong type is a malformed request, a rule broken is 422.
    const wrong = types.find((cause) => cause.reason === "FieldValueTypeInvalid");
    if (wrong !== undefined) {
      throw badRequest(
        `${type.kind} in version "${version.name}" cannot be handled as a ${type.kind}: json: cannot unmarshal into field ${wrong.field ?? ""}: ${wrong.message}`,
      );
    }
  }
  const causes = [...validateMeta(object), ...(type.strategy.validate?.(object, old) ?? [])];
  if (!type.builtin) causes.push(...transitionCauses(object, old, version.schema));
  const known = new Set(causes.map((cause) => cause.field));
  // A typed decoder fills what a status leaves out with zeros; only a CRD's own schema may insist.
  const lenient = (cause: Cause) =>
    type.builtin && cause.reason === "FieldValueRequired" && /^status\b/.test(cause.field ?? "");
  causes.push(...types.filter((cause) => !known.has(cause.field) && !lenient(cause)));
  if (causes.length > 0) throw invalid(type.group, type.kind, object.metadata.name, causes);
}

/** Refuses writes into namespaces that are absent or on their way out. */
export function requireNamespace(
  cluster: Cluster,
  type: ResourceType,
  namespace: string,
  name: string,
): void {
  const entry = cluster.store.bucket("/namespaces").get(namespace);
  if (entry === undefined) throw notFound("", "namespaces", namespace);
  if (at(entry.object, "status", "phase") !== "Terminating") return;
  throw forbidden(
    type.group,
    type.plural,
    name,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    [
      {
        reason: "NamespaceTerminating",
        message: `namespace ${namespace} is being terminated`,
        field: "metadata.namespace",
      },
    ],
  );
}

/** The object in the storage version, or in the one a client asked for. Conversion is by name only (None). */
export function inVersion(object: KubeObject, type: ResourceType, version: string): KubeObject {
  const apiVersion = groupVersion(type.group, version);
  return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
}

export function copyOf(object: KubeObject): KubeObject {
  return clone(object);
}

/** 409 of a create or update that names a uid other than the stored object's. */
export function uidConflict(type: ResourceType, name: string, given: string, stored: string): ApiError {
  return new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${type.plural} "${name}": Precondition failed: UID in precondition: ${given}, UID in object meta: ${stored}`,
    { name, group: type.group, kind: type.plural },
  );
}

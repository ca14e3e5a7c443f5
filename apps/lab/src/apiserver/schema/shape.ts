import { clone, define, isObject, type JsonObject } from "../object.ts";
import { builtinSchema, deref } from "./builtin.ts";
import type { Schema } from "./schema.ts";

const typeMeta = ["apiVersion", "kind", "metadata"];

/** The schema of a field of an object: declared, or the one of any field, or undefined for an unknown field. */
export function fieldSchema(schema: Schema, field: string): Schema | undefined {
  const declared = schema.properties;
  if (declared !== undefined && Object.hasOwn(declared, field)) return declared[field];
  if (isObject(schema.additionalProperties)) return schema.additionalProperties as Schema;
  return undefined;
}

/** Objects that keep whatever they are given. */
function keepsUnknown(schema: Schema): boolean {
  if (schema["x-kubernetes-preserve-unknown-fields"] === true || schema.additionalProperties === true)
    return true;
  return (
    schema.properties === undefined && schema.additionalProperties === undefined && schema.type === undefined
  );
}

/**
 * Removes in place the fields that the schema does not know and returns their paths (`spec.foo`). At the root and
 * in embedded resources apiVersion, kind and metadata stay, the latter held to the shape of ObjectMeta.
 */
export function prune(value: unknown, schema: Schema, isRoot = true, path = ""): string[] {
  const unknown: string[] = [];
  pruneValue(value, schema, isRoot, path, unknown);
  return unknown;
}

function pruneValue(value: unknown, given: Schema, resource: boolean, path: string, unknown: string[]): void {
  const schema = deref(given);
  if (Array.isArray(value)) {
    const items = schema.items;
    if (items === undefined) return;
    for (const [i, item] of value.entries()) {
      pruneValue(item, items, isEmbedded(items), `${path}[${i}]`, unknown);
    }
    return;
  }
  if (!isObject(value)) return;
  const keep = keepsUnknown(schema);
  for (const field of Object.keys(value)) {
    const where = path === "" ? field : `${path}.${field}`;
    let inner = fieldSchema(schema, field);
    if (resource && typeMeta.includes(field)) {
      // Whatever a CRD says about metadata, its fields are those of ObjectMeta.
      if (field === "metadata") inner = builtinSchema("meta.v1.ObjectMeta");
      else continue;
    }
    if (inner !== undefined) pruneValue(value[field], inner, isEmbedded(inner), where, unknown);
    else if (!keep) {
      delete value[field];
      unknown.push(where);
    }
  }
}

function isEmbedded(schema: Schema): boolean {
  return schema["x-kubernetes-embedded-resource"] === true;
}

/** Fills in place the defaults of absent fields (and of nulls where null is not allowed), outside first. */
export function applyDefaults(value: unknown, given: Schema): void {
  const schema = deref(given);
  if (Array.isArray(value)) {
    const items = schema.items;
    if (items === undefined) return;
    for (const item of value) applyDefaults(item, items);
    return;
  }
  if (!isObject(value)) return;
  for (const [field, inner] of Object.entries(schema.properties ?? {})) fillDefault(value, field, inner);
  for (const field of Object.keys(value)) {
    const inner = fieldSchema(schema, field);
    if (inner !== undefined) applyDefaults(value[field], inner);
  }
}

function fillDefault(value: JsonObject, field: string, schema: Schema): void {
  if (value[field] === null && schema.nullable !== true && schema.default !== undefined) delete value[field];
  if (value[field] === undefined && schema.default !== undefined) define(value, field, clone(schema.default));
}

/** Removes nulls of fields that are not nullable, as the server does for custom resources before validating. */
export function pruneNulls(value: unknown, given: Schema): void {
  const schema = deref(given);
  if (Array.isArray(value)) {
    for (const item of value) if (schema.items !== undefined) pruneNulls(item, schema.items);
    return;
  }
  if (!isObject(value)) return;
  for (const field of Object.keys(value)) {
    const inner = fieldSchema(schema, field);
    if (inner === undefined) continue;
    if (value[field] === null && deref(inner).nullable !== true && inner.type !== undefined)
      delete value[field];
    else pruneNulls(value[field], inner);
  }
}

import { badRequest } from "../errors.ts";
import { arrayOf, clone, define, equal, isObject, type JsonObject, stringOf } from "../object.ts";
import { deref } from "../schema/builtin.ts";
import { anything, type Schema } from "../schema/schema.ts";
import { fieldSchema } from "../schema/shape.ts";

const deleteFrom = "$deleteFromPrimitiveList/";
const setOrder = "$setElementOrder/";

/**
 * Kubernetes' strategic merge: as a JSON merge patch, but lists that the schema gives a merge key are merged item
 * by item, and `$patch: delete | replace`, `$deleteFromPrimitiveList` and `$retainKeys` are obeyed.
 * `$setElementOrder` is accepted; the merged order stands. `target` is not changed.
 */
export function strategicMerge(target: unknown, patch: unknown, given: Schema): unknown {
  if (!isObject(patch)) throw badRequest("a strategic merge patch must be an object");
  const result = mergeObject(isObject(target) ? target : {}, patch, given);
  return result === undefined ? {} : result;
}

/** Undefined: the patch deletes the object itself. */
function mergeObject(target: JsonObject, patch: JsonObject, given: Schema): JsonObject | undefined {
  const directive = patch["$patch"];
  if (directive === "delete") return undefined;
  if (directive !== undefined && directive !== "replace" && directive !== "merge") {
    throw badRequest(`unknown $patch directive ${JSON.stringify(directive)}: use delete, merge or replace`);
  }
  const schema = deref(given);
  const result: JsonObject = directive === "replace" ? {} : { ...target };
  retainKeys(result, patch["$retainKeys"]);
  for (const key of Object.keys(patch)) {
    if (key === "$patch" || key === "$retainKeys" || key.startsWith(setOrder)) continue;
    if (key.startsWith(deleteFrom)) {
      deletePrimitives(result, key.slice(deleteFrom.length), patch[key]);
      continue;
    }
    mergeField(result, key, patch[key], fieldSchema(schema, key) ?? anything);
  }
  return result;
}

function retainKeys(result: JsonObject, keys: unknown): void {
  if (!Array.isArray(keys)) return;
  for (const key of Object.keys(result)) if (!keys.includes(key)) delete result[key];
}

function deletePrimitives(result: JsonObject, field: string, values: unknown): void {
  const removed = arrayOf(values);
  if (Array.isArray(result[field])) {
    result[field] = arrayOf(result[field]).filter((item) => !removed.some((each) => equal(each, item)));
  }
}

function mergeField(result: JsonObject, key: string, value: unknown, schema: Schema): void {
  const present = Object.hasOwn(result, key) ? result[key] : undefined;
  if (value === null) {
    delete result[key];
  } else if (isObject(value)) {
    const merged = mergeObject(isObject(present) ? present : {}, value, schema);
    if (merged === undefined) delete result[key];
    else define(result, key, merged);
  } else if (Array.isArray(value) && schema["x-kubernetes-patch-strategy"] === "merge") {
    define(result, key, mergeList(arrayOf(present), value, schema));
  } else {
    define(result, key, clone(value));
  }
}

function mergeList(target: unknown[], patch: unknown[], schema: Schema): unknown[] {
  const mergeKey = schema["x-kubernetes-patch-merge-key"];
  if (mergeKey === undefined) {
    const missing = patch.filter((item) => !target.some((each) => equal(each, item)));
    return [...target, ...clone(missing)];
  }
  if (patch.some((item) => isObject(item) && item["$patch"] === "replace")) {
    return clone(patch.filter((item) => !isObject(item) || item["$patch"] !== "replace"));
  }
  let result = [...target];
  for (const item of patch) {
    if (!isObject(item)) throw badRequest(`an item merged by ${mergeKey} must be an object`);
    const key = item[mergeKey];
    if (key === undefined || key === null) {
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`);
    }
    if (item["$patch"] === "delete") {
      result = result.filter((each) => !(isObject(each) && equal(each[mergeKey], key)));
      continue;
    }
    const index = findItem(result, item, mergeKey);
    const merged = mergeObject((result[index] ?? {}) as JsonObject, item, schema.items ?? anything) ?? {};
    if (index < 0) result.push(merged);
    else result[index] = merged;
  }
  return result;
}

/** Ports share a merge key with two protocols; the one with the same protocol is meant where there is one. */
function findItem(list: unknown[], item: JsonObject, mergeKey: string): number {
  const same = (each: unknown) => isObject(each) && equal(each[mergeKey], item[mergeKey]);
  const protocol = stringOf(item["protocol"]);
  if (protocol !== "") {
    const exact = list.findIndex(
      (each) => same(each) && isObject(each) && (each["protocol"] ?? "TCP") === protocol,
    );
    if (exact >= 0) return exact;
  }
  return list.findIndex(same);
}

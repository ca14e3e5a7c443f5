import { define, equal, isObject, type JsonObject } from "../object.ts";
import { deref } from "../schema/builtin.ts";
import { keyDefaults } from "../schema/lists.ts";
import { anything, type Schema } from "../schema/schema.ts";
import { fieldSchema } from "../schema/shape.ts";

/**
 * A set of field paths in the form managedFields stores it (fieldsV1): a tree whose keys are `f:<field>`,
 * `k:{"key":"value"}` (an item of a keyed list) or `v:<json>` (an item of a set). A node without children is a
 * member; a node with children is one too when it has the child `.`.
 */
export type FieldSet = { [step: string]: FieldSet };

export function isEmpty(set: FieldSet): boolean {
  return Object.keys(set).length === 0;
}

/** Whether the node itself, not only something below it, is in the set. */
export function isMember(node: FieldSet): boolean {
  return isEmpty(node) || Object.hasOwn(node, ".");
}

function put(set: FieldSet, step: string, node: FieldSet): void {
  define(set, step, node);
}

/** Everything in either. */
export function union(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { ...a };
  for (const step of Object.keys(b)) {
    const right = b[step] ?? {};
    const left = Object.hasOwn(a, step) ? a[step] : undefined;
    put(result, step, left === undefined ? right : unionNodes(left, right));
  }
  return result;
}

function unionNodes(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a) && isEmpty(b)) return {};
  const merged = union(a, b);
  // A leaf that meets a branch stays a member.
  if (isMember(a) || isMember(b)) merged["."] = {};
  return merged;
}

/** What is in both. */
export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  return combine(a, b, (inA, inB) => inA && inB, false) ?? {};
}

/** What is in `a` and not in `b`. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  return combine(a, b, (inA, inB) => inA && !inB, true) ?? {};
}

function combine(
  a: FieldSet,
  b: FieldSet,
  keep: (inA: boolean, inB: boolean) => boolean,
  keepLone: boolean,
): FieldSet | undefined {
  const result: FieldSet = {};
  for (const step of Object.keys(a)) {
    if (step === ".") continue;
    const left = a[step] ?? {};
    const right = Object.hasOwn(b, step) ? b[step] : undefined;
    if (right === undefined) {
      if (keepLone) put(result, step, left);
      continue;
    }
    const below = combine(left, right, keep, keepLone) ?? {};
    const self = keep(isMember(left), isMember(right));
    if (!self && isEmpty(below)) continue;
    put(result, step, self && !isEmpty(below) ? { ...below, ".": {} } : below);
  }
  return isEmpty(result) ? undefined : result;
}

/** Every member as a path of steps. */
export function* paths(set: FieldSet, prefix: string[] = []): IterableIterator<string[]> {
  for (const step of Object.keys(set)) {
    if (step === ".") continue;
    const node = set[step] ?? {};
    const path = [...prefix, step];
    if (isMember(node)) yield path;
    yield* paths(node, path);
  }
}

/** The path as conflicts name it: `.spec.containers[name="web"].image`. */
export function pathText(path: readonly string[]): string {
  return path
    .map((step) => {
      const rest = step.slice(2);
      if (step.startsWith("f:")) return `.${rest}`;
      if (step.startsWith("k:")) {
        const keys = Object.entries(JSON.parse(rest) as JsonObject);
        return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",")}]`;
      }
      return `[=${rest}]`;
    })
    .join("");
}

/** How a value merges: field by field, item by key, as a set, or as one whole. */
export type Mergeability =
  | { kind: "map" }
  | { kind: "keyed"; keys: readonly string[] }
  | { kind: "set" }
  | { kind: "atomic" };

export function mergeability(value: unknown, given: Schema): Mergeability {
  const schema = deref(given);
  const mapType = schema["x-kubernetes-map-type"] ?? given["x-kubernetes-map-type"];
  if (isObject(value)) return { kind: mapType === "atomic" ? "atomic" : "map" };
  if (!Array.isArray(value)) return { kind: "atomic" };
  const listType = schema["x-kubernetes-list-type"];
  const keys = schema["x-kubernetes-list-map-keys"];
  if (listType === "set") return { kind: "set" };
  if (listType === "map" && keys !== undefined) return { kind: "keyed", keys };
  return { kind: "atomic" };
}

/** The step of a keyed list's item; absent keys take the default of the schema or of the field. */
export function itemStep(item: unknown, keys: readonly string[], items: Schema | undefined): string {
  const key: JsonObject = {};
  const declared = items === undefined ? {} : (deref(items).properties ?? {});
  for (const name of [...keys].sort()) {
    const value = isObject(item) ? item[name] : undefined;
    const fallback = declared[name]?.default ?? keyDefaults[name];
    if (value !== undefined && value !== null) key[name] = value;
    else if (fallback !== undefined) key[name] = fallback;
  }
  return `k:${JSON.stringify(key)}`;
}

export function valueStep(item: unknown): string {
  return `v:${JSON.stringify(item)}`;
}

/** step -> item with its schema; for maps, keyed lists and sets. */
function children(value: unknown, schema: Schema): Map<string, { value: unknown; schema: Schema }> {
  const result = new Map<string, { value: unknown; schema: Schema }>();
  const merge = mergeability(value, schema);
  const resolved = deref(schema);
  if (merge.kind === "map" && isObject(value)) {
    for (const field of Object.keys(value)) {
      // Null stands for absent, in managed fields too.
      if (value[field] === undefined || value[field] === null) continue;
      result.set(`f:${field}`, { value: value[field], schema: fieldSchema(resolved, field) ?? anything });
    }
  } else if (Array.isArray(value)) {
    const items = resolved.items ?? anything;
    for (const item of value) {
      const step = merge.kind === "keyed" ? itemStep(item, merge.keys, items) : valueStep(item);
      if (merge.kind !== "atomic") result.set(step, { value: item, schema: items });
    }
  }
  return result;
}

/** The members an applied value stands for: its leaves, and the items of its keyed lists. */
export function fieldsOf(value: unknown, schema: Schema): FieldSet {
  const result: FieldSet = {};
  for (const [step, child] of children(value, schema)) {
    const below = fieldsOf(child.value, child.schema);
    if (step.startsWith("k:")) below["."] = {};
    put(result, step, below);
  }
  return result;
}

/** What a change added, altered and removed. */
export interface Comparison {
  added: FieldSet;
  modified: FieldSet;
  removed: FieldSet;
}

export function compare(before: unknown, after: unknown, schema: Schema): Comparison {
  const result: Comparison = { added: {}, modified: {}, removed: {} };
  const left = children(before, schema);
  const right = children(after, schema);
  for (const [step, child] of right) {
    const old = left.get(step);
    if (old === undefined) put(result.added, step, grown(child.value, child.schema));
    else if (!equal(old.value, child.value)) compareChild(result, step, old.value, child);
  }
  for (const [step, child] of left) {
    if (!right.has(step)) put(result.removed, step, grown(child.value, child.schema));
  }
  return result;
}

function compareChild(
  result: Comparison,
  step: string,
  before: unknown,
  after: { value: unknown; schema: Schema },
): void {
  const [left, right] = [children(before, after.schema), children(after.value, after.schema)];
  if (left.size === 0 && right.size === 0) {
    put(result.modified, step, {});
    return;
  }
  const below = compare(before, after.value, after.schema);
  for (const part of ["added", "modified", "removed"] as const) {
    if (!isEmpty(below[part])) put(result[part], step, below[part]);
  }
  // An empty map or list that filled, or one that emptied, changed as a whole too.
  if (left.size === 0 || right.size === 0) {
    const node = result.modified[step] ?? {};
    put(result.modified, step, isEmpty(node) ? {} : { ...node, ".": {} });
  }
}

/** As fieldsOf, but with the branches as members: the value came to be as a whole. */
function grown(value: unknown, schema: Schema): FieldSet {
  const result: FieldSet = {};
  for (const [step, child] of children(value, schema)) put(result, step, grown(child.value, child.schema));
  if (!isEmpty(result)) result["."] = {};
  return result;
}

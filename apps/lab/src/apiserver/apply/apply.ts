import { ApiError, type Cause } from "../errors.ts";
import {
  clone,
  define,
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  type ManagedFieldsEntry,
} from "../object.ts";
import { deref } from "../schema/builtin.ts";
import { anything, type Schema } from "../schema/schema.ts";
import { fieldSchema } from "../schema/shape.ts";
import {
  compare,
  difference,
  type FieldSet,
  fieldsOf,
  intersection,
  isEmpty,
  isMember,
  itemStep,
  mergeability,
  paths,
  pathText,
  union,
  valueStep,
} from "./fieldset.ts";
import { type Author, makeEntry, readEntries, sameManager, tracked } from "./managed.ts";

/** The object after a server-side apply, with its managedFields. */
export interface Applied {
  object: KubeObject;
  managedFields: ManagedFieldsEntry[];
}

/**
 * Server-side apply: merges `config` into `live`, removes what this manager applied before and no longer does
 * (unless another manager owns it), and moves ownership. Throws 409 with a cause per field that another manager
 * owns with a different value, unless forced.
 */
export function serverSideApply(
  live: KubeObject,
  config: KubeObject,
  schema: Schema,
  author: Author,
  force: boolean,
): Applied {
  const entries = readEntries(live) ?? [];
  const own = entries.find((entry) => sameManager(entry, author, "Apply"));
  const others = entries.filter((entry) => entry !== own);
  const applied = fieldsOf(tracked(config), schema);
  let merged = mergeValue(live, config, schema) as KubeObject;
  const dropped = difference((own?.fieldsV1 as FieldSet | undefined) ?? {}, applied);
  const owned = others.reduce<FieldSet>((all, entry) => union(all, entry.fieldsV1 as FieldSet), {});
  merged = removeFields(merged, removable(dropped, union(owned, applied)), schema, applied) as KubeObject;

  const changes = compare(tracked(live), tracked(merged), schema);
  const changed = intersection(union(changes.modified, changes.added), applied);
  const conflicts = others.flatMap((entry) => conflictCauses(entry, changed));
  if (conflicts.length > 0 && !force && !isOwnHistory(live, others, changed, schema, author)) {
    throw applyConflict(conflicts);
  }

  const lost = union(changes.removed, changed);
  const kept = others
    .map((entry) => ({ ...entry, fieldsV1: difference(entry.fieldsV1 as FieldSet, lost) as JsonObject }))
    .map((entry, i) => (equal(entry, others[i]) ? (others[i] ?? entry) : entry))
    .filter((entry) => !isEmpty(entry.fieldsV1 as FieldSet));
  const fresh = makeEntry(author, "Apply", applied);
  const unchanged = own !== undefined && equal({ ...own, time: "" }, { ...fresh, time: "" });
  const mine = isEmpty(applied) ? [] : [unchanged && own !== undefined ? own : fresh];
  return { object: merged, managedFields: [...mine, ...kept] };
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * kubectl that used to apply on the client side may take over, without conflict, what its annotation says it applied.
 * Other managers do not get this.
 */
function isOwnHistory(
  live: KubeObject,
  others: ManagedFieldsEntry[],
  changed: FieldSet,
  schema: Schema,
  author: Author,
): boolean {
  const text = live.metadata.annotations?.[lastApplied];
  if (author.manager !== "kubectl" || text === undefined) return false;
  const before = fieldsOf(tracked(parsed(text)), schema);
  return others.every((entry) =>
    isEmpty(difference(intersection(entry.fieldsV1 as FieldSet, changed), before)),
  );
}

function parsed(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    // An annotation that is not JSON proves nothing.
    return {};
  }
}

function conflictCauses(entry: ManagedFieldsEntry, changed: FieldSet): Cause[] {
  const shared = intersection(entry.fieldsV1 as FieldSet, changed);
  const via = entry.subresource === undefined ? "" : ` with subresource "${entry.subresource}"`;
  const using = entry.operation === "Update" ? ` using ${entry.apiVersion}` : "";
  return [...paths(shared)].map((path) => ({
    reason: "FieldManagerConflict",
    message: `conflict with "${entry.manager}"${via}${using}`,
    field: pathText(path),
  }));
}

function applyConflict(causes: Cause[]): ApiError {
  const byManager = new Map<string, string[]>();
  for (const cause of causes) {
    byManager.set(cause.message, [...(byManager.get(cause.message) ?? []), cause.field ?? ""]);
  }
  const lines = [...byManager].map(([message, fields]) =>
    byManager.size === 1 && fields.length === 1
      ? `${message}: ${fields[0]}`
      : `${message}:\n${fields.map((field) => `- ${field}`).join("\n")}`,
  );
  const count = causes.length;
  const noun = count === 1 ? "conflict" : "conflicts";
  return new ApiError(
    409,
    "Conflict",
    `Apply failed with ${count} ${noun}: ${lines.map((line) => line.replace(/^conflict /, count === 1 ? "conflict " : "conflicts ")).join("\n")}`,
    {
      causes,
    },
  );
}

/** What may really be removed: not what anybody else owns, and no parent of that. */
function removable(dropped: FieldSet, owned: FieldSet): FieldSet {
  const result: FieldSet = {};
  for (const step of Object.keys(dropped)) {
    if (step === ".") continue;
    const node = dropped[step] ?? {};
    const other = Object.hasOwn(owned, step) ? owned[step] : undefined;
    if (other === undefined) {
      define(result, step, node);
      continue;
    }
    const below = removable(node, other);
    delete below["."];
    if (!isEmpty(below)) define(result, step, below);
  }
  return result;
}

/** Merges an applied value into the live one as the schema says lists and maps merge. Neither is changed. */
function mergeValue(live: unknown, config: unknown, schema: Schema): unknown {
  const merge = mergeability(config, schema);
  if (merge.kind === "map" && isObject(config)) {
    const result: JsonObject = isObject(live) ? { ...live } : {};
    const resolved = deref(schema);
    for (const field of Object.keys(config)) {
      const inner = fieldSchema(resolved, field) ?? anything;
      define(
        result,
        field,
        mergeValue(Object.hasOwn(result, field) ? result[field] : undefined, config[field], inner),
      );
    }
    return result;
  }
  if (merge.kind === "atomic" || !Array.isArray(live) || !Array.isArray(config)) return clone(config);
  const items = deref(schema).items ?? anything;
  const stepOf = (item: unknown) =>
    merge.kind === "keyed" ? itemStep(item, merge.keys, items) : valueStep(item);
  return mergeItems(live, config, stepOf, items);
}

/** Items of both lists: the applied ones in their order, the others where they stood between them. */
function mergeItems(
  live: unknown[],
  config: unknown[],
  stepOf: (item: unknown) => string,
  items: Schema,
): unknown[] {
  const wanted = new Map(config.map((item) => [stepOf(item), item]));
  const present = new Map(live.map((item) => [stepOf(item), item]));
  const result: unknown[] = [];
  const pending = [...wanted.keys()];
  const emit = (step: string) => {
    const merged = present.has(step)
      ? mergeValue(present.get(step), wanted.get(step), items)
      : clone(wanted.get(step));
    result.push(merged);
  };
  for (const item of live) {
    const step = stepOf(item);
    if (!wanted.has(step)) {
      result.push(item);
      continue;
    }
    const until = pending.indexOf(step);
    if (until >= 0) for (const each of pending.splice(0, until + 1)) emit(each);
  }
  for (const each of pending) emit(each);
  return result;
}

/** A copy of `value` without the members of `set`; maps and lists that become empty go too, unless `kept` has them. */
function removeFields(value: unknown, set: FieldSet, schema: Schema, kept: FieldSet = {}): unknown {
  if (isEmpty(set)) return value;
  if (isObject(value)) {
    const result: JsonObject = { ...value };
    const resolved = deref(schema);
    for (const step of Object.keys(set)) {
      const field = step.slice(2);
      const node = set[step] ?? {};
      if (!step.startsWith("f:") || !Object.hasOwn(result, field)) continue;
      if (isMember(node)) delete result[field];
      else {
        const wanted = Object.hasOwn(kept, step) ? kept[step] : undefined;
        const left = removeFields(result[field], node, fieldSchema(resolved, field) ?? anything, wanted);
        // A map or list nobody has anything left in goes with its last field.
        if (isHollow(left) && wanted === undefined) delete result[field];
        else define(result, field, left);
      }
    }
    return result;
  }
  if (!Array.isArray(value)) return value;
  const merge = mergeability(value, schema);
  const items = deref(schema).items ?? anything;
  return value.flatMap((item) => {
    const step = merge.kind === "keyed" ? itemStep(item, merge.keys, items) : valueStep(item);
    const node = Object.hasOwn(set, step) ? set[step] : undefined;
    if (node === undefined) return [item];
    return isMember(node)
      ? []
      : [removeFields(item, node, items, Object.hasOwn(kept, step) ? kept[step] : {})];
  });
}

function isHollow(value: unknown): boolean {
  return Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0;
}

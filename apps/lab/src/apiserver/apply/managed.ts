import {
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  type ManagedFieldsEntry,
  timestamp,
} from "../object.ts";
import type { Schema } from "../schema/schema.ts";
import { compare, difference, type FieldSet, fieldsOf, isEmpty, union } from "./fieldset.ts";

/** Who makes a change, and through what. */
export interface Author {
  manager: string;
  /** The version the request is in. */
  apiVersion: string;
  subresource: string;
  /** Whether the kind writes its status through a subresource: then nothing else owns status. */
  statusApart: boolean;
  /** Milliseconds. */
  now: number;
}

/** How many update managers an object remembers; the oldest beyond that are folded into one, as Kubernetes does. */
const mostUpdaters = 10;

const untrackedMeta = [
  "name",
  "namespace",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "selfLink",
  "uid",
  "generation",
  "managedFields",
  "resourceVersion",
];

/** The part of an object whose fields have owners. */
export function tracked(object: KubeObject | JsonObject): JsonObject {
  const { apiVersion: _version, kind: _kind, metadata, ...rest } = object as JsonObject;
  const meta: JsonObject = { ...(isObject(metadata) ? metadata : {}) };
  for (const field of untrackedMeta) delete meta[field];
  return Object.keys(meta).length === 0 ? rest : { ...rest, metadata: meta };
}

/** What of an object a write through the author's door can have changed. */
function within(object: KubeObject | undefined, author: Author): JsonObject {
  const all = tracked(object ?? {});
  if (author.subresource === "status") return all["status"] === undefined ? {} : { status: all["status"] };
  if (author.statusApart) delete all["status"];
  return all;
}

export function sameManager(entry: ManagedFieldsEntry, author: Author, operation: string): boolean {
  return (
    entry.manager === author.manager &&
    entry.operation === operation &&
    (entry.subresource ?? "") === author.subresource &&
    (operation === "Apply" || entry.apiVersion === author.apiVersion)
  );
}

export function makeEntry(
  author: Author,
  operation: "Apply" | "Update",
  fields: FieldSet,
): ManagedFieldsEntry {
  return {
    manager: author.manager,
    operation,
    apiVersion: author.apiVersion,
    time: timestamp(author.now),
    fieldsType: "FieldsV1",
    fieldsV1: fields,
    ...(author.subresource === "" ? {} : { subresource: author.subresource }),
  };
}

/** The managedFields after an update: what changed now belongs to the author, and to nobody else. */
export function trackUpdate(
  old: KubeObject | undefined,
  next: KubeObject,
  schema: Schema,
  author: Author,
): ManagedFieldsEntry[] {
  const given = readEntries(next);
  // An explicitly emptied list resets the tracking.
  const entries = given ?? (old === undefined || isReset(next) ? [] : (readEntries(old) ?? []));
  const [before, after] = [within(old, author), within(next, author)];
  if (old !== undefined && equal(before, after)) return entries;
  const { added, modified, removed } = compare(before, after, schema);
  const taken = union(old === undefined ? fieldsOf(after, schema) : added, modified);
  const gone = union(taken, removed);
  const result: ManagedFieldsEntry[] = [];
  let own: ManagedFieldsEntry | undefined;
  for (const entry of entries) {
    const fields = entry.fieldsV1 as FieldSet;
    if (sameManager(entry, author, "Update")) {
      const kept = union(difference(fields, removed), taken);
      own = equal(kept, fields) && isEmpty(taken) ? entry : makeEntry(author, "Update", kept);
      if (!isEmpty(kept)) result.push(own);
      continue;
    }
    const kept = difference(fields, gone);
    if (!isEmpty(kept)) result.push(equal(kept, fields) ? entry : { ...entry, fieldsV1: kept });
  }
  if (own === undefined && !isEmpty(taken)) result.push(makeEntry(author, "Update", taken));
  return capUpdaters(result);
}

function isReset(next: KubeObject): boolean {
  return Array.isArray(next.metadata.managedFields);
}

/** The entries of an object; undefined when it has none (absent, empty, or one empty entry, which means reset). */
export function readEntries(object: KubeObject): ManagedFieldsEntry[] | undefined {
  const list: unknown = object.metadata.managedFields;
  if (!Array.isArray(list)) return undefined;
  const entries = list.filter(
    (entry) => isObject(entry) && isObject(entry["fieldsV1"]),
  ) as ManagedFieldsEntry[];
  return entries.length === 0 ? undefined : entries;
}

function capUpdaters(entries: ManagedFieldsEntry[]): ManagedFieldsEntry[] {
  const updates = entries.filter((entry) => entry.operation === "Update");
  if (updates.length <= mostUpdaters) return entries;
  const oldest = [...updates]
    .sort((a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1))
    .slice(0, updates.length - mostUpdaters + 1);
  const folded: ManagedFieldsEntry = {
    manager: "ancient-changes",
    operation: "Update",
    apiVersion: oldest[0]?.apiVersion ?? "v1",
    time: oldest.at(-1)?.time ?? "",
    fieldsType: "FieldsV1",
    fieldsV1: oldest.reduce<FieldSet>((all, entry) => union(all, entry.fieldsV1 as FieldSet), {}),
  };
  return [...entries.filter((entry) => !oldest.includes(entry)), folded];
}

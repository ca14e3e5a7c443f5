import type { JsonObject, KubeObject } from "../object.ts";
import type { Resource } from "../operations/prepare.ts";
import { groupVersion } from "../resources/resource.ts";
import { builtinColumns } from "./builtin.ts";
import { type Column, crdColumns } from "./columns.ts";

interface TableFormat {
  metaVersion: string;
  include: "None" | "Metadata" | "Object";
}

function columnsOf(resource: Resource): readonly Column[] {
  const { type, version } = resource;
  return type.builtin ? builtinColumns(`${type.group}/${type.plural}`) : crdColumns(version);
}

export function tableColumns(resource: Resource): JsonObject[] {
  return columnsOf(resource).map(({ name, type, format, description, priority }) => ({
    name,
    type,
    format: format ?? (name === "Name" ? "name" : ""),
    description: description ?? "",
    priority: priority ?? 0,
  }));
}

export function tableRow(
  object: KubeObject,
  resource: Resource,
  format: TableFormat,
  now: number,
): JsonObject {
  const cells = columnsOf(resource).map((column) => column.cell(object, now) ?? null);
  if (format.include === "None") return { cells };
  if (format.include === "Object") {
    const { type, version } = resource;
    return { cells, object: { ...object, apiVersion: groupVersion(type.group, version.name) } };
  }
  const shown = {
    kind: "PartialObjectMetadata",
    apiVersion: `meta.k8s.io/${format.metaVersion}`,
    metadata: object.metadata,
  };
  return { cells, object: shown };
}

/** meta.k8s.io Table of the objects, for kubectl to print. */
export function makeTable(
  objects: readonly KubeObject[],
  resource: Resource,
  format: TableFormat,
  now: number,
  metadata: object,
): JsonObject {
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${format.metaVersion}`,
    metadata,
    columnDefinitions: tableColumns(resource),
    rows: objects.map((object) => tableRow(object, resource, format, now)),
  };
}

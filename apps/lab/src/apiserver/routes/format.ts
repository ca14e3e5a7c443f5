import type { Cluster } from "../cluster.ts";
import { notAcceptable } from "../errors.ts";
import type { JsonObject, KubeObject } from "../object.ts";
import { inVersion, type Resource } from "../operations/prepare.ts";
import { groupVersion } from "../resources/resource.ts";
import type { Entry } from "../storage/bucket.ts";
import { makeTable, tableColumns, tableRow } from "../table/table.ts";

/** How objects are shown to a client. */
export interface Format {
  as: "object" | "table" | "partial";
  /** Of Table and PartialObjectMetadata: the meta.k8s.io version asked for. */
  metaVersion: string;
  /** What a table's rows carry besides their cells. */
  include: "None" | "Metadata" | "Object";
}

const supported = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/** Picks the first form of the Accept header that the server can make. Throws 406 when there is none. */
export function negotiate(accept: string, query: URLSearchParams): Format {
  const include = query.get("includeObject") ?? "Metadata";
  const result: Format = { as: "object", metaVersion: "v1", include: include as Format["include"] };
  const wanted = accept.trim() === "" ? ["*/*"] : accept.split(",");
  for (const each of wanted) {
    const [type = "", ...parameters] = each.split(";").map((part) => part.trim());
    if (!["application/json", "*/*", "application/*"].includes(type)) continue;
    const named = new Map(parameters.map((parameter) => parameter.split("=") as [string, string]));
    const as = named.get("as");
    if (as === undefined) return result;
    if ((named.get("g") ?? "meta.k8s.io") !== "meta.k8s.io") continue;
    const metaVersion = named.get("v") ?? "v1";
    if (!["v1", "v1beta1"].includes(metaVersion)) continue;
    if (as === "Table") return { ...result, as: "table", metaVersion };
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList")
      return { ...result, as: "partial", metaVersion };
  }
  throw notAcceptable(supported.slice(0, 1));
}

/** The same formats have the same key: encoded events are shared by it. */
export function formatKey(format: Format, version: string): string {
  return `${version} ${format.as} ${format.metaVersion} ${format.as === "table" ? format.include : ""}`;
}

function partial(object: KubeObject, metaVersion: string): JsonObject {
  return {
    kind: "PartialObjectMetadata",
    apiVersion: `meta.k8s.io/${metaVersion}`,
    metadata: object.metadata,
  };
}

/** The object as JSON text in the version and format. The stored text is used where it fits. */
export function encodeObject(
  object: KubeObject,
  json: string | undefined,
  resource: Resource,
  format: Format,
  cluster: Cluster,
): string {
  if (format.as === "partial") return JSON.stringify(partial(object, format.metaVersion));
  if (format.as === "table") {
    return JSON.stringify(
      makeTable([object], resource, format, cluster.now(), {
        resourceVersion: object.metadata.resourceVersion ?? "",
      }),
    );
  }
  const shown = inVersion(object, resource.type, resource.version.name);
  return shown === object && json !== undefined ? json : JSON.stringify(shown);
}

/** One row, without column definitions: what watches send after their first event. */
export function encodeRow(
  object: KubeObject,
  resource: Resource,
  format: Format,
  cluster: Cluster,
  first: boolean,
): string {
  return JSON.stringify({
    kind: "Table",
    apiVersion: `meta.k8s.io/${format.metaVersion}`,
    metadata: { resourceVersion: object.metadata.resourceVersion },
    columnDefinitions: first ? tableColumns(resource) : [],
    rows: [tableRow(object, resource, format, cluster.now())],
  });
}

export interface ListMeta {
  resourceVersion: string;
  continue?: string;
  remainingItemCount?: number;
}

/** A list in the format, assembled from the stored texts where possible. */
export function encodeList(
  entries: readonly Entry[],
  metadata: ListMeta,
  resource: Resource,
  format: Format,
  cluster: Cluster,
): string {
  const { type, version } = resource;
  if (format.as === "table") {
    return JSON.stringify(
      makeTable(
        entries.map((entry) => entry.object),
        resource,
        format,
        cluster.now(),
        metadata,
      ),
    );
  }
  const head =
    format.as === "partial"
      ? { kind: "PartialObjectMetadataList", apiVersion: `meta.k8s.io/${format.metaVersion}` }
      : { kind: type.listKind, apiVersion: groupVersion(type.group, version.name) };
  const items = entries.map((entry) => encodeObject(entry.object, entry.json, resource, format, cluster));
  const text = JSON.stringify({ ...head, metadata });
  return `${text.slice(0, -1)},"items":[${items.join(",")}]}`;
}

import { randomBytes } from "node:crypto";
import type { Cluster } from "../cluster.ts";
import { ApiError, badRequest, gone } from "../errors.ts";
import { at } from "../object.ts";
import type { Resource } from "../operations/prepare.ts";
import { bucketName } from "../resources/resource.ts";
import { both, fieldSelector, labelSelector, type Predicate } from "../selectors.ts";
import type { Entry } from "../storage/bucket.ts";
import type { ListMeta } from "./format.ts";

/** Label and field selectors of a query, as one predicate. */
export function selectorOf(query: URLSearchParams, resource: Resource): Predicate | undefined {
  return both(
    labelSelector(query.get("labelSelector") ?? ""),
    fieldSelector(query.get("fieldSelector") ?? "", resource.type),
  );
}

/** The revision a client names; undefined for none. Throws 400 when it is not a number. */
export function revisionOf(query: URLSearchParams): number | undefined {
  const text = query.get("resourceVersion") ?? "";
  if (text === "") return undefined;
  if (!/^\d+$/.test(text)) {
    throw badRequest(
      `Invalid value: ${JSON.stringify(text)}: resourceVersion: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  }
  return Number(text);
}

/** 504 as Kubernetes answers to a revision that has not happened yet. */
export function requireReached(cluster: Cluster, revision: number): void {
  if (revision <= cluster.store.revision) return;
  throw new ApiError(
    504,
    "Timeout",
    `Too large resource version: ${revision}, current: ${cluster.store.revision}`,
    {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  );
}

interface Page {
  entries: Entry[];
  metadata: ListMeta;
}

interface Snapshot {
  revision: number;
  entries: Entry[];
}

const expired =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";

/** How many paged lists may be under way; the oldest is forgotten and answers 410. */
const mostSnapshots = 256;

/** Lists, and what later pages of a list under way are cut from: the entries as they were at its beginning. */
export class Lister {
  readonly #cluster: Cluster;
  readonly #snapshots = new Map<string, Snapshot>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  list(resource: Resource, namespace: string, query: URLSearchParams): Page {
    const limit = Number(query.get("limit") ?? 0) || 0;
    const token = query.get("continue") ?? "";
    if (token !== "") return this.#next(token, limit, query);
    this.#checkRevision(resource, query);
    const snapshot = {
      revision: this.#cluster.store.revision,
      entries: this.#select(resource, namespace, query),
    };
    if (limit === 0 || snapshot.entries.length <= limit) {
      return { entries: snapshot.entries, metadata: { resourceVersion: String(snapshot.revision) } };
    }
    return this.#page(randomBytes(9).toString("base64url"), snapshot, 0, limit);
  }

  #select(resource: Resource, namespace: string, query: URLSearchParams): Entry[] {
    const bucket = this.#cluster.store.bucket(bucketName(resource.type));
    const selected = selectorOf(query, resource);
    // By name there is at most one in a namespace: kubectl and informers of single objects ask so.
    const name = /^metadata\.name==?([^,!=]+)$/.exec(query.get("fieldSelector") ?? "")?.[1];
    if (name !== undefined && (namespace !== "" || !resource.type.namespaced)) {
      const entry = bucket.get(namespace === "" ? name : `${namespace}/${name}`);
      return entry !== undefined && (selected === undefined || selected(entry.object)) ? [entry] : [];
    }
    const entries = [...bucket.entries(namespace === "" ? "" : `${namespace}/`)];
    return selected === undefined ? entries : entries.filter((entry) => selected(entry.object));
  }

  #checkRevision(resource: Resource, query: URLSearchParams): void {
    const revision = revisionOf(query);
    const match = query.get("resourceVersionMatch") ?? "";
    if (match !== "" && revision === undefined) {
      throw badRequest(
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
      );
    }
    if (revision === undefined) return;
    requireReached(this.#cluster, revision);
    if (match !== "Exact") return;
    if (revision === 0)
      throw badRequest(
        'resourceVersionMatch: Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
      );
    // Old states are not kept: exact is answered only while nothing of the kind has changed since.
    if (this.#cluster.store.bucket(bucketName(resource.type)).lastRevision > revision) {
      throw gone(`The resourceVersion for the provided list is too old: ${revision}`);
    }
  }

  #page(id: string, snapshot: Snapshot, offset: number, limit: number): Page {
    const entries = snapshot.entries.slice(offset, offset + limit);
    const end = offset + entries.length;
    const remaining = snapshot.entries.length - end;
    const metadata: ListMeta = { resourceVersion: String(snapshot.revision) };
    this.#snapshots.delete(id);
    if (remaining > 0) {
      this.#snapshots.set(id, snapshot);
      if (this.#snapshots.size > mostSnapshots) {
        const oldest = this.#snapshots.keys().next().value;
        if (oldest !== undefined) this.#snapshots.delete(oldest);
      }
      metadata.continue = Buffer.from(JSON.stringify({ id, offset: end })).toString("base64url");
      metadata.remainingItemCount = remaining;
    }
    return { entries, metadata };
  }

  #next(token: string, limit: number, query: URLSearchParams): Page {
    if ((query.get("resourceVersion") ?? "") !== "" && query.get("resourceVersion") !== "0") {
      throw badRequest("specifying resource version is not allowed when using continue");
    }
    let position: unknown;
    try {
      position = JSON.parse(Buffer.from(token, "base64url").toString());
    } catch {
      throw badRequest("continue key is not valid");
    }
    const id = at(position, "id");
    const offset = at(position, "offset");
    if (typeof id !== "string" || typeof offset !== "number") throw badRequest("continue key is not valid");
    const snapshot = this.#snapshots.get(id);
    if (snapshot === undefined) throw gone(expired);
    return this.#page(id, snapshot, offset, limit === 0 ? snapshot.entries.length : limit);
  }
}

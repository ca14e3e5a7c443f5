import type { Cluster } from "../cluster.ts";
import { badRequest, gone } from "../errors.ts";
import type { KubeObject } from "../object.ts";
import type { Resource } from "../operations/prepare.ts";
import { bucketName, groupVersion } from "../resources/resource.ts";
import type { Predicate } from "../selectors.ts";
import type { Bucket, Change, Entry } from "../storage/bucket.ts";
import type { Exchange } from "./exchange.ts";
import { encodeObject, encodeRow, type Format, formatKey } from "./format.ts";
import { requireReached, revisionOf, selectorOf } from "./list.ts";

const bookmarkMs = 60_000;
/** A client that reads this much slower than it is sent to is cut off, and lists again. */
const mostBuffered = 64 << 20;

/** How a watch begins. */
interface Start {
  initial: boolean;
  /** The end of the initial events is marked by a bookmark. */
  marked: boolean;
  since: number;
}

function startOf(query: URLSearchParams, cluster: Cluster): Start {
  const revision = revisionOf(query);
  if (revision !== undefined) requireReached(cluster, revision);
  const wanted = query.get("sendInitialEvents");
  if (wanted === null) {
    const any = revision === undefined || revision === 0;
    return { initial: any, marked: false, since: any ? cluster.store.revision : revision };
  }
  if (query.get("resourceVersionMatch") !== "NotOlderThan") {
    throw badRequest(
      "resourceVersionMatch: Forbidden: sendInitialEvents requires resourceVersionMatch=NotOlderThan",
    );
  }
  if (wanted === "true")
    return {
      initial: true,
      marked: query.get("allowWatchBookmarks") === "true",
      since: cluster.store.revision,
    };
  return { initial: false, marked: false, since: revision ?? cluster.store.revision };
}

/** Serves one watch until the client leaves, its time is up, or the server closes. */
export class Watch {
  readonly #cluster: Cluster;
  readonly #exchange: Exchange;
  readonly #resource: Resource;
  readonly #format: Format;
  readonly #bucket: Bucket;
  readonly #prefix: string;
  readonly #key: string | undefined;
  readonly #selected: Predicate | undefined;
  #first = true;
  #initialBytes = 0;
  #ended = false;

  constructor(
    cluster: Cluster,
    exchange: Exchange,
    resource: Resource,
    namespace: string,
    name: string,
    format: Format,
  ) {
    this.#cluster = cluster;
    this.#exchange = exchange;
    this.#resource = resource;
    this.#format = format;
    this.#bucket = cluster.store.bucket(bucketName(resource.type));
    this.#prefix = namespace === "" ? "" : `${namespace}/`;
    this.#key = name === "" ? undefined : `${this.#prefix}${name}`;
    this.#selected = selectorOf(exchange.query, resource);
  }

  run(): void {
    const { query, response } = this.#exchange;
    const start = startOf(query, this.#cluster);
    response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
    response.flushHeaders();
    const missed = start.initial ? [] : this.#bucket.since(start.since);
    if (missed === undefined) {
      const error = gone(`too old resource version: ${start.since} (${this.#bucket.floor})`);
      this.#send(`${JSON.stringify({ type: "ERROR", object: error.toStatus() })}\n`);
      response.end();
      return;
    }
    if (start.initial) this.#sendInitial(start.marked);
    for (const change of missed) this.#change(change);
    this.#stream(query);
  }

  #sendInitial(marked: boolean): void {
    for (const entry of this.#bucket.entries(this.#prefix)) {
      if (!this.#covers(entry.key) || this.#selected?.(entry.object) === false) continue;
      const event = this.#encode("ADDED", entry);
      this.#initialBytes += event.length;
      this.#send(event);
    }
    if (marked) this.#bookmark({ "k8s.io/initial-events-end": "true" });
  }

  #stream(query: URLSearchParams): void {
    const { response, request } = this.#exchange;
    const seconds = Number(query.get("timeoutSeconds") ?? 0) || 1800 + Math.floor(Math.random() * 1800);
    const bookmarks = query.get("allowWatchBookmarks") === "true";
    const stop = () => {
      if (this.#ended) return;
      this.#ended = true;
      unlisten();
      clearTimeout(timeout);
      clearInterval(beat);
    };
    const finish = () => {
      if (this.#ended) return;
      if (bookmarks) this.#bookmark();
      stop();
      response.end();
    };
    const unlisten = this.#bucket.listen((change) => {
      this.#change(change);
      if (response.writableLength > mostBuffered + this.#initialBytes) {
        stop();
        response.destroy();
      }
    }, finish);
    const timeout = setTimeout(finish, seconds * 1000);
    const beat = setInterval(() => bookmarks && this.#bookmark(), bookmarkMs);
    response.once("close", stop);
    request.once("aborted", stop);
  }

  #covers(key: string): boolean {
    return this.#key === undefined ? key.startsWith(this.#prefix) : key === this.#key;
  }

  /** A change as this watch sees it: what moves into or out of the selection is added or deleted. */
  #change(change: Change): void {
    if (!this.#covers(change.entry.key)) return;
    const { entry, previous, type } = change;
    if (this.#selected === undefined) {
      this.#send(this.#shared(type, change));
      return;
    }
    const before = previous !== undefined && this.#selected(previous.object);
    const after = type !== "DELETED" && this.#selected(entry.object);
    if (after) this.#send(this.#shared(before ? "MODIFIED" : "ADDED", change));
    else if (before && previous !== undefined) {
      if (type === "DELETED") this.#send(this.#shared("DELETED", change));
      else this.#send(this.#encode("DELETED", lastSeen(previous, entry.revision)));
    }
  }

  /** The event's bytes: made once for all watches with this format. */
  #shared(type: string, change: Change): Buffer | string {
    if (this.#format.as === "table" && this.#first) return this.#encode(type, change.entry);
    const key = `${type} ${formatKey(this.#format, this.#resource.version.name)}`;
    let bytes = change.encoded.get(key);
    if (bytes === undefined) {
      bytes = Buffer.from(this.#encode(type, change.entry));
      change.encoded.set(key, bytes);
    }
    return bytes;
  }

  #encode(type: string, entry: Entry): string {
    let object: string;
    if (this.#format.as === "table") {
      object = encodeRow(entry.object, this.#resource, this.#format, this.#cluster, this.#first);
      this.#first = false;
    } else {
      object = encodeObject(entry.object, entry.json, this.#resource, this.#format, this.#cluster);
    }
    return `{"type":"${type}","object":${object}}\n`;
  }

  #bookmark(annotations?: Record<string, string>): void {
    const { type, version } = this.#resource;
    const resourceVersion = String(this.#cluster.store.revision);
    const metadata = { resourceVersion, ...(annotations === undefined ? {} : { annotations }) };
    let object: unknown = { kind: type.kind, apiVersion: groupVersion(type.group, version.name), metadata };
    if (this.#format.as === "partial") {
      object = {
        kind: "PartialObjectMetadata",
        apiVersion: `meta.k8s.io/${this.#format.metaVersion}`,
        metadata,
      };
    } else if (this.#format.as === "table") {
      // A table carries the object of its row, so the bookmark's annotation travels in a row without cells.
      const row = {
        cells: [],
        object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata },
      };
      object = {
        kind: "Table",
        apiVersion: `meta.k8s.io/${this.#format.metaVersion}`,
        metadata: { resourceVersion },
        columnDefinitions: [],
        rows: annotations === undefined ? [] : [row],
      };
    }
    this.#send(`${JSON.stringify({ type: "BOOKMARK", object })}\n`);
  }

  #send(event: Buffer | string): void {
    if (!this.#ended) this.#exchange.response.write(event);
  }
}

/** The last state a selection saw of an object that left it, at the revision of the change that took it out. */
function lastSeen(previous: Entry, revision: number): Entry {
  const metadata = { ...previous.object.metadata, resourceVersion: String(revision) };
  const object: KubeObject = { ...previous.object, metadata };
  return { key: previous.key, object, revision, json: JSON.stringify(object) };
}

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { anonymous, type ClusterConfig, type KubeObject } from "@axoneme/kube";

export interface Stored extends KubeObject {
  metadata: { name: string; namespace?: string; uid: string; resourceVersion: string };
  data?: string;
}

interface HistoryEntry {
  type: "ADDED" | "MODIFIED" | "DELETED";
  version: number;
  collection: string;
  object: Stored;
}

interface Target {
  collection: string;
  namespace: string | undefined;
  name: string | undefined;
}

export interface Seen {
  method: string;
  url: URL;
  headers: http.IncomingHttpHeaders;
  body: string;
  target: Target | undefined;
}

/** Answers a request in place of the server; true when it did. */
export type Interceptor = (seen: Seen, response: ServerResponse, api: FakeApi) => boolean;

interface Watcher {
  target: Target;
  response: ServerResponse;
}

/** A small API server: lists in pages, watches with history and bookmarks, writes with versions; and it can misbehave. */
export class FakeApi {
  version = 10;
  /** Watches from before this version get a 410. */
  compacted = 0;
  readonly seen: Seen[] = [];
  readonly watchers = new Set<Watcher>();
  intercept: Interceptor = () => false;
  /** Bytes a write of the watch is split into; 0: not at all. */
  chunkBytes = 0;
  /** Continue tokens still honoured. */
  readonly #tokens = new Map<string, { items: Stored[]; version: number }>();
  readonly #objects = new Map<string, Stored>();
  readonly #history: HistoryEntry[] = [];
  readonly #sockets = new Set<Socket>();
  readonly server: http.Server;
  #uid = 0;
  #url = "";

  constructor(tls?: https.ServerOptions) {
    const handler = (request: IncomingMessage, response: ServerResponse): void =>
      this.#receive(request, response);
    this.server = tls === undefined ? http.createServer(handler) : https.createServer(tls, handler);
    this.server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => this.#sockets.delete(socket));
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    const scheme = this.server instanceof https.Server ? "https" : "http";
    this.#url = `${scheme}://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  get url(): string {
    return this.#url;
  }

  get config(): ClusterConfig {
    return { server: this.#url, namespace: "default", credentials: anonymous };
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Creates or changes an object; tells the watchers. */
  put(collection: string, namespace: string | undefined, name: string, data = ""): Stored {
    const key = `${collection}|${namespace ?? ""}/${name}`;
    const held = this.#objects.get(key);
    const uid = held?.metadata.uid ?? `uid-${++this.#uid}`;
    const metadata = { name, ...(namespace === undefined ? {} : { namespace }), uid };
    return this.#store(key, collection, { ...held, metadata: { ...metadata, resourceVersion: "" }, data });
  }

  remove(collection: string, namespace: string | undefined, name: string): void {
    const key = `${collection}|${namespace ?? ""}/${name}`;
    const held = this.#objects.get(key);
    if (held === undefined) return;
    this.#objects.delete(key);
    const version = ++this.version;
    const object = { ...held, metadata: { ...held.metadata, resourceVersion: String(version) } };
    this.#emit({ type: "DELETED", version, collection, object });
  }

  /** Forgets the history: whoever is behind must list again. */
  compact(): void {
    this.compacted = this.version;
    this.#history.length = 0;
  }

  expireTokens(): void {
    this.#tokens.clear();
  }

  bookmark(): void {
    for (const watcher of this.watchers) this.#send(watcher.response, "BOOKMARK", bookmarkOf(this.version));
  }

  /** Cuts every open watch. */
  cutWatches(): void {
    for (const watcher of this.watchers) watcher.response.destroy();
  }

  objects(collection: string, namespace?: string): Stored[] {
    const all = [...this.#objects].filter(([key]) =>
      key.startsWith(`${collection}|${namespace ? `${namespace}/` : ""}`),
    );
    return all.map(([, object]) => object).sort((a, b) => (keyText(a) < keyText(b) ? -1 : 1));
  }

  /** The lines a watch of everything since `version` would send. */
  eventLines(collection: string, namespace: string, since: number): string {
    const due = this.#history.filter((entry) =>
      matches(entry, { collection, namespace, name: undefined }, since),
    );
    return due.map(({ type, object }) => `${JSON.stringify({ type, object })}\n`).join("");
  }

  static status(
    response: ServerResponse,
    code: number,
    reason: string,
    headers: Record<string, string> = {},
  ): true {
    response.writeHead(code, { "content-type": "application/json", ...headers });
    response.end(
      JSON.stringify({ kind: "Status", status: "Failure", code, reason, message: `told to answer ${code}` }),
    );
    return true;
  }

  #store(key: string, collection: string, object: Stored): Stored {
    const type = this.#objects.has(key) ? "MODIFIED" : "ADDED";
    const version = ++this.version;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    this.#objects.set(key, stored);
    this.#emit({ type, version, collection, object: stored });
    return stored;
  }

  #emit(entry: HistoryEntry): void {
    this.#history.push(entry);
    for (const watcher of this.watchers) {
      if (matches(entry, watcher.target, 0)) this.#send(watcher.response, entry.type, entry.object);
    }
  }

  #send(response: ServerResponse, type: string, object: unknown): void {
    const bytes = Buffer.from(`${JSON.stringify({ type, object })}\n`);
    const step = this.chunkBytes || bytes.length;
    for (let at = 0; at < bytes.length; at += step) response.write(bytes.subarray(at, at + step));
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://x");
      const body = Buffer.concat(chunks).toString();
      const target = parseTarget(url.pathname);
      const seen = { method: request.method ?? "GET", url, headers: request.headers, body, target };
      this.seen.push(seen);
      if (!this.intercept(seen, response, this)) this.answer(seen, response);
    });
  }

  /** The proper answer to a request. */
  answer(seen: Seen, response: ServerResponse): true {
    const { target, method, url } = seen;
    if (target === undefined) return refuse(response, 404, "NotFound");
    if (method === "GET" && target.name === undefined) {
      const watching = url.searchParams.get("watch") === "true";
      return watching ? this.#watch(target, url, response) : this.#list(target, url, response);
    }
    return this.#object(seen, target, response);
  }

  #object({ method, body }: Seen, target: Target, response: ServerResponse): true {
    const sent = body === "" ? undefined : (JSON.parse(body) as Stored);
    const name = target.name ?? sent?.metadata.name ?? "";
    const key = `${target.collection}|${target.namespace ?? ""}/${name}`;
    const held = this.#objects.get(key);
    if (method === "POST") {
      if (held !== undefined) return refuse(response, 409, "AlreadyExists");
      const metadata = { ...sent?.metadata, name, uid: `uid-${++this.#uid}`, resourceVersion: "" };
      return reply(response, this.#store(key, target.collection, { ...sent, metadata } as Stored), 201);
    }
    if (held === undefined) return refuse(response, 404, "NotFound");
    if (method === "GET") return reply(response, held);
    if (method === "DELETE") {
      this.remove(target.collection, target.namespace, name);
      return reply(response, { kind: "Status", status: "Success" });
    }
    const expected = sent?.metadata.resourceVersion;
    if (expected !== undefined && expected !== held.metadata.resourceVersion) {
      return refuse(response, 409, "Conflict");
    }
    return reply(
      response,
      this.#store(key, target.collection, {
        ...sent,
        metadata: { ...sent?.metadata, uid: held.metadata.uid },
      } as Stored),
    );
  }

  #list(target: Target, url: URL, response: ServerResponse): true {
    const limit = Number(url.searchParams.get("limit") ?? "0") || Number.POSITIVE_INFINITY;
    const token = url.searchParams.get("continue");
    const held = token === null ? undefined : this.#tokens.get(token);
    if (token !== null && held === undefined) return refuse(response, 410, "Expired");
    const items = held?.items ?? this.objects(target.collection, target.namespace);
    const version = held?.version ?? this.version;
    const metadata: { resourceVersion: string; continue?: string } = { resourceVersion: String(version) };
    if (items.length > limit) {
      const next = `t${this.#tokens.size + Math.random()}`;
      this.#tokens.set(next, { items: items.slice(limit), version });
      metadata.continue = next;
    }
    return reply(response, { kind: "List", metadata, items: items.slice(0, limit) });
  }

  #watch(target: Target, url: URL, response: ServerResponse): true {
    const since = Number(url.searchParams.get("resourceVersion") ?? "0");
    if (since < this.compacted) return refuse(response, 410, "Expired");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const watcher = { target, response };
    this.watchers.add(watcher);
    response.on("close", () => this.watchers.delete(watcher));
    for (const entry of this.#history) {
      if (matches(entry, target, since)) this.#send(response, entry.type, entry.object);
    }
    return true;
  }
}

function keyText(object: Stored): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
}

function bookmarkOf(version: number): unknown {
  return { kind: "Pod", metadata: { resourceVersion: String(version), creationTimestamp: null } };
}

function matches(entry: HistoryEntry, target: Target, since: number): boolean {
  if (entry.version <= since || entry.collection !== target.collection) return false;
  return target.namespace === undefined || target.namespace === entry.object.metadata.namespace;
}

function refuse(response: ServerResponse, code: number, reason: string): true {
  return FakeApi.status(response, code, reason);
}

function reply(response: ServerResponse, body: unknown, code = 200): true {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
  return true;
}

function parseTarget(path: string): Target | undefined {
  const match = /^\/(?:api\/v1|apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?\/([^/]+)(?:\/([^/]+))?/.exec(
    path,
  );
  const collection = match?.[2];
  return collection === undefined ? undefined : { collection, namespace: match?.[1], name: match?.[3] };
}

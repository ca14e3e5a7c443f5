import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, errorText, type Logger } from "@axoneme/base";
import type { ApiError } from "@axoneme/observe";
import type { Meters } from "./metrics/meters.ts";

/** What a handler is told of the request. `signal` aborts when the client goes away. */
export interface ApiRequest {
  /** The path's part behind the route's prefix, decoded; empty when there is none. */
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

/** A body: JSON, text, or lines of JSON as they come. */
export type ApiAnswer =
  | { readonly json: unknown }
  | { readonly text: string; readonly status?: number; readonly contentType?: string }
  | { readonly lines: AsyncIterable<unknown> };

export type ApiHandler = (request: ApiRequest) => ApiAnswer | Promise<ApiAnswer>;

/** Thrown by handlers for an answer that is not 2xx. */
export class HttpError extends AxonError {
  readonly status: number;
  readonly fix: string | undefined;

  constructor(status: number, code: string, message: string, fix?: string) {
    super(code, message);
    this.status = status;
    this.fix = fix;
  }
}

/** Where the server listens: a UNIX socket of mode 0600, or host and port for what may leave the node. */
export type Listen = { readonly path: string } | { readonly host: string; readonly port: number };

/** The key of a route that does something: answered to POST only. */
export function action(path: string): string {
  return `POST ${path}`;
}

/** The agent's HTTP API: routes by longest path prefix; GET, and POST for those under {@link action}. */
export class ApiServer implements Module {
  readonly name: string;
  readonly #listen: Listen;
  readonly #routes: ReadonlyMap<string, ApiHandler>;
  readonly #meters: Meters;
  readonly #log: Logger;
  #server: Server | undefined;

  constructor(
    name: string,
    listen: Listen,
    routes: ReadonlyMap<string, ApiHandler>,
    meters: Meters,
    log: Logger,
  ) {
    this.name = name;
    this.#listen = listen;
    this.#routes = routes;
    this.#meters = meters;
    this.#log = log;
  }

  async start(health: HealthReporter): Promise<void> {
    const server = createServer((req, res) => void this.#serve(req, res));
    server.requestTimeout = 10_000;
    await this.#bind(server);
    this.#server = server;
    const at = "path" in this.#listen ? this.#listen.path : `${this.#listen.host}:${this.#listen.port}`;
    health.ok(`listening on ${at}`);
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #bind(server: Server): Promise<void> {
    if ("path" in this.#listen) {
      mkdirSync(dirname(this.#listen.path), { recursive: true, mode: 0o700 });
      rmSync(this.#listen.path, { force: true });
    }
    const umask = process.umask(0o177);
    try {
      server.listen(this.#listen);
      await once(server, "listening");
    } finally {
      process.umask(umask);
    }
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const gone = new AbortController();
    const begin = performance.now();
    res.on("close", () => {
      gone.abort();
      const took = (performance.now() - begin) / 1000;
      this.#meters.ownCall(this.#routeOf(req.url ?? "/"), req.method ?? "", res.statusCode, took);
    });
    try {
      await send(res, await this.#route(req, gone.signal), gone.signal);
    } catch (error) {
      if (gone.signal.aborted) return;
      sendError(res, error);
      if (!(error instanceof HttpError)) this.#log.error({ err: error, url: req.url }, "API request failed");
    }
  }

  /** The registered path behind a target: a label must not have as many values as clients can think of. */
  #routeOf(target: string): string {
    const bare = target.split("?", 1)[0] ?? "";
    for (let path = bare; path !== ""; path = path.slice(0, path.lastIndexOf("/"))) {
      if (this.#routes.has(path) || this.#routes.has(action(path))) return path;
    }
    return "<none>";
  }

  #route(req: IncomingMessage, signal: AbortSignal): ApiAnswer | Promise<ApiAnswer> {
    const { method } = req;
    const url = parseTarget(req.url ?? "/");
    for (let path = url.pathname; path !== ""; path = path.slice(0, path.lastIndexOf("/"))) {
      const get = this.#routes.get(path);
      const post = this.#routes.get(action(path));
      if (!get && !post) continue;
      const handler = method === "GET" ? get : method === "POST" ? post : undefined;
      if (!handler) {
        const allowed = [get && "GET", post && "POST"].filter(Boolean).join(" or ");
        throw new HttpError(405, "method_not_allowed", `${method} is not supported: use ${allowed}`);
      }
      const rest = decode(url.pathname.slice(path.length + 1));
      return handler({ rest, query: url.searchParams, signal });
    }
    throw new HttpError(404, "not_found", `no such path: ${url.pathname}`);
  }
}

/** What a client cannot spell is its fault, and no line in our log. */
function parseTarget(target: string): URL {
  try {
    return new URL(target, "http://agent");
  } catch {
    throw new HttpError(400, "bad_target", "the request's target is no path");
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new HttpError(400, "bad_target", "the path is not well encoded: use UTF-8 in %XX");
  }
}

async function send(res: ServerResponse, answer: ApiAnswer, signal: AbortSignal): Promise<void> {
  if ("json" in answer) {
    res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer.json));
  } else if ("text" in answer) {
    res
      .writeHead(answer.status ?? 200, { "content-type": answer.contentType ?? "text/plain" })
      .end(answer.text);
  } else {
    res.writeHead(200, { "content-type": "application/x-ndjson" });
    res.flushHeaders();
    for await (const line of answer.lines) {
      if (signal.aborted) return;
      if (!res.write(`${JSON.stringify(line)}\n`)) await once(res, "drain", { signal });
    }
    res.end();
  }
}

function sendError(res: ServerResponse, error: unknown): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const known = error instanceof HttpError;
  const body: ApiError = {
    code: known ? error.code : "internal",
    message: errorText(error),
    ...(known && error.fix !== undefined ? { fix: error.fix } : {}),
  };
  res.writeHead(known ? error.status : 500, { "content-type": "application/json" }).end(JSON.stringify(body));
}

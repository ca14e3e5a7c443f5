import { once } from "node:events";
import { readFileSync, realpathSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { extname, join, sep } from "node:path";
import { AxonError, errorText, type Logger } from "@axoneme/base";
import { readFilter } from "../shared/model.ts";
import type { AgentPolicies } from "./agents.ts";
import type { FlowHub } from "./hub.ts";
import { mostPast } from "./hub.ts";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};
/** Nothing but our own files, and no page of others around ours. */
const safety = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
} as const;
/** Bytes that a page may leave unread: a page that sleeps gets no more until it wakes. */
const mostUnread = 4 << 20;

export interface UiServerOptions {
  readonly host: string;
  readonly port: number;
  /** Folder of the built page. */
  readonly assets: string;
  /** Host names under which the page may be asked for, besides addresses of loopback: against DNS rebinding. */
  readonly hostNames: readonly string[];
}

/** Serves the page, what it shows, and nothing else. Reads only. */
export class UiServer {
  readonly #hub: FlowHub;
  readonly #policies: AgentPolicies;
  readonly #options: UiServerOptions;
  readonly #log: Logger;
  readonly #server: Server;

  constructor(hub: FlowHub, policies: AgentPolicies, options: UiServerOptions, log: Logger) {
    this.#hub = hub;
    this.#policies = policies;
    this.#options = options;
    this.#log = log;
    this.#server = createServer((req, res) => void this.#serve(req, res));
    this.#server.requestTimeout = 10_000;
  }

  /** @returns the address as a person opens it. @throws when the port is taken. */
  async start(): Promise<string> {
    const { host, port } = this.#options;
    this.#server.listen(port, host);
    await once(this.#server, "listening");
    const address = this.#server.address();
    const actual = typeof address === "object" && address !== null ? address.port : port;
    return `http://${host.includes(":") ? `[${host}]` : host}:${actual}/`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      await this.#route(req, res);
    } catch (error) {
      const known = error instanceof AxonError;
      if (!known) this.#log.error({ err: error, url: req.url }, "a request failed");
      if (res.headersSent) res.destroy();
      else json(res, known && error.code === "ui.bad_request" ? 400 : 502, { message: errorText(error) });
    }
  }

  async #route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (req.method !== "GET" && req.method !== "HEAD")
      return plain(res, 405, "this server is only read from");
    if (!this.#isOurName(req.headers.host ?? ""))
      return plain(res, 403, `not served under the name ${req.headers.host ?? ""}: start with --host-name`);
    const url = new URL(req.url ?? "/", "http://ui");
    switch (url.pathname) {
      case "/api/live":
        return this.#live(url.searchParams, res);
      case "/api/past":
        return json(res, 200, await this.#past(url.searchParams));
      case "/api/policies":
        return json(res, 200, await this.#policies.book());
      case "/api/health":
        return json(res, 200, this.#hub.health());
      case "/api/nodes":
        return json(res, 200, this.#hub.nodes);
      default:
        return this.#file(url.pathname, res);
    }
  }

  #isOurName(host: string): boolean {
    const name = host
      .replace(/:\d+$/, "")
      .replace(/^\[|\]$/g, "")
      .toLowerCase();
    return ["localhost", "127.0.0.1", "::1", this.#options.host, ...this.#options.hostNames].includes(name);
  }

  /** Server-sent events (WHATWG HTML, section 9.2): one message a second. */
  #live(query: URLSearchParams, res: ServerResponse): void {
    res.writeHead(200, { ...safety, "content-type": "text/event-stream", "cache-control": "no-store" });
    const page = {
      send: (message: unknown): void => {
        if (res.writableLength > mostUnread) res.destroy();
        else res.write(`data: ${JSON.stringify(message)}\n\n`);
      },
    };
    const leave = this.#hub.subscribe(page, readFilter(query));
    res.on("close", leave);
  }

  async #past(query: URLSearchParams): Promise<unknown> {
    const number = (name: string): number => {
      const value = Number(query.get(name));
      if (!Number.isFinite(value) || value <= 0)
        throw new AxonError("ui.bad_request", `${name} must be a time in milliseconds since 1970`);
      return value;
    };
    const [since, until] = [number("since"), number("until")];
    if (until < since) throw new AxonError("ui.bad_request", "until is before since");
    return this.#hub.past({ since, until, limit: mostPast }, readFilter(query));
  }

  #file(path: string, res: ServerResponse): void {
    const root = realpathSync(this.#options.assets);
    const wanted = path === "/" ? "index.html" : path.slice(1);
    let real: string;
    try {
      real = realpathSync(join(root, wanted));
      if (!real.startsWith(root + sep)) throw new Error("outside");
      const body = readFileSync(real);
      const cache = wanted.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache";
      res.writeHead(200, {
        ...safety,
        "content-type": types[extname(real)] ?? "application/octet-stream",
        "cache-control": cache,
      });
      res.end(body);
    } catch {
      plain(res, 404, "no such page");
    }
  }
}

function json(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { ...safety, "content-type": "application/json", "cache-control": "no-store" });
  res.end(JSON.stringify(body));
}

function plain(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, { ...safety, "content-type": "text/plain; charset=utf-8" });
  res.end(`${text}\n`);
}

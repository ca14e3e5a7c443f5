import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { backoff, errorText, type Logger } from "@axoneme/base";

/** A Service whose node-local endpoints load balancers outside ask for. */
export interface HealthChecked {
  readonly namespace: string;
  readonly name: string;
  /** `spec.healthCheckNodePort`. */
  readonly port: number;
}

/** What the servers ask and tell. */
export interface HealthCheckDeps {
  /** Ready endpoints of the Service on this node, at this moment. */
  readonly localEndpoints: (namespace: string, name: string) => number;
  /** Whether a request that came to this address of the node is to be answered. */
  readonly serves: (address: string) => boolean;
  /** Told what is wrong with a Service's port, and with undefined that it is mended. */
  readonly onProblem: (service: string, problem: string | undefined) => void;
  readonly log: Logger;
}

interface Open {
  readonly service: HealthChecked;
  readonly key: string;
  server: Server | undefined;
  retry: NodeJS.Timeout | undefined;
  readonly wait: ReturnType<typeof backoff>;
  closed: boolean;
}

/** One HTTP server for each healthCheckNodePort, with kube-proxy's answer. They come and go with the Services. */
export class HealthCheckServers {
  readonly #deps: HealthCheckDeps;
  readonly #open = new Map<string, Open>();

  constructor(deps: HealthCheckDeps) {
    this.#deps = deps;
  }

  /** How many ports are open or being opened. */
  get size(): number {
    return this.#open.size;
  }

  /** States the port of a Service; undefined: it has none (any more). */
  set(key: string, service: HealthChecked | undefined): void {
    const current = this.#open.get(key);
    if (current && service?.port === current.service.port) return;
    if (current) this.#close(current);
    if (!service) return;
    const open: Open = {
      service,
      key,
      server: undefined,
      retry: undefined,
      wait: backoff({ baseMs: 200, maxMs: 30_000 }),
      closed: false,
    };
    this.#open.set(key, open);
    this.#listen(open);
  }

  /** Closes all of them. */
  async stop(): Promise<void> {
    const servers = [...this.#open.values()].map((open) => {
      this.#close(open);
      return open.server;
    });
    await Promise.all(servers.map((server) => server?.listening && once(server, "close")));
  }

  #close(open: Open): void {
    open.closed = true;
    clearTimeout(open.retry);
    open.server?.close();
    open.server?.closeAllConnections();
    this.#open.delete(open.key);
  }

  /** A port that another process has may become free: it is tried again, with pauses that grow. */
  #listen(open: Open): void {
    const server = createServer((req, res) => this.#answer(open.service, req, res));
    server.requestTimeout = 5000;
    server.maxConnections = 256;
    open.server = server;
    server.on("error", (error: NodeJS.ErrnoException) => this.#failed(open, error));
    server.listen({ port: open.service.port }, () => {
      open.wait.reset();
      this.#deps.onProblem(open.key, undefined);
    });
    server.unref();
  }

  #failed(open: Open, error: NodeJS.ErrnoException): void {
    if (open.closed) return;
    const { port } = open.service;
    const why = error.code === "EADDRINUSE" ? "another process listens on it" : errorText(error);
    if (open.wait.attempt === 0)
      this.#deps.log.warn({ err: error, service: open.key, port }, "healthCheckNodePort cannot be opened");
    this.#deps.onProblem(open.key, `healthCheckNodePort ${port} cannot be opened: ${why}`);
    open.retry = setTimeout(() => this.#listen(open), open.wait.next()).unref();
  }

  #answer({ namespace, name }: HealthChecked, req: IncomingMessage, res: ServerResponse): void {
    if (!this.#deps.serves(req.socket.localAddress ?? "")) {
      req.socket.destroy();
      return;
    }
    const localEndpoints = this.#deps.localEndpoints(namespace, name);
    const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: true };
    res.writeHead(localEndpoints > 0 ? 200 : 503, {
      "content-type": "application/json",
      "x-content-type-options": "nosniff",
      "x-load-balancing-endpoint-weight": `${localEndpoints}`,
    });
    res.end(`${JSON.stringify(body)}\n`);
  }
}

import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { errorText, type Logger } from "@axoneme/base";
import { WebSocketServer } from "ws";
import type { NodeContext } from "./context.ts";
import { execProtocols, execSession } from "./exec.ts";
import { parseLogQuery } from "./logquery.ts";
import type { PodWorker } from "./podworker.ts";

/** The pods a kubelet serves. */
export interface PodDirectory {
  find(namespace: string, name: string): PodWorker | undefined;
}

interface Target {
  verb: string;
  worker: PodWorker;
  container: string;
}

class HttpProblem extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * The kubelet's API as the API server's proxy needs it, on a unix socket:
 * GET /containerLogs/<namespace>/<pod>/<container>, and the WebSocket /exec/<namespace>/<pod>/<container>.
 */
export class KubeletServer {
  readonly #context: NodeContext;
  readonly #pods: PodDirectory;
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => execProtocols.find((protocol) => offered.has(protocol)) ?? false,
  });

  constructor(context: NodeContext, pods: PodDirectory) {
    this.#context = context;
    this.#pods = pods;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  get #log(): Logger {
    return this.#context.log;
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  async close(): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #target(url: URL): Target {
    const [, verb = "", namespace = "", name = "", container] = url.pathname
      .split("/")
      .map(decodeURIComponent);
    const worker = this.#pods.find(namespace, name);
    if (worker === undefined) throw new HttpProblem(404, `pod "${name}" not found on this node`);
    const chosen = container === undefined || container === "" ? worker.defaultContainer : container;
    if (!worker.hasContainer(chosen)) {
      throw new HttpProblem(400, `container ${chosen} is not valid for pod ${name}`);
    }
    return { verb, worker, container: chosen };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://kubelet");
    if (url.pathname === "/healthz") {
      response.end("ok");
      return;
    }
    try {
      const target = this.#target(url);
      if (target.verb !== "containerLogs") throw new HttpProblem(404, `${url.pathname} is not served here`);
      await this.#logs(target, url, response);
    } catch (error) {
      const status = error instanceof HttpProblem ? error.status : 500;
      if (!response.headersSent) response.writeHead(status, { "content-type": "text/plain" });
      response.end(errorText(error));
    }
  }

  async #logs({ worker, container }: Target, url: URL, response: ServerResponse): Promise<void> {
    const { previous, ...query } = parseLogQuery(url.searchParams, this.#context.clock.now());
    const log = worker.log(container, previous);
    if (log === undefined) {
      const name = worker.pod.metadata?.name ?? "";
      throw new HttpProblem(400, `previous terminated container "${container}" in pod "${name}" not found`);
    }
    const abort = new AbortController();
    response.on("close", () => abort.abort());
    response.writeHead(200, { "content-type": "text/plain" });
    response.flushHeaders();
    for await (const text of log.read(query, abort.signal)) {
      if (!response.write(text))
        await new Promise<void>((resolve) => response.once("drain", resolve).once("close", resolve));
    }
    response.end();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = new URL(request.url ?? "/", "http://kubelet");
    try {
      const { verb, worker, container } = this.#target(url);
      if (verb !== "exec")
        throw new HttpProblem(404, `${verb} is not served by the lab's kubelet, only exec is`);
      this.#sockets.handleUpgrade(request, socket, head, (client) => {
        void execSession(this.#context, client, {
          query: url.searchParams,
          target: (argv) => worker.execSpec(container, argv),
        }).catch((error: unknown) => {
          this.#log.warn({ err: errorText(error) }, "an exec session failed");
          client.terminate();
        });
      });
    } catch (error) {
      const status = error instanceof HttpProblem ? error.status : 500;
      const body = errorText(error);
      socket.end(
        `HTTP/1.1 ${status} Error\r\ncontent-type: text/plain\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    }
  }
}

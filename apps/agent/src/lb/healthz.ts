import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { HealthReporter, Module } from "@axoneme/app";

/** What kube-proxy's health check tells. */
export interface ProxyHealth {
  /** Whether the rows in the kernel follow the API: synced, and no write fails. */
  readonly healthy: boolean;
  /** When rows were last written, or found to be right. */
  readonly lastUpdated: Date;
  /** False while the cluster autoscaler is about to remove the node: load balancers are to leave it. */
  readonly eligible: boolean;
}

/** kube-proxy's /healthz and /livez, for those who watch a node by them. */
export class ProxyHealthz implements Module {
  readonly name = "healthz";
  readonly #listen: { readonly host: string; readonly port: number };
  readonly #health: () => ProxyHealth;
  #server: Server | undefined;

  constructor(listen: { readonly host: string; readonly port: number }, health: () => ProxyHealth) {
    this.#listen = listen;
    this.#health = health;
  }

  /** @throws the system's error when the address is taken: the configuration names one that is not ours. */
  async start(health: HealthReporter): Promise<void> {
    const server = createServer((req, res) => {
      const { healthy, lastUpdated, eligible } = this.#health();
      const path = (req.url ?? "").split("?")[0];
      if (path !== "/healthz" && path !== "/livez") {
        res.writeHead(404).end();
        return;
      }
      const good = healthy && (path === "/livez" || eligible);
      const times = { lastUpdated: lastUpdated.toISOString(), currentTime: new Date().toISOString() };
      res.writeHead(good ? 200 : 503, {
        "content-type": "application/json",
        "x-content-type-options": "nosniff",
      });
      res.end(`${JSON.stringify(path === "/livez" ? times : { ...times, nodeEligible: eligible })}\n`);
    });
    server.requestTimeout = 5000;
    const { host, port } = this.#listen;
    server.listen({ port, ...(host === "" ? {} : { host }) });
    await once(server, "listening");
    this.#server = server;
    health.ok(`listening on ${host || "all addresses"} port ${port}`);
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

import { rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { AxonError } from "@axoneme/base";
import type { Metrics } from "./metrics.ts";

/** `/metrics` and `/healthz` over a UNIX socket, and over TCP where that is asked for. */
export class MetricsServer {
  private readonly servers: Server[] = [];
  private readonly metrics: Metrics;

  constructor(metrics: Metrics) {
    this.metrics = metrics;
  }

  /** A file that is there already is replaced: it was a proxy's that this one follows. */
  listenUnix(path: string): Promise<void> {
    rmSync(path, { force: true });
    return this.listen({ path });
  }

  /** `address`: host:port. Throws `config.invalid`. */
  listenTcp(address: string): Promise<void> {
    const colon = address.lastIndexOf(":");
    const port = Number(address.slice(colon + 1));
    if (colon <= 0 || !Number.isInteger(port))
      throw new AxonError("config.invalid", `"metricsAddress" must be host:port, got "${address}"`);
    return this.listen({ host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port });
  }

  close(): void {
    for (const server of this.servers) {
      server.close();
      server.closeAllConnections();
    }
  }

  private listen(where: { path: string } | { host: string; port: number }): Promise<void> {
    const server = createServer((request, response) => {
      const isMetrics = request.url === "/metrics";
      if (!isMetrics && request.url !== "/healthz") {
        response.writeHead(404).end();
        return;
      }
      response.setHeader("content-type", "text/plain; version=0.0.4; charset=utf-8");
      response.end(isMetrics ? this.metrics.text() : "ok\n");
    });
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      const mask = process.umask(0o177);
      server.listen(where, resolve);
      process.umask(mask);
    });
  }
}

import { createServer, type Server } from "node:http";
import { AxonError } from "@axoneme/base";
import type { Relay, WatchedPeers } from "@axoneme/observe";
import type { Registry } from "prom-client";

/**
 * Serves /healthz (200 while a node is reached or there is none, else 503; the nodes in JSON) and /metrics.
 * @throws AxonError `relay.listen`
 */
export async function listen(
  address: string,
  relay: Relay,
  peers: WatchedPeers,
  metrics: Registry,
): Promise<Server> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  const server = createServer((request, response) => {
    if (request.url === "/healthz") {
      const { connected, unavailable } = relay.health;
      const isWell = connected.length > 0 || unavailable.size === 0;
      response.writeHead(isWell ? 200 : 503, { "content-type": "application/json" });
      const told = { connected, unavailable: Object.fromEntries(unavailable), peers: peers.problem ?? "ok" };
      response.end(`${JSON.stringify(told)}\n`);
    } else if (request.url === "/metrics") {
      void metrics.metrics().then((text) => {
        response.writeHead(200, { "content-type": metrics.contentType }).end(text);
      });
    } else response.writeHead(404).end("not found\n");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new AxonError("relay.listen", `cannot listen on ${address}`, { cause })),
    );
    server.listen({ ...(host === "" ? {} : { host }), port: Number(address.slice(colon + 1)) }, resolve);
  });
  return server;
}

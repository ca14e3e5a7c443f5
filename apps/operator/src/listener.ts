import { createServer, type Server, type ServerResponse } from "node:http";
import { AxonError } from "@axoneme/base";
import type { Registry } from "prom-client";
import type { Operator } from "./operator.ts";

/** Serves /healthz and /metrics on `address` ("host:port", "[::1]:port", ":port": all addresses). Throws `operator.listen`. */
export async function listen(address: string, operator: Operator, metrics: Registry): Promise<Server> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  const server = createServer((request, response) => {
    if (request.url === "/healthz") return healthz(operator, response);
    if (request.url === "/metrics") return void metricsPage(metrics, response);
    response.writeHead(404).end("not found\n");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new AxonError("operator.listen", `cannot listen on ${address}: ${cause.message}`, { cause })),
    );
    server.listen({ ...(host === "" ? {} : { host }), port: Number(address.slice(colon + 1)) }, resolve);
  });
  return server;
}

/** Healthy is also who waits: only a leader whose modules do not work is not. */
function healthz(operator: Operator, response: ServerResponse): void {
  const modules = operator.term?.health.modules() ?? [];
  const failed = modules.some((module) => module.state === "failed");
  response.writeHead(failed ? 503 : 200, { "content-type": "application/json" });
  response.end(`${JSON.stringify({ leading: operator.leading, modules })}\n`);
}

async function metricsPage(metrics: Registry, response: ServerResponse): Promise<void> {
  const text = await metrics.metrics();
  response.writeHead(200, { "content-type": metrics.contentType }).end(text);
}

import { errorText, type Logger } from "@axoneme/base";
import { type ApiHandler, ApiServer } from "../api-server.ts";
import type { Meters } from "./meters.ts";

/**
 * /healthz and /readyz on the node's loopback, for probes. Ready is who once could serve pods (CNI's STATUS) and is
 * well: a node without a free address keeps what it has.
 */
export function healthServer(
  port: number,
  routes: ReadonlyMap<string, ApiHandler>,
  status: () => Promise<void>,
  meters: Meters,
  log: Logger,
): ApiServer {
  const healthz: ApiHandler = routes.get("/healthz") ?? (() => ({ text: "ok\n" }));
  let wasReady = false;
  const readyz: ApiHandler = async (request) => {
    try {
      if (!wasReady) await status();
      wasReady = true;
      return healthz(request);
    } catch (error) {
      return { text: `${errorText(error)}\n`, status: 503 };
    }
  };
  const open = new Map<string, ApiHandler>([
    ["/healthz", healthz],
    ["/readyz", readyz],
  ]);
  return new ApiServer("health", { host: "127.0.0.1", port }, open, meters, log);
}

/**
 * /healthz and /metrics over TCP, for probes and scrapers; nothing else leaves the socket.
 * @param address host:port
 */
export function metricsServer(
  address: string,
  routes: ReadonlyMap<string, ApiHandler>,
  meters: Meters,
  log: Logger,
): ApiServer {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[|\]$/g, "");
  const open = new Map([...routes].filter(([path]) => path === "/healthz" || path === "/metrics"));
  return new ApiServer("metrics", { host, port: Number(address.slice(at + 1)) }, open, meters, log);
}

import type { Logger } from "@axoneme/base";
import { type ApiHandler, ApiServer } from "../api-server.ts";
import type { Meters } from "./meters.ts";

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

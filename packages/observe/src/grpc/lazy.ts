import type { ClientOptions } from "@axoneme/grpc";
import type { HubbleClient } from "./hubble-client.ts";
import type { HubbleOptions, HubbleServer } from "./options.ts";

export type * from "./client-types.ts";
export type { HubbleClient } from "./hubble-client.ts";
export type * from "./options.ts";

/**
 * Connects to the flow API of an agent or a relay. Loaded by the first call.
 * @param timeoutMs for answers that are no streams
 * @throws GrpcError unavailable
 */
export async function openHubble(
  options: ClientOptions,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<HubbleClient> {
  const { HubbleClient } = await import("./hubble-client.ts");
  return HubbleClient.open(options, timeoutMs, signal);
}

/**
 * Serves flows over gRPC (`observer.Observer`, `peer.Peer`, health and reflection). What it takes is loaded by the
 * first call: programs that only have this function in reach do not pay for it.
 * @throws AxonError `observe.hubble_listen` when an address cannot be listened on
 */
export async function serveHubble(options: HubbleOptions): Promise<HubbleServer> {
  const { GrpcServer } = await import("./server.ts");
  return GrpcServer.start(options);
}

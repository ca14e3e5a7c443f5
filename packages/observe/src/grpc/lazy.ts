import type { HubbleOptions, HubbleServer } from "./options.ts";

export type * from "./options.ts";

/**
 * Serves flows over gRPC (`observer.Observer`, `peer.Peer`, health and reflection). What it takes is loaded by the
 * first call: programs that only have this function in reach do not pay for it.
 * @throws AxonError `observe.hubble_listen` when an address cannot be listened on
 */
export async function serveHubble(options: HubbleOptions): Promise<HubbleServer> {
  const { GrpcServer } = await import("./server.ts");
  return GrpcServer.start(options);
}

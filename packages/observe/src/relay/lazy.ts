import type { Logger } from "@axoneme/base";
import type { PeerSource } from "../grpc/options.ts";
import type { Relay, RelayOptions } from "./relay-server.ts";

export type { MergeTimes } from "./flows.ts";
export type { RelayFigures } from "./metrics.ts";
export type { Relay, RelayHealth, RelayOptions } from "./relay-server.ts";

/** A relay over these peers. It listens when told. What it takes is loaded by the first call. */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const { Relay } = await import("./relay-server.ts");
  return new Relay(options);
}

/** A source of peers that ends. */
export interface WatchedPeers extends PeerSource {
  /** Why the list may be old; undefined while it is followed. */
  readonly problem: string | undefined;
  stop(): void;
}

/** The peers that the agent at `target` announces. */
export async function watchPeers(target: string, log: Logger): Promise<WatchedPeers> {
  const { PeerWatch } = await import("./peer-watch.ts");
  return new PeerWatch(target, log);
}

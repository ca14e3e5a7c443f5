import type { Emitter, Logger } from "@axoneme/base";
import type { FlowResolver } from "@axoneme/flow";
import type { Observer } from "../observer.ts";

/** A node that serves flows. */
export interface HubblePeer {
  /** `<cluster>/<node>`, or `<node>` for the cluster "default". */
  readonly name: string;
  /** `host:port`. */
  readonly address: string;
  /** Name in its certificate; absent: it speaks plain text. */
  readonly serverName?: string;
}

export interface PeerChange {
  readonly type: "PEER_ADDED" | "PEER_DELETED" | "PEER_UPDATED";
  readonly peer: HubblePeer;
}

/** Where the list of peers comes from (the agent: CiliumNodes). */
export interface PeerSource {
  list(): readonly HubblePeer[];
  readonly changes: Emitter<PeerChange>;
}

/** TCP with certificates on both sides; all of them PEM. */
export interface MutualTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Whoever it signed may ask. */
  readonly clientCa: Buffer;
}

export interface HubbleOptions {
  readonly observer: Observer;
  readonly resolver: Pick<FlowResolver, "nodeName" | "identityById" | "endpointById">;
  readonly clusterName: string;
  readonly version: string;
  readonly peers: PeerSource;
  /** UNIX socket, made with mode 0600; what was there is replaced. */
  readonly socketPath: string;
  readonly tcp?: { readonly address: string; readonly tls: MutualTls };
  readonly log: Logger;
}

/** A running server. */
export interface HubbleServer {
  /** Port of the TCP listener; undefined without one. */
  readonly port: number | undefined;
  /** Streams being served now. */
  readonly streams: number;
  /** Ends all streams and removes the socket. */
  stop(): Promise<void>;
}

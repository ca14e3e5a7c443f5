import type { Emitter, Logger } from "@axoneme/base";
import type { FlowResolver } from "@axoneme/flow";
import type { TlsSource } from "@axoneme/grpc";
import type { Registry } from "prom-client";
import type { AgentEvents } from "../agent-events.ts";
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

/** A listener for relays. */
export interface TcpOptions {
  /** `host:port`. */
  readonly address: string;
  /** Certificates of both sides, live: what changes is used from the next connection on. Undefined: plain text. */
  readonly tls: TlsSource | undefined;
}

export interface HubbleOptions {
  readonly observer: Observer;
  readonly resolver: Pick<FlowResolver, "nodeName" | "identityById" | "endpointById">;
  readonly clusterName: string;
  readonly version: string;
  readonly peers: PeerSource;
  /** What the agent did; absent: it does not say. */
  readonly agentEvents?: AgentEvents;
  /** UNIX socket, made with mode 0600; what was there is replaced. */
  readonly socketPath: string;
  readonly log: Logger;
  /** Where grpc_server_* count calls. */
  readonly registry?: Registry | undefined;
}

/** A running server. */
export interface HubbleServer {
  /** Streams being served now. */
  readonly streams: number;
  /**
   * Listens on TCP too; resolves to the port.
   * @throws AxonError `observe.hubble_listen`
   */
  listenTcp(options: TcpOptions): Promise<number>;
  /** Ends all streams and removes the socket. */
  stop(): Promise<void>;
}

import { Emitter } from "@axoneme/base";
import { nodeServerName } from "@axoneme/pki";
import type { HubblePeer, PeerChange, PeerSource } from "./grpc/options.ts";

/** Name of a node in flows and in the flow API: `<cluster>/<node>`, or `<node>` for the cluster "default". */
export function flowNodeName(clusterName: string, node: string): string {
  return clusterName === "default" ? node : `${clusterName}/${node}`;
}

/** What makes a peer of a node. */
export interface NodePeerOptions {
  readonly clusterName: string;
  /** Where observers of nodes listen. */
  readonly port: number;
  /** Whether they show certificates. */
  readonly isTls: boolean;
}

/** Nodes of a cluster (CiliumNodes) as peers of the flow API. */
export class NodePeers implements PeerSource {
  readonly changes = new Emitter<PeerChange>();
  readonly #options: NodePeerOptions;
  readonly #peers = new Map<string, HubblePeer>();

  constructor(options: NodePeerOptions) {
    this.#options = options;
  }

  list(): readonly HubblePeer[] {
    return [...this.#peers.values()];
  }

  /** Takes in a node that came or changed. One without an internal address is not a peer yet. */
  upsert(
    name: string,
    addresses: readonly { readonly type?: string; readonly ip?: string }[] | undefined,
  ): void {
    const ip = addresses?.find(({ type }) => type === "InternalIP")?.ip;
    if (ip === undefined) {
      this.remove(name);
      return;
    }
    const peer = this.#peerOf(name, ip);
    const before = this.#peers.get(name);
    this.#peers.set(name, peer);
    if (before?.address === peer.address) return;
    this.changes.emit({ type: before === undefined ? "PEER_ADDED" : "PEER_UPDATED", peer });
  }

  remove(name: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    this.#peers.delete(name);
    this.changes.emit({ type: "PEER_DELETED", peer });
  }

  #peerOf(node: string, ip: string): HubblePeer {
    const { clusterName, port, isTls } = this.#options;
    return {
      name: flowNodeName(clusterName, node),
      address: ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`,
      ...(isTls ? { serverName: nodeServerName(node, clusterName) } : {}),
    };
  }
}

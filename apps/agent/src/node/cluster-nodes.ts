import type { ListWatchHandlers } from "@axoneme/kube";
import type { NodePeers } from "@axoneme/observe";
import type { CiliumNodeObject } from "../state/objects.ts";
import type { Peers } from "./peers.ts";

/** The cluster's nodes as their CiliumNodes tell. Others wait until this one knows its own place. */
export class ClusterNodes {
  readonly #nodeName: string;
  readonly #hubblePeers: NodePeers;
  readonly #seen = new Map<string, CiliumNodeObject>();
  #peers: Peers | undefined;
  /** This node's own object came, or changed. */
  onOwn: (node: CiliumNodeObject) => void = () => undefined;

  constructor(nodeName: string, hubblePeers: NodePeers) {
    this.#nodeName = nodeName;
    this.#hubblePeers = hubblePeers;
  }

  /** Ways to other nodes; undefined until {@link open}. */
  get peers(): Peers | undefined {
    return this.#peers;
  }

  /** Other nodes that were seen before are told now. */
  open(peers: Peers): void {
    this.#peers = peers;
    for (const node of this.#seen.values()) peers.handlers().onAdd?.(node);
    this.#seen.clear();
  }

  handlers(): ListWatchHandlers<CiliumNodeObject> {
    return {
      onAdd: (node) => this.#changed(node),
      onUpdate: (node) => this.#changed(node),
      onDelete: (node) => {
        const name = node.metadata?.name ?? "";
        this.#seen.delete(name);
        this.#hubblePeers.remove(name);
        this.#peers?.handlers().onDelete?.(node);
      },
    };
  }

  #changed(node: CiliumNodeObject): void {
    const name = node.metadata?.name ?? "";
    this.#hubblePeers.upsert(name, node.spec?.addresses);
    if (name === this.#nodeName) this.onOwn(node);
    else if (this.#peers) this.#peers.handlers().onUpdate?.(node, node);
    else this.#seen.set(name, node);
  }
}

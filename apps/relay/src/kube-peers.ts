import type { Logger } from "@axoneme/base";
import { type CiliumNode, type KubeClient, ListWatch, resources } from "@axoneme/kube";
import { type NodePeerOptions, NodePeers, type WatchedPeers } from "@axoneme/observe";

/** The nodes that the API knows, as peers. */
export function kubePeers(client: KubeClient, options: NodePeerOptions, log: Logger): WatchedPeers {
  const peers = new NodePeers(options);
  const watch = new ListWatch<CiliumNode>(client, resources.ciliumnodes, { log });
  const take = ({ metadata, spec }: CiliumNode): void => peers.upsert(metadata?.name ?? "", spec.addresses);
  watch.start({
    onAdd: take,
    onUpdate: take,
    onDelete: ({ metadata }) => peers.remove(metadata?.name ?? ""),
  });
  return {
    changes: peers.changes,
    list: () => peers.list(),
    get problem() {
      const { synced, staleSince, lastError } = watch.health();
      return synced && staleSince === undefined ? undefined : (lastError ?? "the API has not answered yet");
    },
    stop: () => void watch.stop(),
  };
}

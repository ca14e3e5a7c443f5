import type { ServerCall } from "@axoneme/grpc";
import { ChangeNotificationSchema, JsonEncoder } from "@axoneme/proto";
import type { PeerChange, PeerSource } from "./options.ts";
import type { Handlers } from "./service.ts";

/** `peer.Peer`: all peers, then every change, for as long as the reader stays. */
export class PeerService {
  readonly #peers: PeerSource;
  readonly #encoder = new JsonEncoder(ChangeNotificationSchema);

  constructor(peers: PeerSource) {
    this.#peers = peers;
  }

  /** Serves one reader. What it has not yet read is held by peer, so that a slow one costs no more than the list. */
  async serve(call: ServerCall): Promise<void> {
    await call.request();
    call.begin();
    const { signal } = call;
    const pending = new Map<string, PeerChange>();
    let wake: () => void = () => undefined;
    for (const peer of this.#peers.list()) pending.set(peer.name, { type: "PEER_ADDED", peer });
    const off = this.#peers.changes.on((change) => {
      const unsent = pending.get(change.peer.name);
      const isNew = unsent?.type === "PEER_ADDED" && change.type === "PEER_UPDATED";
      pending.delete(change.peer.name);
      pending.set(change.peer.name, isNew ? { type: "PEER_ADDED", peer: change.peer } : change);
      wake();
    });
    signal.addEventListener("abort", () => wake());
    try {
      while (!signal.aborted) {
        for (const [name, change] of pending) {
          pending.delete(name);
          await call.write(this.#encode(change));
          if (signal.aborted) return;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (pending.size > 0 || signal.aborted) resolve();
        });
      }
    } finally {
      off();
    }
  }

  #encode({ type, peer }: PeerChange): Uint8Array {
    const tls = peer.serverName === undefined ? {} : { tls: { server_name: peer.serverName } };
    return this.#encoder.encode({ name: peer.name, address: peer.address, type, ...tls });
  }
}

export function peerHandlers(service: PeerService): Handlers {
  return { Notify: (call) => service.serve(call) };
}

import { Emitter } from "@axoneme/base";
import type { PeerSource } from "../grpc/options.ts";
import { type LinkSecurity, PeerLink } from "./peer-link.ts";

export type PoolChange =
  | { readonly type: "connected" | "lost"; readonly link: PeerLink }
  | { readonly type: "gone"; readonly link: PeerLink };

/** Connections to all nodes that there are. */
export class PeerPool {
  readonly changes = new Emitter<PoolChange>();
  readonly #links = new Map<string, PeerLink>();
  readonly #security: LinkSecurity;
  readonly #off: () => void;

  constructor(source: PeerSource, security: LinkSecurity) {
    this.#security = security;
    for (const peer of source.list()) this.#add(peer);
    this.#off = source.changes.on(({ type, peer }) => {
      if (type === "PEER_DELETED") this.#remove(peer.name);
      else this.#add(peer);
    });
  }

  /** All nodes, by name. */
  links(): PeerLink[] {
    return [...this.#links.values()].sort((a, b) => (a.peer.name < b.peer.name ? -1 : 1));
  }

  connected(): PeerLink[] {
    return this.links().filter(({ connection }) => connection !== undefined);
  }

  unavailable(): PeerLink[] {
    return this.links().filter(({ connection }) => connection === undefined);
  }

  stop(): void {
    this.#off();
    for (const link of this.#links.values()) link.stop();
    this.#links.clear();
  }

  #add(peer: PeerLink["peer"]): void {
    const known = this.#links.get(peer.name);
    if (known !== undefined) {
      known.update(peer);
      return;
    }
    const link = new PeerLink(peer, this.#security);
    this.#links.set(peer.name, link);
    link.changes.on(() => {
      if (this.#links.get(peer.name) !== link) return;
      this.changes.emit({ type: link.connection === undefined ? "lost" : "connected", link });
    });
  }

  #remove(name: string): void {
    const link = this.#links.get(name);
    if (link === undefined) return;
    this.#links.delete(name);
    this.changes.emit({ type: "gone", link });
    link.stop();
  }
}

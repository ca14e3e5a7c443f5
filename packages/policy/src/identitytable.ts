import { type Prefix, parsePrefix, prefixKey } from "@axoneme/base";
import { identityKey, type Labels, reserved } from "@axoneme/identity";
import type { Indexes, PeerNode } from "./compiledtypes.ts";
import type { PeerLinks } from "./peerlinks.ts";

const WORLD4 = parsePrefix("0.0.0.0/0");
const WORLD6 = parsePrefix("::/0");

/** The identities there are: possible peers of rules. */
export class IdentityTable {
  readonly #indexes: Indexes;
  readonly #links: PeerLinks;
  readonly #families: { ipv4: boolean; ipv6: boolean };
  readonly #identities = new Map<number, { text: string; prefix: Prefix | undefined }>();
  readonly #prefixes = new Set<string>();

  constructor(indexes: Indexes, links: PeerLinks, families: { ipv4: boolean; ipv6: boolean }) {
    this.#indexes = indexes;
    this.#links = links;
    this.#families = families;
  }

  /** Whether there is an identity of exactly this prefix. */
  hasPrefix(prefix: Prefix): boolean {
    return this.#prefixes.has(prefixKey(prefix));
  }

  /** Adds an identity or gives it other labels; `prefix` for those of CIDRs, or (not `whole`) of addresses inside. */
  add(id: number, labels: Labels, prefix?: Prefix, whole = true): void {
    const text = identityKey(labels) + (prefix === undefined ? "" : prefixKey(prefix));
    const old = this.#identities.get(id);
    if (old?.text === text) return;
    if (old !== undefined) this.delete(id);
    this.#identities.set(id, { text, prefix: whole ? prefix : undefined });
    if (prefix !== undefined && whole) this.#prefixes.add(prefixKey(prefix));
    const nodes: PeerNode[] = [...this.#indexes.peers.add(id, labels)];
    const prefixes = prefix === undefined ? this.#worldPrefixes(id) : [prefix];
    if (prefixes.length > 0) nodes.push(...this.#indexes.cidrs.add(id, prefixes));
    this.#links.reach(nodes, id, 1);
  }

  /** Removes an identity. */
  delete(id: number): void {
    const identity = this.#identities.get(id);
    if (identity === undefined) return;
    this.#identities.delete(id);
    if (identity.prefix !== undefined) this.#prefixes.delete(prefixKey(identity.prefix));
    const nodes: PeerNode[] = [...this.#indexes.peers.remove(id), ...this.#indexes.cidrs.remove(id)];
    this.#links.reach(nodes, id, -1);
  }

  /** A world identity stands for the /0 of its family. */
  #worldPrefixes(id: number): Prefix[] {
    const { ipv4, ipv6 } = this.#families;
    if (id === reserved.worldIpv4) return [WORLD4];
    if (id === reserved.worldIpv6) return [WORLD6];
    if (id !== reserved.world || ipv4 === ipv6) return [];
    return [ipv4 ? WORLD4 : WORLD6];
  }
}

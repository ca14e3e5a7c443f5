import { type Ip, isV4, Lpm, type Prefix, parsePrefix } from "@axoneme/base";
import { identityKey, type Labels, reserved, worldOf } from "@axoneme/identity";
import type { Indexes } from "./compiledtypes.ts";
import { peerCode } from "./peercodes.ts";
import type { PeerLinks } from "./peerlinks.ts";

const WORLD4 = parsePrefix("0.0.0.0/0");
const WORLD6 = parsePrefix("::/0");

/** What there is to be a peer of rules: identities by their labels, and prefixes by the addresses they hold. */
export class IdentityTable {
  readonly #indexes: Indexes;
  readonly #links: PeerLinks;
  readonly #families: { ipv4: boolean; ipv6: boolean };
  /** The labels of each as one text. */
  readonly #identities = new Map<number, string>();
  readonly #prefixes = new Lpm<number>();

  constructor(indexes: Indexes, links: PeerLinks, families: { ipv4: boolean; ipv6: boolean }) {
    this.#indexes = indexes;
    this.#links = links;
    this.#families = families;
    for (const [prefix, id] of worlds(families)) indexes.cidrs.add(peerCode(0, id), [prefix]);
  }

  /** Adds an identity or gives it other labels. */
  add(id: number, labels: Labels): void {
    const text = identityKey(labels);
    const old = this.#identities.get(id);
    if (old === text) return;
    if (old !== undefined) this.delete(id);
    this.#identities.set(id, text);
    this.#links.reach(this.#indexes.peers.add(id, labels), id, 1);
  }

  /** Removes an identity. */
  delete(id: number): void {
    if (!this.#identities.delete(id)) return;
    this.#links.reach(this.#indexes.peers.remove(id), id, -1);
  }

  /** Whether a prefix has a number. */
  hasPrefix(prefix: Prefix): boolean {
    return this.#prefixes.get(prefix) !== undefined;
  }

  /** Gives a prefix its number. */
  addPrefix(prefix: Prefix, number: number): void {
    if (this.#prefixes.get(prefix) === number) return;
    this.deletePrefix(prefix);
    this.#prefixes.set(prefix, number);
    const peer = peerCode(0, number);
    this.#links.reach(this.#indexes.cidrs.add(peer, [prefix]), peer, 1);
  }

  /** A prefix has no number any more. */
  deletePrefix(prefix: Prefix): void {
    const number = this.#prefixes.get(prefix);
    if (number === undefined) return;
    this.#prefixes.delete(prefix);
    const peer = peerCode(0, number);
    this.#links.reach(this.#indexes.cidrs.remove(peer), peer, -1);
  }

  /** The number that rules on prefixes know an address by: of the longest prefix, else of its family's world. */
  cidrOf(ip: Ip): number {
    const { ipv4, ipv6 } = this.#families;
    const v4 = isV4(ip);
    const found = this.#prefixes.lookup(ip);
    // A prefix of the other family never holds an address, whatever its bits.
    if (found !== undefined && (v4 ? found.prefix.length > 96 : true)) return found.value;
    return worldOf(v4, ipv4 && ipv6).id;
  }
}

/** The numbers of addresses that no prefix holds. */
function worlds({ ipv4, ipv6 }: { ipv4: boolean; ipv6: boolean }): [Prefix, number][] {
  if (ipv4 !== ipv6) return [[ipv4 ? WORLD4 : WORLD6, reserved.world]];
  return [
    [WORLD4, reserved.worldIpv4],
    [WORLD6, reserved.worldIpv6],
  ];
}

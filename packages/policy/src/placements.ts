/**
 * Which identities are found at addresses of which prefixes (by the longest that holds an address). Where rules have to be
 * judged together, only for these there are rows.
 */
export class Placements {
  readonly #byIdentity = new Map<number, Set<number>>();
  readonly #byCidr = new Map<number, Set<number>>();

  /** False when it was known. */
  add(identity: number, cidr: number): boolean {
    const cidrs = this.#byIdentity.get(identity) ?? new Set();
    if (cidrs.has(cidr)) return false;
    this.#byIdentity.set(identity, cidrs.add(cidr));
    const identities = this.#byCidr.get(cidr) ?? new Set();
    this.#byCidr.set(cidr, identities.add(identity));
    return true;
  }

  /** False when it was not known. */
  delete(identity: number, cidr: number): boolean {
    const cidrs = this.#byIdentity.get(identity);
    if (!cidrs?.delete(cidr)) return false;
    if (cidrs.size === 0) this.#byIdentity.delete(identity);
    const identities = this.#byCidr.get(cidr);
    identities?.delete(identity);
    if (identities?.size === 0) this.#byCidr.delete(cidr);
    return true;
  }

  has(identity: number, cidr: number): boolean {
    return this.#byIdentity.get(identity)?.has(cidr) ?? false;
  }

  /** Prefixes that hold addresses of an identity. */
  cidrsOf(identity: number): Iterable<number> {
    return this.#byIdentity.get(identity) ?? [];
  }

  /** Identities of addresses that a prefix holds. */
  identitiesIn(cidr: number): Iterable<number> {
    return this.#byCidr.get(cidr) ?? [];
  }
}

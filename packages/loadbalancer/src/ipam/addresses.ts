import { byAge, type Pool } from "./pool.ts";
import { familyOf } from "./range.ts";
import type { AddressRequest } from "./request.ts";
import { mayShare } from "./request.ts";

/** Which Services hold which address, and which pools the addresses are in. The pools' use follows. */
export class Addresses {
  readonly #owners = new Map<bigint, Map<string, AddressRequest>>();
  /** Addresses held under a sharing key. */
  readonly #bySharingKey = new Map<string, Set<bigint>>();
  /** In order of age. */
  #pools: readonly Pool[] = [];

  get pools(): readonly Pool[] {
    return this.#pools;
  }

  isTaken = (address: bigint): boolean => this.#owners.has(address);

  owners(address: bigint): Iterable<string> {
    return this.#owners.get(address)?.keys() ?? [];
  }

  poolsOf(address: bigint): Pool[] {
    return this.#pools.filter((pool) => pool.contains(address));
  }

  heldUnder(sharingKey: string): ReadonlySet<bigint> {
    return this.#bySharingKey.get(sharingKey) ?? new Set();
  }

  /** Whether the Service may hold the address beside those who hold it. */
  admits(request: AddressRequest, address: bigint): boolean {
    for (const [key, owner] of this.#owners.get(address) ?? []) {
      if (key !== request.key && !mayShare(owner, request)) return false;
    }
    return true;
  }

  hold(request: AddressRequest, address: bigint): void {
    let owners = this.#owners.get(address);
    if (owners === undefined) {
      owners = new Map();
      this.#owners.set(address, owners);
      for (const pool of this.poolsOf(address)) pool.used.add(address);
    }
    owners.set(request.key, request);
    const { key } = request.sharing;
    if (key === "") return;
    const held = this.#bySharingKey.get(key);
    if (held === undefined) this.#bySharingKey.set(key, new Set([address]));
    else held.add(address);
  }

  /** Ends what {@link hold} began, with the same request. Returns whether the address is free now. */
  drop(request: AddressRequest, address: bigint): boolean {
    const owners = this.#owners.get(address);
    if (owners === undefined || !owners.delete(request.key)) return false;
    const { key } = request.sharing;
    if (key !== "" && ![...owners.values()].some(({ sharing }) => sharing.key === key)) {
      const held = this.#bySharingKey.get(key);
      held?.delete(address);
      if (held?.size === 0) this.#bySharingKey.delete(key);
    }
    if (owners.size > 0) return false;
    this.#owners.delete(address);
    return true;
  }

  /** Notes that the address, dropped by its last owner, may be given to another. */
  free(address: bigint): Pool[] {
    const pools = this.poolsOf(address);
    for (const pool of pools) {
      pool.used.delete(address);
      pool.spaces[familyOf(address)].free(address);
    }
    return pools;
  }

  /** Puts other pools in place: one came, changed (`before` and `after`) or went. */
  replacePool(before: Pool | undefined, after: Pool | undefined): void {
    const others = this.#pools.filter((pool) => pool !== before);
    if (after !== undefined) {
      // Whatever is in use there was given out by its former self or by a pool that it overlaps.
      for (const pool of before === undefined ? others : [before, ...others]) {
        for (const address of pool.used) if (after.contains(address)) after.used.add(address);
      }
    }
    this.#pools = (after === undefined ? others : [...others, after]).sort(byAge);
  }
}

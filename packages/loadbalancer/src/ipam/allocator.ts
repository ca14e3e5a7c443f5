import { Addresses } from "./addresses.ts";
import { Pool, type PoolObject, type PoolState, poolState, settleConflicts } from "./pool.ts";
import { addressText, type Family, families, familyOf } from "./range.ts";
import { type AddressRequest, sameSharing } from "./request.ts";
import { satisfied, unsatisfied, type Verdict } from "./verdict.ts";
import { Waiters } from "./waiters.ts";

/** What a Service's status should say. */
export interface ServiceState {
  readonly addresses: readonly string[];
  /** undefined: the condition is to be taken away. */
  readonly verdict: Verdict | undefined;
}

interface Entry {
  request: AddressRequest;
  readonly addresses: Set<bigint>;
  /** Whether we have taken charge of its addresses. */
  handled: boolean;
  verdict: Verdict;
  /** Takes it off what it waits for. */
  unwait: (() => void)[];
}

const notYet = unsatisfied("no_pool", "there is no pool");

/**
 * Gives addresses of pools to Services of type LoadBalancer. Objects go in; what their status should say comes
 * out. An address that was given stays until the Service no longer may have it; a Service that lacks one gets it
 * as soon as it is there. The work of an event is that of the Services it concerns: waiting ones are filed by
 * what they wait for.
 */
export class LoadBalancerIpam {
  readonly #entries = new Map<string, Entry>();
  readonly #pools = new Map<string, Pool>();
  readonly #addresses = new Addresses();
  readonly #waitForAddress = new Waiters<bigint>();
  readonly #waitForKey = new Waiters<string>();
  readonly #unsatisfied = new Set<string>();
  /** To look at again, and pools that have something free. */
  #woken = new Set<string>();
  readonly #freed = new Set<Pool>();
  readonly #changedServices = new Set<string>();
  readonly #changedPools = new Set<string>();
  /** How often a Service was looked at: the cost. */
  looks = 0;

  /** Takes over what there is, before any other call: addresses in use stay where they are. */
  restore(pools: Iterable<PoolObject>, requests: Iterable<AddressRequest>): void {
    for (const object of pools) this.#place(undefined, new Pool(object));
    for (const request of requests) this.#enter(request);
    this.#settle(this.#entries.keys());
  }

  putPool(object: PoolObject): void {
    const pool = new Pool(object);
    this.#poolChanged(this.#pools.get(pool.name), pool);
  }

  deletePool(name: string): void {
    const pool = this.#pools.get(name);
    if (pool !== undefined) this.#poolChanged(pool, undefined);
  }

  putService(request: AddressRequest): void {
    // Not ours, and nothing of ours left on it.
    if (!request.wanted && !request.marked && request.assigned.length === 0) {
      this.deleteService(request.key);
      return;
    }
    const entry = this.#entries.get(request.key);
    if (entry === undefined) this.#enter(request);
    else this.#renew(entry, request);
    this.#settle([request.key]);
  }

  deleteService(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    for (const address of [...entry.addresses]) this.#drop(entry, address);
    this.#stopWaiting(entry);
    this.#entries.delete(key);
    this.#unsatisfied.delete(key);
    this.#changedServices.add(key);
    this.#settle([]);
  }

  /** What the Service's status should say; undefined: nothing of ours, leave it alone. */
  serviceState(key: string): ServiceState | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (!entry.request.wanted) {
      return entry.request.marked || entry.handled ? { addresses: [], verdict: undefined } : undefined;
    }
    if (!entry.handled) return undefined;
    return { addresses: inOrder(entry).map(addressText), verdict: entry.verdict };
  }

  poolState(name: string): PoolState | undefined {
    const pool = this.#pools.get(name);
    return pool && poolState(pool);
  }

  /** Names of all pools. */
  get pools(): string[] {
    return [...this.#pools.keys()];
  }

  /** Services that are ours, and those of them that lack an address. */
  counts(): { services: number; unsatisfied: number } {
    let [services, lacking] = [0, 0];
    for (const { request, handled, verdict } of this.#entries.values()) {
      if (!handled || !request.wanted) continue;
      services++;
      if (!verdict.satisfied) lacking++;
    }
    return { services, unsatisfied: lacking };
  }

  /** Services and pools whose state may have changed since the last call. */
  takeChanges(): { services: Set<string>; pools: Set<string> } {
    const changes = { services: new Set(this.#changedServices), pools: new Set(this.#changedPools) };
    this.#changedServices.clear();
    this.#changedPools.clear();
    return changes;
  }

  #enter(request: AddressRequest): void {
    if (!request.wanted && !request.marked) return;
    const entry = { request, addresses: new Set<bigint>(), handled: false, verdict: notYet, unwait: [] };
    this.#entries.set(request.key, entry);
  }

  /** A Service that changed may free others of it: its ports, its key. */
  #renew(entry: Entry, request: AddressRequest): void {
    const same = sameSharing(entry.request, request);
    for (const address of entry.addresses) {
      this.#addresses.drop(entry.request, address);
      this.#addresses.hold(request, address);
      if (same) continue;
      this.#wakeSharers(entry.request, address);
      this.#wakeSharers(request, address);
    }
    entry.request = request;
  }

  #place(before: Pool | undefined, after: Pool | undefined): void {
    this.#addresses.replacePool(before, after);
    if (before !== undefined) this.#pools.delete(before.name);
    if (after !== undefined) this.#pools.set(after.name, after);
    settleConflicts(this.#addresses.pools);
  }

  #poolChanged(before: Pool | undefined, after: Pool | undefined): void {
    this.#place(before, after);
    for (const { name } of this.#addresses.pools) this.#changedPools.add(name);
    if (before !== undefined) this.#changedPools.add(before.name);
    const concerned = new Set(this.#unsatisfied);
    for (const address of before?.used ?? []) {
      for (const key of this.#addresses.owners(address)) concerned.add(key);
    }
    this.#settle(concerned);
  }

  /** Looks at Services, and at those their changes wake, until nothing more can be given. */
  #settle(keys: Iterable<string>): void {
    let round = this.#sorted(keys);
    for (;;) {
      // What is held is confirmed first, for all: nobody is given what another had.
      for (const entry of round) this.#confirm(entry);
      for (const entry of round) this.#satisfy(entry);
      if (this.#woken.size === 0) this.#wakeForFreed();
      if (this.#woken.size === 0) return;
      round = this.#sorted(this.#woken);
      this.#woken = new Set();
    }
  }

  #sorted(keys: Iterable<string>): Entry[] {
    const entries = [...keys].flatMap((key) => this.#entries.get(key) ?? []);
    return entries.sort(({ request: a }, { request: b }) => {
      if (a.created !== b.created) return a.created < b.created ? -1 : 1;
      return a.key < b.key ? -1 : 1;
    });
  }

  /** Drops what the Service may no longer hold; of one seen for the first time, takes over what it may. */
  #confirm(entry: Entry): void {
    const { request } = entry;
    this.looks++;
    this.#changedServices.add(request.key);
    const takesOver = !entry.handled && request.wanted && (this.#pools.size > 0 || request.marked);
    if (takesOver) entry.handled = true;
    const held = takesOver ? request.assigned : [...entry.addresses];
    const kept = new Set<Family>();
    for (const address of held) {
      const family = familyOf(address);
      if (this.#mayHold(entry, address, kept)) {
        kept.add(family);
        if (!entry.addresses.has(address)) this.#hold(entry, address);
      } else if (entry.addresses.has(address)) this.#drop(entry, address);
    }
  }

  #mayHold({ request }: Entry, address: bigint, kept: ReadonlySet<Family>): boolean {
    if (!request.wanted) return false;
    const asked =
      request.requested.length > 0
        ? request.requested.includes(address)
        : request.families.includes(familyOf(address)) && !kept.has(familyOf(address));
    if (!asked || !this.#addresses.admits(request, address)) return false;
    return this.#addresses.poolsOf(address).some((pool) => pool.selects(request.labels));
  }

  /** Gives the Service what it lacks, as far as it is there, and files it with what it waits for. */
  #satisfy(entry: Entry): void {
    this.#stopWaiting(entry);
    entry.verdict = entry.handled && entry.request.wanted ? this.#give(entry) : notYet;
    if (entry.request.wanted && !entry.verdict.satisfied) this.#unsatisfied.add(entry.request.key);
    else this.#unsatisfied.delete(entry.request.key);
  }

  #give(entry: Entry): Verdict {
    const { requested, problem, families: wanted } = entry.request;
    if (problem !== undefined) return unsatisfied("invalid_request", problem);
    const verdicts =
      requested.length > 0
        ? requested.map((address) => this.#giveAddress(entry, address))
        : families.filter((each) => wanted.includes(each)).map((family) => this.#giveAny(entry, family));
    return verdicts.find((verdict) => !verdict.satisfied) ?? satisfied;
  }

  #giveAddress(entry: Entry, address: bigint): Verdict {
    if (entry.addresses.has(address)) return satisfied;
    const pools = this.#addresses.poolsOf(address);
    const text = addressText(address);
    if (pools.length === 0) return unsatisfied("no_pool", `no pool has the requested address ${text}`);
    const fitting = pools.filter((pool) => pool.selects(entry.request.labels));
    if (fitting.length === 0) {
      const names = pools.map(({ name }) => name).join(", ");
      return unsatisfied("pool_selector_mismatch", `pool ${names} has ${text}, but does not select it`);
    }
    if (!fitting.some((pool) => pool.open)) {
      const names = fitting.map(({ name }) => name).join(", ");
      return unsatisfied("pool_not_in_use", `pool ${names} has ${text}, but is disabled or in conflict`);
    }
    if (this.#addresses.admits(entry.request, address)) {
      this.#hold(entry, address);
      return satisfied;
    }
    this.#waitForAddress.add(address, entry.request.key);
    entry.unwait.push(() => this.#waitForAddress.delete(address, entry.request.key));
    return unsatisfied("already_allocated", `the requested address ${text} is another Service's`);
  }

  #giveAny(entry: Entry, family: Family): Verdict {
    for (const address of entry.addresses) if (familyOf(address) === family) return satisfied;
    const pools = this.#addresses.pools.filter(
      (pool) => pool.open && pool.spaces[family].size > 0n && pool.selects(entry.request.labels),
    );
    if (pools.length === 0) return unsatisfied("no_pool", `no pool has ${family} addresses for it`);
    const address = this.#shareable(entry, family, pools) ?? this.#firstFree(family, pools);
    if (address !== undefined) {
      this.#hold(entry, address);
      return satisfied;
    }
    this.#waitForAny(entry, family, pools);
    const names = pools.map(({ name }) => name).join(", ");
    return unsatisfied("out_of_ips", `all ${family} addresses of pool ${names} are in use`);
  }

  #shareable(entry: Entry, family: Family, pools: readonly Pool[]): bigint | undefined {
    const { request } = entry;
    if (request.sharing.key === "") return undefined;
    for (const address of this.#addresses.heldUnder(request.sharing.key)) {
      if (familyOf(address) !== family || !pools.some((pool) => pool.contains(address))) continue;
      if (this.#addresses.admits(request, address)) return address;
    }
    return undefined;
  }

  #firstFree(family: Family, pools: readonly Pool[]): bigint | undefined {
    for (const pool of pools) {
      const address = pool.spaces[family].lowestFree(this.#addresses.isTaken);
      if (address !== undefined) return address;
    }
    return undefined;
  }

  #waitForAny(entry: Entry, family: Family, pools: readonly Pool[]): void {
    const { key, sharing } = entry.request;
    for (const pool of pools) {
      pool.waiting[family].add(key);
      entry.unwait.push(() => pool.waiting[family].delete(key));
    }
    if (sharing.key === "") return;
    this.#waitForKey.add(sharing.key, key);
    entry.unwait.push(() => this.#waitForKey.delete(sharing.key, key));
  }

  #stopWaiting(entry: Entry): void {
    for (const unwait of entry.unwait.splice(0)) unwait();
  }

  #hold(entry: Entry, address: bigint): void {
    this.#addresses.hold(entry.request, address);
    entry.addresses.add(address);
    this.#poolsChanged(address);
    this.#wakeSharers(entry.request, address);
  }

  #drop(entry: Entry, address: bigint): void {
    entry.addresses.delete(address);
    const free = this.#addresses.drop(entry.request, address);
    this.#poolsChanged(address);
    this.#wakeSharers(entry.request, address);
    if (free) for (const pool of this.#addresses.free(address)) this.#freed.add(pool);
  }

  #poolsChanged(address: bigint): void {
    for (const { name } of this.#addresses.poolsOf(address)) this.#changedPools.add(name);
  }

  /** Those who wait for this very address, or for any under the key. */
  #wakeSharers({ sharing }: AddressRequest, address: bigint): void {
    for (const key of this.#waitForAddress.of(address)) this.#woken.add(key);
    if (sharing.key !== "") for (const key of this.#waitForKey.of(sharing.key)) this.#woken.add(key);
  }

  /** Wakes as many of those who wait for a pool as it has addresses for: one at a time. */
  #wakeForFreed(): void {
    for (const pool of this.#freed) {
      for (const family of families) {
        const [first] = pool.waiting[family];
        if (first === undefined || !pool.open) continue;
        if (pool.spaces[family].lowestFree(this.#addresses.isTaken) === undefined) continue;
        this.#woken.add(first);
        return;
      }
      this.#freed.delete(pool);
    }
  }
}

/** Requested addresses as requested; others by family, in the Service's order. */
function inOrder({ request, addresses }: Entry): bigint[] {
  const rank = (address: bigint): number =>
    request.requested.length > 0
      ? request.requested.indexOf(address)
      : request.families.indexOf(familyOf(address));
  return [...addresses].sort((a, b) => rank(a) - rank(b));
}

import {
  AxonError,
  type Clock,
  formatIp,
  type Ip,
  ipAdd,
  ipEqual,
  isV4Prefix,
  type Prefix,
  parseIp,
  prefixContains,
  prefixRange,
  systemClock,
} from "@axoneme/base";
import { AddressPool, familyOf, type PoolUsage } from "./addresspool.ts";

/** The addresses of one owner; a family the node has no CIDR of is absent. */
export interface Allocation {
  v4?: Ip;
  v6?: Ip;
}

/** State of a pool as JSON: the caller writes it down after each change and hands it back after a restart. */
export interface NodePoolSnapshot {
  version: 1;
  allocations: { owner: string; ips: string[] }[];
  /** Freed addresses and the end of their rest, ms since the epoch. */
  cooling: { ip: string; until: number }[];
  /** Where the next search starts, per family. */
  cursor: { v4: string; v6: string };
}

export interface NodePoolOptions {
  /** Names the pool in errors: the node. */
  name: string;
  /** Pod CIDRs of the node, either family, any number. */
  cidrs: readonly Prefix[];
  clock?: Clock;
  /** How long a freed address rests before it is given out again (default 30 s). */
  cooldownMs?: number;
  /** Whether the first usable address of each family belongs to the node itself (default true). */
  router?: boolean;
}

/** What `reconcile` found and did. */
export interface ReconcileReport {
  /** Owners that no longer exist; their addresses are free. */
  released: { owner: string; ips: Ip[] }[];
  /** Addresses in use that the pool did not know; they are reserved now. */
  adopted: { owner: string; ip: Ip }[];
  /** Addresses two owners claim; the pool's owner keeps it. */
  conflicts: { owner: string; ip: Ip; holder: string }[];
}

const ROUTER = "router";

/**
 * Hands out a node's pod addresses, one of each family an owner. Owners are opaque texts (the CNI attachment,
 * `<container id>:<interface>`). Pure: persist `snapshot()` before telling anybody of a new address.
 */
export class NodePool {
  readonly name: string;
  readonly #pools: Record<4 | 6, AddressPool>;
  readonly #owners = new Map<string, Ip[]>();
  readonly #router: boolean;

  constructor(options: NodePoolOptions) {
    this.name = options.name;
    this.#router = options.router ?? true;
    const clock = options.clock ?? systemClock;
    const cooldownMs = options.cooldownMs ?? 30_000;
    const pool = (family: 4 | 6) =>
      new AddressPool({ name: this.name, family, cidrs: [], clock, cooldownMs });
    this.#pools = { 4: pool(4), 6: pool(6) };
    this.setCidrs(options.cidrs);
  }

  /** Changes the CIDRs. What is in use stays in use; router addresses follow. */
  setCidrs(cidrs: readonly Prefix[]): void {
    for (const family of [4, 6] as const) {
      const own = cidrs.filter((cidr) => isV4Prefix(cidr) === (family === 4));
      this.#pools[family].setCidrs(own);
      if (this.#router) this.#placeRouter(family, own[0]);
    }
  }

  #placeRouter(family: 4 | 6, cidr: Prefix | undefined): void {
    const old = this.routerIp(family);
    const wanted = cidr === undefined || cidr.length >= 127 ? undefined : ipAdd(prefixRange(cidr).first, 1n);
    if (old !== undefined && wanted !== undefined && ipEqual(old, wanted)) return;
    if (old !== undefined) this.#free(ROUTER, old);
    if (wanted === undefined) return;
    // A pod may hold it already, restored from before the CIDR changed: then the node goes without.
    if (this.#pools[family].ownerOf(wanted) === undefined) this.reserve(ROUTER, wanted);
  }

  /** The node's own address among the pods (default gateway): the first usable one of the first CIDR. */
  routerIp(family: 4 | 6): Ip | undefined {
    return this.#owners.get(ROUTER)?.find((ip) => familyOf(ip) === family);
  }

  /**
   * An address of each family for `owner`; what it already has is kept, so that a repeated ADD gets the same.
   * With `ip`, that one for its family: it must lie in the CIDRs (`ipam.outside`) and be free (`ipam.taken`).
   * All or nothing; throws `ipam.exhausted` with the pool and its counts.
   */
  allocate(owner: string, ip?: Ip, families: readonly (4 | 6)[] = [4, 6]): Allocation {
    this.#refuseRouter(owner);
    const had = [...(this.#owners.get(owner) ?? [])];
    try {
      if (ip !== undefined) this.#claim(owner, ip);
      for (const family of families) {
        const pool = this.#pools[family];
        if (pool.cidrs.length === 0 || this.#has(owner, family)) continue;
        this.reserve(owner, pool.allocate(owner));
      }
    } catch (error) {
      for (const got of [...(this.#owners.get(owner) ?? [])]) {
        if (!had.some((kept) => ipEqual(kept, got))) this.#free(owner, got);
      }
      throw error;
    }
    const allocation = this.get(owner);
    if (allocation === undefined)
      throw new AxonError("ipam.exhausted", `pool ${this.name} has no CIDR at all`);
    return allocation;
  }

  #claim(owner: string, ip: Ip): void {
    const family = familyOf(ip);
    const held = this.#owners.get(owner)?.find((other) => familyOf(other) === family);
    if (held !== undefined && ipEqual(held, ip)) return;
    if (held !== undefined) {
      throw new AxonError(
        "ipam.taken",
        `${owner} already has ${formatIp(held)}, cannot have ${formatIp(ip)} too`,
      );
    }
    if (!this.#pools[family].contains(ip)) {
      throw new AxonError("ipam.outside", `${formatIp(ip)} is in no pod CIDR of pool ${this.name}`);
    }
    this.reserve(owner, ip);
  }

  /** Marks an address as the owner's, also outside the CIDRs (restored, static). Throws `ipam.taken`. */
  reserve(owner: string, ip: Ip): void {
    this.#pools[familyOf(ip)].reserve(owner, ip);
    const ips = this.#owners.get(owner) ?? [];
    if (!ips.some((other) => ipEqual(other, ip))) this.#owners.set(owner, [...ips, ip]);
  }

  /** Frees all addresses of an owner and returns them; none when it has none. */
  release(owner: string): Ip[] {
    this.#refuseRouter(owner);
    const ips = this.#owners.get(owner) ?? [];
    for (const ip of ips) this.#free(owner, ip);
    return ips;
  }

  /** What an owner has. */
  get(owner: string): Allocation | undefined {
    const ips = this.#owners.get(owner);
    if (ips === undefined) return undefined;
    const v4 = ips.find((ip) => familyOf(ip) === 4);
    const v6 = ips.find((ip) => familyOf(ip) === 6);
    return { ...(v4 && { v4 }), ...(v6 && { v6 }) };
  }

  get cidrs(): Prefix[] {
    return [...this.#pools[4].cidrs, ...this.#pools[6].cidrs];
  }

  /** CIDRs of which no address is in use or resting. */
  idle(): Prefix[] {
    const busy = [4 as const, 6 as const].flatMap((family) =>
      [...this.#pools[family].used, ...this.#pools[family].cooling].map(({ ip }) => ip),
    );
    return this.cidrs.filter((cidr) => !busy.some((ip) => prefixContains(cidr, ip)));
  }

  ownerOf(ip: Ip): string | undefined {
    return this.#pools[familyOf(ip)].ownerOf(ip);
  }

  /** All owners and their addresses, the router's (`router`) included. */
  *allocations(): Generator<{ owner: string; ips: readonly Ip[] }> {
    for (const [owner, ips] of this.#owners) yield { owner, ips };
  }

  /** Counts per family that has a CIDR. */
  usage(): PoolUsage[] {
    return [this.#pools[4].usage(), this.#pools[6].usage()].filter((usage) => usage.cidrs.length > 0);
  }

  /** The state to write down. */
  snapshot(): NodePoolSnapshot {
    const allocations = [...this.#owners]
      .filter(([owner]) => owner !== ROUTER)
      .map(([owner, ips]) => ({ owner, ips: ips.map(formatIp) }));
    const cooling = [4 as const, 6 as const].flatMap((family) =>
      [...this.#pools[family].cooling].map(({ ip, until }) => ({ ip: formatIp(ip), until })),
    );
    const cursor = { v4: formatIp(this.#pools[4].cursor), v6: formatIp(this.#pools[6].cursor) };
    return { version: 1, allocations, cooling, cursor };
  }

  /** Puts a snapshot into a fresh pool. Throws `ipam.snapshot` for a version it does not know. */
  restore(snapshot: NodePoolSnapshot): void {
    if (snapshot.version !== 1) {
      throw new AxonError(
        "ipam.snapshot",
        `pool ${this.name}: snapshot version ${snapshot.version} is not known`,
      );
    }
    for (const { owner, ips } of snapshot.allocations) {
      for (const text of ips) this.#displaceRouter(parseIp(text), owner);
    }
    for (const { ip, until } of snapshot.cooling) {
      const address = parseIp(ip);
      if (this.ownerOf(address) === undefined) this.#pools[familyOf(address)].rest(address, until);
    }
    this.#pools[4].cursor = parseIp(snapshot.cursor.v4);
    this.#pools[6].cursor = parseIp(snapshot.cursor.v6);
  }

  /** A running pod's claim is older than the router's when a CIDR changed between two runs. */
  #displaceRouter(ip: Ip, owner: string): void {
    if (this.ownerOf(ip) === ROUTER) this.#free(ROUTER, ip);
    this.reserve(owner, ip);
  }

  /** Brings the pool to the owners that really exist (endpoints of this node), each with its addresses. */
  reconcile(existing: Iterable<{ owner: string; ips: readonly Ip[] }>): ReconcileReport {
    const report: ReconcileReport = { released: [], adopted: [], conflicts: [] };
    const alive = new Map<string, readonly Ip[]>();
    for (const { owner, ips } of existing) alive.set(owner, ips);
    for (const owner of [...this.#owners.keys()]) {
      if (owner !== ROUTER && !alive.has(owner)) report.released.push({ owner, ips: this.release(owner) });
    }
    for (const [owner, ips] of alive) for (const ip of ips) this.#adopt(owner, ip, report);
    return report;
  }

  #adopt(owner: string, ip: Ip, report: ReconcileReport): void {
    const holder = this.ownerOf(ip);
    if (holder === owner) return;
    if (holder !== undefined && holder !== ROUTER) {
      report.conflicts.push({ owner, ip, holder });
      return;
    }
    this.#displaceRouter(ip, owner);
    report.adopted.push({ owner, ip });
  }

  #has(owner: string, family: 4 | 6): boolean {
    return this.#owners.get(owner)?.some((ip) => familyOf(ip) === family) ?? false;
  }

  #free(owner: string, ip: Ip): void {
    this.#pools[familyOf(ip)].release(ip);
    const rest = (this.#owners.get(owner) ?? []).filter((other) => !ipEqual(other, ip));
    if (rest.length === 0) this.#owners.delete(owner);
    else this.#owners.set(owner, rest);
  }

  #refuseRouter(owner: string): void {
    if (owner === ROUTER) throw new AxonError("ipam.owner", `"${ROUTER}" is the node itself, not an owner`);
  }
}

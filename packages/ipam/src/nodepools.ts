import { AxonError, type Ip, isV4Prefix, type Prefix, prefixContains } from "@axoneme/base";
import { capacityOf, type PoolUsage } from "./addresspool.ts";
import { type Allocation, NodePool } from "./nodepool.ts";

/** The pool of those that ask for none. */
export const defaultPool = "default";

/** Which pool each family of a pod comes from. */
export interface PoolChoice {
  readonly v4: string;
  readonly v6: string;
}

/** Addresses that a node needs of a pool. */
export interface PoolDemand {
  readonly pool: string;
  readonly v4: number;
  readonly v6: number;
}

/**
 * The pools of a node: `default`, whose first address is the node's own, and further ones by name. CIDRs come and go while
 * addresses are in use; demand says how many addresses there should be.
 */
export class NodePools {
  readonly #name: string;
  readonly #pools = new Map<string, NodePool>();
  /** Addresses that could not be given, by pool and family: somebody waits. */
  readonly #missed = new Map<string, { v4: boolean; v6: boolean }>();

  /** @param name of the node, for errors. */
  constructor(name: string) {
    this.#name = name;
    this.#pools.set(defaultPool, new NodePool({ name, cidrs: [] }));
  }

  /** The pool of those that ask for none. */
  get default(): NodePool {
    return this.#of(defaultPool);
  }

  /** States all pools and their CIDRs; a pool that is not named has none. */
  setCidrs(cidrs: ReadonlyMap<string, readonly Prefix[]>): void {
    for (const [name, pool] of this.#pools) if (!cidrs.has(name)) pool.setCidrs([]);
    for (const [name, of] of cidrs) {
      this.#of(name).setCidrs(of);
      this.#missed.delete(name);
    }
  }

  routerIp(family: 4 | 6): Ip | undefined {
    return this.default.routerIp(family);
  }

  /** As of {@link NodePool}, each family of the pool that is chosen for it. */
  allocate(owner: string, choice: PoolChoice = { v4: defaultPool, v6: defaultPool }): Allocation {
    if (choice.v4 === choice.v6) return this.#allocate(choice.v4, owner, [4, 6]);
    return { ...this.#allocate(choice.v4, owner, [4]), ...this.#allocate(choice.v6, owner, [6]) };
  }

  #allocate(name: string, owner: string, families: readonly (4 | 6)[]): Allocation {
    const pool = this.#of(name);
    try {
      return pool.allocate(owner, undefined, families);
    } catch (error) {
      if (error instanceof AxonError && error.code === "ipam.exhausted")
        this.#missed.set(name, { v4: families.includes(4), v6: families.includes(6) });
      throw error;
    }
  }

  /** Marks an address as the owner's, in the pool that it lies in. Throws `ipam.taken`. */
  reserve(owner: string, ip: Ip): void {
    const found = [...this.#pools.values()].find((pool) =>
      pool.cidrs.some((cidr) => prefixContains(cidr, ip)),
    );
    (found ?? this.default).reserve(owner, ip);
  }

  release(owner: string): void {
    for (const pool of this.#pools.values()) pool.release(owner);
  }

  /** Counts of all pools, those that have CIDRs. */
  usage(): (PoolUsage & { pool: string })[] {
    return [...this.#pools].flatMap(([name, pool]) =>
      pool.usage().map((usage) => ({ pool: name, ...usage })),
    );
  }

  /** Counts by family, of all pools together. */
  totals(): PoolUsage[] {
    return ([4, 6] as const).flatMap((family) => {
      const all = this.usage().filter((each) => each.family === family);
      if (all.length === 0) return [];
      const sum = (of: "used" | "cooling" | "allocated" | "released") =>
        all.reduce((count, each) => count + each[of], 0);
      return [
        {
          family,
          cidrs: all.flatMap(({ cidrs }) => cidrs),
          capacity: all.reduce((count, each) => count + each.capacity, 0n),
          used: sum("used"),
          cooling: sum("cooling"),
          allocated: sum("allocated"),
          released: sum("released"),
        },
      ];
    });
  }

  /**
   * How many addresses there should be: those in use and some ahead.
   * @param ahead by pool; others have none ahead, and one where somebody waits.
   */
  demand(ahead: Readonly<Record<string, number>>): PoolDemand[] {
    return [...this.#pools].flatMap(([pool, addresses]) => {
      const of = addresses.usage();
      const missed = this.#missed.get(pool);
      const need = (family: 4 | 6, waits: boolean | undefined) =>
        (of.find((each) => each.family === family)?.used ?? 0) +
        Math.max(ahead[pool] ?? 0, waits === true ? 1 : 0);
      const demand = { pool, v4: need(4, missed?.v4), v6: need(6, missed?.v6) };
      return demand.v4 + demand.v6 > 0 ? [demand] : [];
    });
  }

  /** CIDRs of which nothing is in use, and that demand does not ask for. The first of a family of `default` stays. */
  spare(ahead: Readonly<Record<string, number>>): { pool: string; cidr: Prefix }[] {
    return this.demand(ahead)
      .concat([...this.#pools.keys()].map((pool) => ({ pool, v4: 0, v6: 0 })))
      .filter(({ pool }, at, all) => all.findIndex((other) => other.pool === pool) === at)
      .flatMap((demand) => this.#spareOf(demand));
  }

  #spareOf({ pool: name, v4, v6 }: PoolDemand): { pool: string; cidr: Prefix }[] {
    const pool = this.#of(name);
    const idle = pool.idle();
    const spare: { pool: string; cidr: Prefix }[] = [];
    for (const family of [4, 6] as const) {
      const needed = BigInt(family === 4 ? v4 : v6);
      let left = pool.usage().find((each) => each.family === family)?.capacity ?? 0n;
      for (const cidr of idle.filter((each) => isV4Prefix(each) === (family === 4)).reverse()) {
        const without = left - capacityOf(cidr);
        if (without < needed) continue;
        left = without;
        spare.push({ pool: name, cidr });
      }
    }
    return spare;
  }

  #of(name: string): NodePool {
    const known = this.#pools.get(name);
    if (known) return known;
    const made = new NodePool({ name: `${name} of ${this.#name}`, cidrs: [], router: false });
    this.#pools.set(name, made);
    return made;
  }
}

import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, errorText, formatPrefix, type Prefix, parsePrefix, prefixContains } from "@axoneme/base";
import { type ClusterCidr, ClusterPool } from "@axoneme/ipam";
import {
  type CiliumNode,
  type CiliumPodIPPool,
  isConflict,
  isNotFound,
  ListWatch,
  resources,
} from "@axoneme/kube";
import { fieldManager } from "./crds.ts";
import type { Surroundings } from "./nodecidrs.ts";
import { WorkQueue } from "./workqueue.ts";

type Allocated = { pool: string; cidrs: string[] };

/**
 * Gives CiliumNodes blocks of CiliumPodIPPools as they ask for addresses: `spec.ipam.pools`. Agents take blocks that they
 * no longer use out of `allocated` themselves; what no node names is free. The objects are the only record.
 */
export class PoolCidrs implements Module {
  readonly name = "pool-cidrs";
  readonly #around: Surroundings;
  readonly #queue: WorkQueue;
  readonly #definitions: ListWatch<CiliumPodIPPool>;
  readonly #pools = new Map<string, ClusterPool>();
  readonly #starving = new Map<string, string>();
  #unsubscribe: () => void = () => undefined;
  #health: HealthReporter | undefined;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#definitions = new ListWatch(around.client, resources.ciliumpodippools, { log: around.log });
    this.#queue = new WorkQueue(
      (name) => this.#reconcile(name),
      (name, error) => {
        around.log.warn(
          { node: name, err: errorText(error) },
          "could not write blocks of pools; trying again",
        );
        this.#health?.degraded(`blocks of ${name}: ${errorText(error)}`);
      },
    );
  }

  async start(health: HealthReporter): Promise<void> {
    this.#health = health;
    let isSynced = false;
    const changed = (): void => {
      if (isSynced) this.#rebuild();
    };
    this.#definitions.start({ onAdd: changed, onUpdate: changed, onDelete: changed });
    await this.#definitions.synced;
    isSynced = true;
    this.#rebuild();
    this.#unsubscribe = this.#around.sources.onCiliumNode.on((name) => this.#queue.add(name));
    health.ok();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await Promise.all([this.#definitions.stop(), this.#queue.stop()]);
  }

  /** How many nodes wait for a block. */
  get starving(): number {
    return this.#starving.size;
  }

  /** Pools as they are defined now, and in them what nodes have. */
  #rebuild(): void {
    this.#pools.clear();
    for (const definition of this.#definitions.store.values()) {
      const name = definition.metadata?.name ?? "";
      try {
        this.#pools.set(name, new ClusterPool(cidrsOf(definition)));
      } catch (error) {
        this.#around.log.error({ pool: name, err: errorText(error) }, "a pool makes no sense");
      }
    }
    const nodes = [...this.#around.sources.ciliumNodes.store.values()];
    for (const [name, pool] of this.#pools) {
      const held = nodes.map((node) => ({ node: nameOf(node), cidrs: heldOf(node, name) }));
      for (const { node, error } of pool.restore(held))
        this.#around.log.error({ node, pool: name, err: error.message }, "two nodes have overlapping blocks");
    }
    for (const node of nodes) this.#queue.add(nameOf(node));
  }

  async #reconcile(name: string): Promise<void> {
    const node = this.#around.sources.ciliumNodes.store.get(name);
    const freed = this.#takeOver(name, node);
    if (freed) for (const starving of this.#starving.keys()) if (starving !== name) this.#queue.add(starving);
    this.#starving.delete(name);
    if (node === undefined) return;
    for (const { pool, needed } of node.spec.ipam?.pools?.requested ?? [])
      this.#fill(name, pool, needed?.["ipv4-addrs"] ?? 0, needed?.["ipv6-addrs"] ?? 0);
    const present = node.spec.ipam?.pools?.allocated ?? [];
    const next = this.#allocatedOf(name, present);
    if (JSON.stringify(present.map(plain)) !== JSON.stringify(next)) await this.#write(node, next);
    this.#report();
  }

  /** The object is right: what it no longer names is free. Returns whether something became so. */
  #takeOver(name: string, node: CiliumNode | undefined): boolean {
    let freed = false;
    for (const [poolName, pool] of this.#pools) {
      const held = node ? heldOf(node, poolName) : [];
      const had = pool.release(name);
      for (const cidr of held) {
        try {
          pool.reserve(name, cidr);
        } catch (error) {
          this.#around.log.error(
            { node: name, pool: poolName, err: errorText(error) },
            "a block is another node's",
          );
        }
      }
      freed ||= had.some((cidr) => !held.some((other) => prefixContains(other, cidr.ip)));
    }
    return freed;
  }

  #fill(node: string, name: string, v4: number, v6: number): void {
    const pool = this.#pools.get(name);
    try {
      if (!pool) throw new AxonError("ipam.pool", `there is no CiliumPodIPPool ${name}`);
      pool.fill(node, 4, v4);
      pool.fill(node, 6, v6);
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      this.#starving.set(node, `pool ${name}: ${error.message}`);
      this.#around.log.warn(
        { node, pool: name, err: error.message },
        "no block for a node that asks for addresses",
      );
    }
  }

  /** Blocks of pools that are no longer defined stay with the node until it gives them back. */
  #allocatedOf(name: string, present: readonly { pool: string; cidrs?: string[] }[]): Allocated[] {
    const names = new Set([...present.map(({ pool }) => pool), ...this.#pools.keys()]);
    return [...names].sort().flatMap((pool) => {
      const known = this.#pools.get(pool);
      const cidrs = known
        ? known.cidrsOf(name).map(formatPrefix)
        : (present.find((each) => each.pool === pool)?.cidrs ?? []);
      return cidrs.length > 0 ? [{ pool, cidrs: [...cidrs] }] : [];
    });
  }

  async #write(node: CiliumNode, allocated: Allocated[]): Promise<void> {
    const { client, signal, log } = this.#around;
    // The version makes it a conflict when the agent, or another leader, was quicker.
    const metadata = { resourceVersion: node.metadata?.resourceVersion };
    const patch = { metadata, spec: { ipam: { pools: { allocated } } } };
    try {
      await client.resource(resources.ciliumnodes).patch(nameOf(node), patch, { fieldManager, signal });
      log.info({ node: nameOf(node), allocated }, "blocks of pools handed out");
    } catch (error) {
      // The watch brings the newer object, or its end, and with it the next try.
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }

  #report(): void {
    const [first] = this.#starving.values();
    if (first === undefined) this.#health?.ok();
    else this.#health?.degraded(`${this.#starving.size} nodes wait for addresses: ${first}`);
  }
}

function plain({ pool, cidrs = [] }: { pool: string; cidrs?: string[] }): Allocated {
  return { pool, cidrs };
}

function nameOf(node: CiliumNode): string {
  return node.metadata?.name ?? "";
}

function heldOf(node: CiliumNode, pool: string): Prefix[] {
  const entry = node.spec.ipam?.pools?.allocated?.find((each) => each.pool === pool);
  return (entry?.cidrs ?? []).flatMap((text) => {
    try {
      return [parsePrefix(text)];
    } catch {
      // The agent of that node says so in its own status.
      return [];
    }
  });
}

function cidrsOf({ spec }: CiliumPodIPPool): ClusterCidr[] {
  return [spec.ipv4, spec.ipv6].flatMap((of) =>
    (of?.cidrs ?? []).map((text) => ({ cidr: parsePrefix(text), maskSize: of?.maskSize ?? 0 })),
  );
}

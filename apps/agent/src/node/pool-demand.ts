import { errorText, type Logger } from "@axoneme/base";
import type { NodePools, PoolDemand } from "@axoneme/ipam";
import type { KubeClient } from "@axoneme/kube";
import { type CiliumNodeObject, ciliumNodes, fieldManager } from "../state/objects.ts";
import type { PoolCidrs } from "./pool-cidrs.ts";
import type { NodePublisher } from "./publisher.ts";

/** Requests are rounded up to this many: every other node is told of each of them. */
const step = 16;
/** How often it is looked whether CIDRs can go back. */
const giveBackEveryMs = 30_000;

/** What stating demand takes. */
export interface PoolDemandDeps {
  readonly nodeName: string;
  readonly pool: NodePools;
  /** Addresses to have ahead, by pool. */
  readonly ahead: Readonly<Record<string, number>>;
  readonly families: readonly (4 | 6)[];
  readonly publisher: Pick<NodePublisher, "publishDemand" | "isIdle">;
  readonly client: KubeClient;
  readonly log: Logger;
}

/** Asks the operator for more addresses before they run out, and gives CIDRs back that nothing uses. */
export class DemandOfPools {
  readonly #deps: PoolDemandDeps;
  #published: readonly PoolDemand[] = [];
  #timer: NodeJS.Timeout | undefined;
  #node: CiliumNodeObject | undefined;
  #settling = false;

  constructor(deps: PoolDemandDeps) {
    this.#deps = deps;
  }

  /** Some address was given, or was not to be had. */
  used(): void {
    const demand = this.#demand();
    if (demand.some((each) => this.#lacks(each) && !this.#asked(each))) this.#publish(demand);
  }

  /** @param cidrs what may be given back; undefined: all stay. */
  start(cidrs: PoolCidrs | undefined): void {
    this.used();
    if (!cidrs) return;
    this.#timer = setInterval(() => this.giveBack(cidrs), giveBackEveryMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** The node's object as last seen. */
  seen(node: CiliumNodeObject): void {
    this.#node = node;
  }

  /** First nobody is asked for them any more, then they are forgotten here, then the API is told. */
  giveBack(cidrs: PoolCidrs): void {
    const { pool, ahead, publisher, log } = this.#deps;
    const demand = this.#demand();
    const spare = pool.spare(ahead);
    if (spare.length === 0 && !cidrs.leaving) return;
    if (JSON.stringify(demand) !== JSON.stringify(this.#published)) {
      this.#publish(demand);
      return;
    }
    if (!publisher.isIdle || this.#settling) return;
    if (spare.length > 0) cidrs.leave(spare);
    this.#settling = true;
    this.#tell(cidrs)
      .catch((error: unknown) => log.warn({ err: errorText(error) }, "CIDRs not given back yet"))
      .finally(() => {
        this.#settling = false;
      });
  }

  async #tell(cidrs: PoolCidrs): Promise<void> {
    const { client, nodeName } = this.#deps;
    const allocated = this.#node?.spec?.ipam?.pools?.allocated ?? [];
    const patch = {
      metadata: { resourceVersion: this.#node?.metadata?.resourceVersion },
      spec: { ipam: { pools: { allocated: cidrs.without(allocated) } } },
    };
    await client.resource(ciliumNodes).patch(nodeName, patch, { fieldManager });
  }

  #publish(demand: readonly PoolDemand[]): void {
    this.#published = demand;
    this.#deps.publisher.publishDemand(demand);
  }

  #demand(): PoolDemand[] {
    const { pool, ahead, families } = this.#deps;
    const round = (count: number, family: 4 | 6) =>
      families.includes(family) ? Math.ceil(count / step) * step : 0;
    return pool
      .demand(ahead)
      .map((each) => ({ pool: each.pool, v4: round(each.v4, 4), v6: round(each.v6, 6) }));
  }

  #lacks({ pool, v4, v6 }: PoolDemand): boolean {
    const usage = this.#deps.pool.usage().filter((each) => each.pool === pool);
    const capacity = (family: 4 | 6) => usage.find((each) => each.family === family)?.capacity ?? 0n;
    return capacity(4) < BigInt(v4) || capacity(6) < BigInt(v6);
  }

  #asked({ pool, v4, v6 }: PoolDemand): boolean {
    return this.#published.some((each) => each.pool === pool && each.v4 >= v4 && each.v6 >= v6);
  }
}

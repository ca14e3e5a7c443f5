import { join } from "node:path";
import { Deferred, type Ip, type Logger, type Prefix } from "@axoneme/base";
import { defaultPool, NodePools } from "@axoneme/ipam";
import type { KubeClient } from "@axoneme/kube";
import type { AgentConfig } from "../options.ts";
import type { CiliumNodeObject } from "../state/objects.ts";
import { PodCidrs } from "./pod-cidrs.ts";
import { PoolCidrs } from "./pool-cidrs.ts";
import { DemandOfPools } from "./pool-demand.ts";
import type { NodePublisher } from "./publisher.ts";
import { familyEnabled } from "./setup.ts";

/** What the addresses of a node's pods depend on. */
export interface NodeIpamDeps {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly publisher: NodePublisher;
  readonly log: Logger;
}

/** Where this node's pods get their addresses: the CIDRs it was given, its pools of them, and what it asks for. */
export class NodeIpam {
  readonly pool: NodePools;
  readonly #config: AgentConfig;
  readonly #demand: DemandOfPools;
  #cidrs: PodCidrs | PoolCidrs | undefined;
  #changed = new Deferred<void>();

  constructor({ config, nodeName, client, publisher, log }: NodeIpamDeps) {
    this.#config = config;
    this.pool = new NodePools(nodeName);
    this.#demand = new DemandOfPools({
      ...{ nodeName, pool: this.pool, client, log, families: familiesOf(config) },
      ahead: { [defaultPool]: config.ipamPreAllocate },
      publisher,
    });
  }

  /** Takes up the CIDRs that are remembered on disk, and those to come; `use` is told each new set, all pools' together. */
  follow(use: (cidrs: readonly Prefix[]) => void): void {
    const { ipamMode, runDir } = this.#config;
    const set = (cidrs: ReadonlyMap<string, readonly Prefix[]>) => this.#set(cidrs, use);
    this.#cidrs =
      ipamMode === "multi-pool"
        ? new PoolCidrs(join(runDir, "pool-cidrs.json"), set)
        : new PodCidrs(join(runDir, "pod-cidrs.json"), (cidrs) => set(new Map([[defaultPool, cidrs]])));
  }

  /** Of all pools. */
  get current(): readonly Prefix[] {
    return this.#cidrs?.current ?? [];
  }

  /** Resolves when there is a CIDR to begin with. */
  async known(): Promise<void> {
    await this.#cidrs?.known;
  }

  /** The router's addresses on this node. */
  get gateways(): { readonly v4: Ip | undefined; readonly v6: Ip | undefined } {
    return { v4: this.pool.routerIp(4), v6: this.pool.routerIp(6) };
  }

  /** Whether a node whose addresses run out gets more. */
  get mayGrow(): boolean {
    return this.#config.ipamMode !== "kubernetes";
  }

  /** Some address was given, or was not to be had. */
  used(): void {
    if (this.mayGrow) this.#demand.used();
  }

  /** Resolves with the next set of CIDRs. */
  changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** This node's CiliumNode: what the operator gave it. */
  learn(node: CiliumNodeObject): void {
    this.#demand.seen(node);
    const { podCIDRs = [], pools } = node.spec?.ipam ?? {};
    if (this.#cidrs instanceof PoolCidrs) this.#cidrs.learn(pools?.allocated ?? []);
    else if (this.#config.ipamMode === "cluster-pool") this.#cidrs?.learn(podCIDRs);
  }

  /** This node's Node: what Kubernetes gave it, where that counts. */
  learnKubernetes(podCidrs: readonly string[]): void {
    if (this.#cidrs instanceof PodCidrs && this.#config.ipamMode === "kubernetes")
      this.#cidrs.learn(podCidrs);
  }

  /** Begins to ask for what lacks. */
  start(): void {
    if (this.mayGrow) this.#demand.start(this.#cidrs instanceof PoolCidrs ? this.#cidrs : undefined);
  }

  stop(): void {
    this.#demand.stop();
  }

  #set(cidrs: ReadonlyMap<string, readonly Prefix[]>, use: (cidrs: readonly Prefix[]) => void): void {
    const wanted = new Map(
      [...cidrs].map(([pool, of]) => [pool, of.filter((cidr) => familyEnabled(this.#config, cidr))]),
    );
    this.pool.setCidrs(wanted);
    use([...wanted.values()].flat());
    this.#changed.resolve();
    this.#changed = new Deferred();
  }
}

/** Families that pods of the node have. */
export function familiesOf({ enableIPv4, enableIPv6 }: AgentConfig): (4 | 6)[] {
  return [...(enableIPv4 ? [4 as const] : []), ...(enableIPv6 ? [6 as const] : [])];
}

import { type NodeTopology, podsOnNode } from "../net/index.ts";
import { runIn } from "./commands.ts";
import { iptablesChange, iptablesRules } from "./iptables.ts";
import { backendsEach, type ModelService, servicesOf } from "./model.ts";
import { nftablesBase, nftablesChange, nftablesServices } from "./nftables.ts";

/** A node as kube-proxy leaves it. */
export interface Peer {
  readonly name: string;
  readonly topology: NodeTopology;
  /** Brings the rules to `count` Services; returns milliseconds. */
  load(count: number): Promise<number>;
  /** Changes the endpoints of one Service among those loaded and back; milliseconds of each of the two. */
  change(index: number): Promise<number[]>;
}

/** The Service with other endpoints: the same addresses, another port. */
function moved(service: ModelService): ModelService {
  const backends = service.backends.map(({ ip, port }) => ({ ip, port: port + 1 }));
  return { ...service, backends };
}

abstract class Rules implements Peer {
  abstract readonly name: string;
  readonly topology: NodeTopology;
  protected services: readonly ModelService[] = [];

  constructor(topology: NodeTopology) {
    this.topology = topology;
  }

  protected abstract bring(all: readonly ModelService[], before: number): Promise<number>;
  protected abstract replace(before: ModelService, changed: ModelService): Promise<number>;

  async load(count: number): Promise<number> {
    const before = this.services.length;
    const servers = this.topology.servers.map(({ ipv4 }) => ipv4);
    this.services = servicesOf(count, servers);
    return this.bring(this.services, before);
  }

  async change(index: number): Promise<number[]> {
    const service = this.services[index];
    if (service === undefined) throw new Error(`no Service ${index} among ${this.services.length}`);
    const other = moved(service);
    return [await this.replace(service, other), await this.replace(other, service)];
  }
}

/** Debian's iptables runs on nf_tables, and so does kube-proxy's image on such a host; "legacy" is the older way. */
export type IptablesBackend = "nft" | "legacy";

class Iptables extends Rules {
  readonly name: string;
  readonly #restore: string;

  constructor(topology: NodeTopology, backend: IptablesBackend) {
    super(topology);
    this.name = `iptables-${backend}`;
    this.#restore = `iptables-${backend}-restore`;
  }

  protected bring(all: readonly ModelService[]): Promise<number> {
    return runIn(this.topology.node, [this.#restore], iptablesRules(all, this.topology.podCidr));
  }

  protected replace(before: ModelService, changed: ModelService): Promise<number> {
    const input = iptablesChange(this.services, before, changed, this.topology.podCidr);
    return runIn(this.topology.node, [this.#restore, "--noflush"], input);
  }
}

class Nftables extends Rules {
  readonly name = "nftables";

  protected async bring(all: readonly ModelService[], before: number): Promise<number> {
    const { podCidr } = this.topology;
    let ms = before === 0 ? await this.#run(nftablesBase(podCidr)) : 0;
    for (const transaction of nftablesServices(all.slice(before), podCidr))
      ms += await this.#run(transaction);
    return ms;
  }

  protected replace(before: ModelService, changed: ModelService): Promise<number> {
    return this.#run(nftablesChange(before, changed, this.topology.podCidr));
  }

  #run(input: string): Promise<number> {
    return runIn(this.topology.node, ["nft", "-f", "-"], [input]);
  }
}

/** A node with iptables rules. */
export async function iptablesPeer(backend: IptablesBackend): Promise<Peer> {
  return new Iptables(await podsOnNode(backendsEach), backend);
}

/** A node with nftables rules. */
export async function nftablesPeer(): Promise<Peer> {
  return new Nftables(await podsOnNode(backendsEach));
}

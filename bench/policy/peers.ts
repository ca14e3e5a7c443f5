import { type NodeTopology, podsOnNode } from "../net/index.ts";
import { checkPeers, runIn } from "../services/commands.ts";
import {
  ipsets,
  iptablesChange,
  iptablesRules,
  nftChange,
  nftRules,
  type PeerModel,
  type PeerPolicy,
  peerModel,
} from "./rulesets.ts";

/** A node as an engine leaves it that turns policies into rules of the kernel's packet filter. */
export interface Peer {
  readonly name: string;
  readonly topology: NodeTopology;
  /** Writes the rules of so many policies for so many pods; milliseconds. */
  load(policies: number, pods: number, port: number): Promise<number>;
  /** Changes the port of policies of other pods, each to another and back; milliseconds of each change. */
  changes(count: number): Promise<number[]>;
}

abstract class Rules implements Peer {
  abstract readonly name: string;
  readonly topology: NodeTopology;
  #model: PeerModel | undefined;

  constructor(topology: NodeTopology) {
    this.topology = topology;
  }

  protected abstract write(model: PeerModel): Promise<number>;
  protected abstract replace(policy: PeerPolicy): Promise<number>;

  load(policies: number, pods: number, port: number): Promise<number> {
    this.#model = peerModel(policies, pods, this.topology.client.ipv4, port);
    return this.write(this.#model);
  }

  async changes(count: number): Promise<number[]> {
    // Those of pod 1 carry the measured connections.
    const others = this.#model?.policies.filter(({ pod }) => pod !== 1) ?? [];
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const policy = others[Math.floor((i * others.length) / count)];
      if (policy === undefined) break;
      times.push(await this.replace({ ...policy, port: policy.port + 20_000 }), await this.replace(policy));
    }
    return times.sort((a, b) => a - b);
  }

  protected run(command: readonly string[], input: readonly string[]): Promise<number> {
    return runIn(this.topology.node, command, input);
  }
}

class Iptables extends Rules {
  readonly name = "iptables-nft and ipset";

  protected async write(model: PeerModel): Promise<number> {
    const sets = await this.run(["ipset", "restore"], ipsets(model));
    return sets + (await this.run(["iptables-nft-restore"], iptablesRules(model)));
  }

  protected replace(policy: PeerPolicy): Promise<number> {
    return this.run(["iptables-nft-restore", "--noflush"], iptablesChange(policy));
  }
}

class Nftables extends Rules {
  readonly name = "nftables";

  protected write(model: PeerModel): Promise<number> {
    return this.run(["nft", "-f", "-"], nftRules(model));
  }

  protected replace(policy: PeerPolicy): Promise<number> {
    return this.run(["nft", "-f", "-"], nftChange(policy));
  }
}

/** Both peers, each on a node with a client (device lxc0) and a server (lxc1). */
export async function peers(): Promise<Peer[]> {
  checkPeers(["ipset"]);
  return [new Iptables(await podsOnNode(1)), new Nftables(await podsOnNode(1))];
}

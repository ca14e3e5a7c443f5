import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { formatIp, hostPrefix, parseInterfaceAddress, parseIp, parsePrefix } from "@axoneme/base";
import { closeFd, Netlink, Netns, openNetns } from "@axoneme/netlink";

/** One end of a baseline. */
export interface BenchEnd {
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A baseline that stands until `close`. */
export interface Topology {
  readonly client: BenchEnd;
  readonly server: BenchEnd;
  close(): Promise<void>;
}

/** A node with pods: what a proxy's rules are loaded into. */
export interface NodeTopology {
  /** The node's own namespace. */
  readonly node: string;
  readonly client: BenchEnd;
  readonly servers: readonly BenchEnd[];
  /** All pods are in it. */
  readonly podCidr: string;
  close(): Promise<void>;
}

/** Options of the baselines. */
export interface TopologyOptions {
  /** MTU of every link, default 1500. */
  readonly mtu?: number;
}

const V4_GATEWAY = "169.254.1.1";
const V6_GATEWAY = "fe80::1";

/** Namespaces of one baseline, each with its netlink socket; all end with `close`. */
class Stage {
  private readonly dir: string;
  private readonly open = new Map<string, Netlink>();
  readonly mtu: number;

  constructor(options: TopologyOptions) {
    mkdirSync("/run/axon-bench", { recursive: true });
    this.dir = mkdtempSync(`/run/axon-bench/net-${process.pid}-`);
    this.mtu = options.mtu ?? 1500;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  async namespace(name: string, sysctls: Record<string, number> = {}): Promise<Netlink> {
    await Netns.create(this.path(name), { sysctls });
    const netlink = Netlink.open({ netnsPath: this.path(name) });
    this.open.set(name, netlink);
    return netlink;
  }

  /** A veth pair between two namespaces, both ends up. Returns the indexes. */
  async wire(from: string, fromName: string, to: string, toName: string): Promise<{ a: number; b: number }> {
    const near = this.of(from);
    const far = this.of(to);
    const netnsFd = openNetns(this.path(to));
    try {
      await near.linkAdd({
        kind: "veth",
        name: fromName,
        mtu: this.mtu,
        up: true,
        peer: { name: toName, mtu: this.mtu, netnsFd },
      });
    } finally {
      closeFd(netnsFd);
    }
    const [a, b] = await Promise.all([near.linkGet(fromName), far.linkGet(toName)]);
    await far.linkSet({ index: b.index, up: true });
    return { a: a.index, b: b.index };
  }

  of(name: string): Netlink {
    const netlink = this.open.get(name);
    if (netlink === undefined) throw new Error(`no namespace ${name}`);
    return netlink;
  }

  async close(): Promise<void> {
    for (const [name, netlink] of this.open) {
      netlink.close();
      await Netns.delete(this.path(name));
    }
    rmSync(this.dir, { recursive: true });
  }
}

async function address(netlink: Netlink, index: number, ...texts: string[]): Promise<void> {
  await netlink.batch((batch) => {
    for (const text of texts) void batch.addrAdd({ index, prefix: parseInterfaceAddress(text), noDad: true });
  });
}

async function build<T>(
  options: TopologyOptions,
  make: (stage: Stage) => Promise<T>,
): Promise<T & { close(): Promise<void> }> {
  const stage = new Stage(options);
  try {
    return { ...(await make(stage)), close: () => stage.close() };
  } catch (error) {
    await stage.close();
    throw error;
  }
}

/** The limit: two namespaces joined by one veth pair, nothing between. */
export function bareVethPair(options: TopologyOptions = {}): Promise<Topology> {
  return build(options, async (stage) => {
    const client = await stage.namespace("client");
    const server = await stage.namespace("server");
    const { a, b } = await stage.wire("client", "eth0", "server", "eth0");
    await address(client, a, "10.99.0.1/24", "fd99::1/64");
    await address(server, b, "10.99.0.2/24", "fd99::2/64");
    return {
      client: { netns: stage.path("client"), ipv4: "10.99.0.1", ipv6: "fd99::1" },
      server: { netns: stage.path("server"), ipv4: "10.99.0.2", ipv6: "fd99::2" },
    };
  });
}

const FORWARDING = { "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 };

/** Pod number `k` behind node `n`, reached by routes of the node as the `ptp` plugin makes them. */
async function addPod(stage: Stage, n: number, k = 0): Promise<BenchEnd> {
  const name = k === 0 ? `pod${n}` : `pod${n}-${k}`;
  const pod = await stage.namespace(name);
  const node = stage.of(`node${n}`);
  const { a, b } = await stage.wire(`node${n}`, `lxc${k}`, name, "eth0");
  const ipv4 = `10.98.${n}.${2 + k}`;
  const ipv6 = `fd98:0:0:${n}::${(2 + k).toString(16)}`;
  await address(node, a, `${V4_GATEWAY}/32`, `${V6_GATEWAY}/64`);
  await address(pod, b, `${ipv4}/32`, `${ipv6}/128`);
  await pod.batch((batch) => {
    void batch.routeAdd({ oif: b, dst: hostPrefix(parseIp(V4_GATEWAY)) });
    void batch.routeAdd({ oif: b, gateway: parseIp(V4_GATEWAY) });
    void batch.routeAdd({ oif: b, family: 6, gateway: parseIp(V6_GATEWAY) });
  });
  await node.batch((batch) => {
    void batch.routeAdd({ oif: a, dst: hostPrefix(parseIp(ipv4)) });
    void batch.routeAdd({ oif: a, dst: hostPrefix(parseIp(ipv6)) });
  });
  return { netns: stage.path(name), ipv4, ipv6 };
}

/** One node with a client and `servers` pods, routed as the `ptp` plugin does; no rules, no programs. */
export function podsOnNode(servers: number, options: TopologyOptions = {}): Promise<NodeTopology> {
  return build(options, async (stage) => {
    await stage.namespace("node1", FORWARDING);
    const client = await addPod(stage, 1);
    const ends: BenchEnd[] = [];
    for (let k = 1; k <= servers; k++) ends.push(await addPod(stage, 1, k));
    return { node: stage.path("node1"), client, servers: ends, podCidr: "10.98.0.0/16" };
  });
}

/** A node on the bridge. */
async function addNode(stage: Stage, bridge: number, n: number): Promise<number> {
  const node = await stage.namespace(`node${n}`, FORWARDING);
  const { a, b } = await stage.wire("net", `port${n}`, `node${n}`, "eth0");
  await stage.of("net").linkSet({ index: a, master: bridge });
  await address(node, b, `10.97.0.${n}/24`, `fd97::${n}/64`);
  return b;
}

/** Routes of node `n` to the pods of node `other`. */
async function addRoutes(stage: Stage, n: number, oif: number, other: number): Promise<void> {
  await stage.of(`node${n}`).batch((batch) => {
    const via = (gateway: string, dst: string): void =>
      void batch.routeAdd({ oif, dst: parsePrefix(dst), gateway: parseIp(gateway) });
    via(`10.97.0.${other}`, `10.98.${other}.0/24`);
    via(`fd97::${other}`, `fd98:0:0:${other}::/64`);
  });
}

/**
 * The same hops as between pods of two nodes, without us: pod veth, the node's routing, bridge, the other node's
 * routing, pod veth. No netfilter rules, no programs.
 */
export function routedHops(options: TopologyOptions = {}): Promise<Topology> {
  return build(options, async (stage) => {
    const net = await stage.namespace("net");
    await net.linkAdd({ kind: "bridge", name: "br0", mtu: stage.mtu, up: true });
    const { index: bridge } = await net.linkGet("br0");
    const first = await addNode(stage, bridge, 1);
    const second = await addNode(stage, bridge, 2);
    const client = await addPod(stage, 1);
    const server = await addPod(stage, 2);
    await addRoutes(stage, 1, first, 2);
    await addRoutes(stage, 2, second, 1);
    return { client, server };
  });
}

/** The address of an end in the family asked for, checked. */
export function ipOf(end: BenchEnd, family: 4 | 6): string {
  return formatIp(parseIp(family === 4 ? end.ipv4 : end.ipv6));
}

import { spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ConfigFlags, IpcacheFlags } from "@axoneme/abi";
import { formatMac, parseIp, parseMac, parsePrefix } from "@axoneme/base";
import { Link } from "@axoneme/bpf";
import { builtFile, closeFd, launch, Netlink, Netns, openNetns } from "@axoneme/netlink";
import { Datapath } from "./datapath.ts";

/**
 * A small live cluster, wired by hand as an agent would: a bridge namespace with "the world" behind it, two
 * nodes on it, pods in namespaces of their own. What the maps must hold for the programs to work is here.
 */

const RUN = join("/run", `axdp-${process.pid}`);
const BPFFS = "/sys/fs/bpf";
const VXLAN_PORT = 8472;
const TUNNEL_GATEWAY = "fe80::1";

export const world = { v4: "192.0.2.1", v6: "2001:db8::1" } as const;

const nsPath = (name: string) => join(RUN, name);
const host = (ip: string) => parsePrefix(`${ip}/${ip.includes(":") ? 128 : 32}`);

const NODE_SYSCTLS = {
  "net.ipv4.ip_forward": 1,
  "net.ipv6.conf.all.forwarding": 1,
  "net.ipv4.conf.all.rp_filter": 0,
  "net.ipv4.conf.default.rp_filter": 0,
  "net.ipv6.conf.all.accept_dad": 0,
  "net.ipv6.conf.default.accept_dad": 0,
};
const POD_SYSCTLS = { "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0 };

interface Addresses {
  v4: string;
  v6: string;
}

async function inNamespace<T>(path: string, use: (netlink: Netlink) => Promise<T>): Promise<T> {
  const netlink = Netlink.open({ netnsPath: path });
  try {
    return await use(netlink);
  } finally {
    netlink.close();
  }
}

async function withFd<T>(path: string, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = openNetns(path);
  try {
    return await use(fd);
  } finally {
    closeFd(fd);
  }
}

async function address(netlink: Netlink, index: number, prefix: string): Promise<void> {
  const [ip = "", length = ""] = prefix.split("/");
  const bits = Number(length) + (ip.includes(":") ? 0 : 96);
  await netlink.addrAdd({ index, prefix: { ip: parseIp(ip), length: bits }, noDad: true });
}

export class Pod {
  readonly name: string;
  readonly node: Node;
  readonly addresses: Addresses;
  readonly netns: string;
  readonly id: number;
  identity: number;
  device = 0;
  mac = "";
  hostMac = "";
  readonly links: Link[] = [];

  constructor(node: Node, name: string, id: number, identity: number) {
    this.node = node;
    this.name = name;
    this.id = id;
    this.identity = identity;
    this.addresses = { v4: `10.20${node.number}.0.${id}`, v6: `fd10:${node.number}::${id}` };
    this.netns = nsPath(name);
  }

  /** What the endpoint's rows say; call again after a change of policy. */
  publish(policyId = 0): void {
    for (const ip of [this.addresses.v4, this.addresses.v6]) {
      const [mac, hostMac] = [parseMac(this.mac), parseMac(this.hostMac)];
      const { device: ifindex, identity, id } = this;
      this.node.dp.endpoint(ip, { ifindex, identity, id, policyId, mac, hostMac });
    }
    this.node.dp.nextEpoch();
  }
}

export class Node {
  readonly number: number;
  readonly addresses: Addresses;
  readonly netns: string;
  readonly pinDir: string;
  readonly dp: Datapath;
  readonly node: Datapath;
  readonly overlay: Datapath;
  readonly links: Link[] = [];
  device = 0;
  tunnel = 0;

  constructor(number: number) {
    this.number = number;
    this.addresses = { v4: `172.30.250.1${number}`, v6: `fd00:172:30:fa::1${number}` };
    this.netns = nsPath(`node${number}`);
    this.pinDir = join(BPFFS, `axdp-live-${process.pid}-${number}`);
    mkdirSync(join(this.pinDir, "maps"), { recursive: true });
    this.dp = new Datapath("pod", this.pinDir);
    this.node = new Datapath("node", this.pinDir);
    this.overlay = new Datapath("overlay", this.pinDir);
  }

  async attach(to: Link[], dp: Datapath, ifindex: number, from: string, out: string): Promise<void> {
    await withFd(this.netns, async (netnsFd) => {
      to.push(Link.attachTcx(dp.object.program(from), { ifindex, netnsFd, direction: "ingress" }));
      to.push(Link.attachTcx(dp.object.program(out), { ifindex, netnsFd, direction: "egress" }));
    });
  }

  close(): void {
    for (const link of this.links) link.close();
    for (const dp of [this.dp, this.node, this.overlay]) dp.close();
    rmSync(this.pinDir, { recursive: true, force: true });
  }
}

export class LiveCluster {
  readonly nodes: Node[] = [];
  readonly pods: Pod[] = [];
  readonly tunnel: boolean;

  private constructor(tunnel: boolean) {
    this.tunnel = tunnel;
  }

  /** Of packets that leave the node: a tunnel over IPv6 adds 70 bytes. */
  get #mtu(): number {
    return this.tunnel ? 1430 : 1500;
  }

  static async create(tunnel: boolean): Promise<LiveCluster> {
    const cluster = new LiveCluster(tunnel);
    mkdirSync(RUN, { recursive: true });
    try {
      await cluster.#build();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  async #build(): Promise<void> {
    await this.#bridge();
    for (const number of [1, 2]) await this.#node(number);
    for (const node of this.nodes) for (const peer of this.nodes) await this.#introduce(node, peer);
  }

  async #bridge(): Promise<void> {
    await Netns.create(nsPath("net"), { sysctls: POD_SYSCTLS });
    await inNamespace(nsPath("net"), async (netlink) => {
      await netlink.linkAdd({ kind: "bridge", name: "br0", up: true });
      const { index } = await netlink.linkGet("br0");
      for (const prefix of ["172.30.250.1/24", "fd00:172:30:fa::1/64"]) await address(netlink, index, prefix);
      for (const prefix of [`${world.v4}/32`, `${world.v6}/128`]) await address(netlink, index, prefix);
    });
  }

  async #node(number: number): Promise<void> {
    await Netns.create(nsPath(`node${number}`), { sysctls: NODE_SYSCTLS });
    const node = new Node(number);
    this.nodes.push(node);
    await inNamespace(nsPath("net"), async (netlink) => {
      const { index: master } = await netlink.linkGet("br0");
      await withFd(node.netns, (netnsFd) =>
        netlink.linkAdd({
          kind: "veth",
          name: `port${number}`,
          master,
          up: true,
          peer: { name: "eth0", netnsFd },
        }),
      );
    });
    await inNamespace(node.netns, async (netlink) => {
      const { index } = await netlink.linkGet("eth0");
      node.device = index;
      await address(netlink, index, `${node.addresses.v4}/24`);
      await address(netlink, index, `${node.addresses.v6}/64`);
      await netlink.linkSet({ index, up: true });
      await netlink.routeAdd({ gateway: parseIp("172.30.250.1"), oif: index });
      await netlink.routeAdd({ gateway: parseIp("fd00:172:30:fa::1"), oif: index, family: 6 });
      if (this.tunnel) {
        await netlink.linkAdd({
          kind: "vxlan",
          name: "axvx",
          external: true,
          port: VXLAN_PORT,
          learning: false,
          up: true,
        });
        node.tunnel = (await netlink.linkGet("axvx")).index;
        const mac = parseMac("02:00:00:00:00:aa");
        await netlink.neighAdd({ index: node.tunnel, ip: parseIp(TUNNEL_GATEWAY), mac });
      }
    });
    await node.attach(node.links, node.node, node.device, "node_from", "node_to");
    if (node.tunnel) await node.attach(node.links, node.overlay, node.tunnel, "overlay_from", "overlay_to");
    const flags = ConfigFlags.IPV4 | ConfigFlags.IPV6 | ConfigFlags.MASQUERADE4 | ConfigFlags.MASQUERADE6;
    node.dp.configure({
      flags: flags | (this.tunnel ? ConfigFlags.TUNNEL : 0),
      mtu: this.#mtu,
      deviceIfindex: node.device,
      tunnelIfindex: node.tunnel,
      nodeIp4: Uint8Array.from(parseIp(node.addresses.v4)),
      nodeIp6: Uint8Array.from(parseIp(node.addresses.v6)),
    });
  }

  /** What a node knows about itself and about another one. */
  async #introduce(node: Node, peer: Node): Promise<void> {
    const cidrs: [string, string][] = [
      [`10.20${peer.number}.0.0/24`, "v4"],
      [`fd10:${peer.number}::/64`, "v6"],
    ];
    for (const [cidr, family] of cidrs) {
      const ip = peer.addresses[family as keyof Addresses];
      if (peer === node) {
        node.dp.endpoint(ip, { identity: 1, flags: 1 });
        continue;
      }
      node.dp.ipcache(`${ip}/${family === "v4" ? 32 : 128}`, 6);
      await this.#routeToPods(node, cidr, ip);
    }
  }

  /** The host's own way to the pods of another node: the shared link, or the tunnel device, whose only neighbour is made up. */
  async #routeToPods(node: Node, cidr: string, via: string): Promise<void> {
    await inNamespace(node.netns, async (netlink) => {
      const gateway = parseIp(this.tunnel ? TUNNEL_GATEWAY : via);
      const oif = this.tunnel ? node.tunnel : node.device;
      const src = parseIp(via.includes(":") ? node.addresses.v6 : node.addresses.v4);
      await netlink.routeAdd({ dst: parsePrefix(cidr), gateway, oif, src });
    });
  }

  async pod(name: string, node: Node, id: number, identity: number): Promise<Pod> {
    const pod = new Pod(node, name, id, identity);
    await Netns.create(pod.netns, { sysctls: POD_SYSCTLS });
    await inNamespace(node.netns, async (netlink) => {
      const lxc = `lxc${name}`;
      await withFd(pod.netns, (netnsFd) =>
        netlink.linkAdd({ kind: "veth", name: lxc, up: true, peer: { name: "eth0", netnsFd } }),
      );
      const link = await netlink.linkGet(lxc);
      pod.device = link.index;
      pod.hostMac = formatMac(link.mac);
    });
    await this.#podSide(pod);
    await this.#hostSide(pod);
    await node.attach(pod.links, node.dp, pod.device, "pod_from", "pod_to");
    this.pods.push(pod);
    for (const other of this.nodes) if (other !== node) announce(other, pod);
    pod.publish();
    return pod;
  }

  async #podSide(pod: Pod): Promise<void> {
    await inNamespace(pod.netns, async (netlink) => {
      const link = await netlink.linkGet("eth0");
      const { index } = link;
      pod.mac = formatMac(link.mac);
      for (const ip of [pod.addresses.v4, pod.addresses.v6])
        await netlink.addrAdd({ index, prefix: host(ip), noDad: true });
      await netlink.linkSet({ index, up: true });
      for (const family of [4, 6] as const) await netlink.routeAdd({ oif: index, family, mtu: this.#mtu });
    });
  }

  async #hostSide(pod: Pod): Promise<void> {
    await inNamespace(pod.node.netns, async (netlink) => {
      for (const [ip, src] of [
        [pod.addresses.v4, pod.node.addresses.v4],
        [pod.addresses.v6, pod.node.addresses.v6],
      ] as const) {
        await netlink.routeAdd({ dst: host(ip), oif: pod.device, src: parseIp(src) });
        await netlink.neighAdd({ index: pod.device, ip: parseIp(ip), mac: parseMac(pod.mac) });
      }
    });
  }

  async close(): Promise<void> {
    for (const pod of this.pods) for (const link of pod.links) link.close();
    for (const node of this.nodes) node.close();
    for (const name of [...this.pods.map((pod) => pod.name), "node1", "node2", "net"])
      await Netns.delete(nsPath(name)).catch((error: { errnoName?: string }) => {
        if (error.errnoName !== "ENOENT") throw error;
      });
    rmSync(RUN, { recursive: true, force: true });
  }
}

function announce(node: Node, pod: Pod): void {
  for (const family of ["v4", "v6"] as const) {
    const prefix = `${pod.addresses[family]}/${family === "v4" ? 32 : 128}`;
    node.dp.ipcache(prefix, pod.identity, pod.node.addresses[family], IpcacheFlags.DIRECT);
  }
  node.dp.nextEpoch();
}

export const netOf = nsPath;

export interface ProbeResult {
  code: number;
  output: string;
}

/** Runs the probe inside a namespace: 0 answered, 1 no answer in time, 2 refused. */
export function probe(netns: string, ...args: string[]): Promise<ProbeResult> {
  const { file, args: all } = launch({ netns }, [builtFile("bin/axon-probe"), ...args]);
  const child = spawn(file, all, { stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, output: Buffer.concat(chunks).toString() }));
  });
}

/** A server in a namespace, and how to end it. */
export async function serve(netns: string, port: number, name: string): Promise<() => void> {
  const command = [builtFile("bin/axon-probe"), "serve", String(port), "--name", name];
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, command);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  const deadline = Date.now() + 5000;
  while ((await probe(netns, "tcp", "127.0.0.1", String(port), "--timeout", "200")).code !== 0) {
    if (Date.now() > deadline) throw new Error(`server ${name} does not answer`);
  }
  return () => child.kill("SIGKILL");
}

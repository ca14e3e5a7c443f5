import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseIp, parseMac, parsePrefix } from "@axoneme/base";
import { closeFd, Netlink, Netns, openNetns } from "@axoneme/netlink";
import type { Datapath } from "./datapath.ts";
import { hostMac } from "./packet.ts";
import { type Family, families, v4 } from "./scene.ts";

/** A native device that can be routed through: in a namespace of its own, with neighbours that need no asking. */

export const XdpVerdict = { DROP: 1, PASS: 2, TX: 3, REDIRECT: 4 } as const;

/** The MACs on the wire. */
export const macs = { node: hostMac, otherNode: "02:00:00:00:00:12", gateway: "02:00:00:00:00:99" } as const;

/** struct xdp_md. */
const CONTEXT_BYTES = 24;

const sysctls = {
  "net.ipv4.ip_forward": 1,
  "net.ipv6.conf.all.forwarding": 1,
  "net.ipv6.conf.default.accept_dad": 0,
  "net.ipv6.conf.all.accept_dad": 0,
};

/** The router on the way to the world. */
export function gatewayOf(f: Family): string {
  return f === v4 ? "172.30.0.1" : "fd00:172:30::1";
}

export class Wire {
  readonly ifindex: number;
  readonly mtu: number;
  readonly #netnsFd: number;
  readonly #path: string;

  private constructor(path: string, netnsFd: number, ifindex: number, mtu: number) {
    this.#path = path;
    this.#netnsFd = netnsFd;
    this.ifindex = ifindex;
    this.mtu = mtu;
  }

  /** The node's device, routes to the pod c by the other node, and to the world by a gateway. */
  static async create(mtu = 1500): Promise<Wire> {
    const path = join("/run", `axwire-${process.pid}`, "node");
    mkdirSync(join(path, ".."), { recursive: true });
    await Netns.create(path, { sysctls });
    const netlink = Netlink.open({ netnsPath: path });
    try {
      const mac = parseMac(macs.node);
      await netlink.linkAdd({ kind: "veth", name: "eth0", mac, mtu, up: true, peer: { name: "end", mtu } });
      await netlink.linkSet({ index: (await netlink.linkGet("end")).index, up: true });
      const { index } = await netlink.linkGet("eth0");
      for (const f of families) await connect(netlink, index, f);
      return new Wire(path, openNetns(path), index, mtu);
    } finally {
      netlink.close();
    }
  }

  /** Path of its namespace. */
  get netns(): string {
    return this.#path;
  }

  get netnsFd(): number {
    return this.#netnsFd;
  }

  /** As a frame that arrives at the device, before and after it is an skb. */
  xdp(dp: Datapath, data: Uint8Array, repeat = 1): { verdict: number; out: Uint8Array; ns: number } {
    const ctx = new Uint8Array(CONTEXT_BYTES);
    const view = new DataView(ctx.buffer);
    view.setUint32(4, data.length, true);
    view.setUint32(12, this.ifindex, true);
    const { retval, dataOut, durationNs } = dp.object
      .program("xdp_lb")
      .testRun({ data, ctx, repeat, netnsFd: this.#netnsFd });
    return { verdict: retval, out: dataOut, ns: durationNs };
  }

  tc(
    dp: Datapath,
    program: string,
    data: Uint8Array,
    repeat = 1,
  ): { verdict: number; out: Uint8Array; ns: number } {
    const ctx = new Uint8Array(192);
    new DataView(ctx.buffer).setUint32(40, this.ifindex, true);
    const { retval, dataOut, durationNs } = dp.object
      .program(program)
      .testRun({ data, ctx, repeat, netnsFd: this.#netnsFd });
    return { verdict: retval, out: dataOut, ns: durationNs };
  }

  /** Rows that make the other node's or the gateway's neighbour unknown, and known again. */
  async forget(ip: string): Promise<void> {
    await this.#change((netlink) => netlink.neighDel({ index: this.ifindex, ip: parseIp(ip) }));
  }

  async learn(ip: string, mac: string): Promise<void> {
    await this.#change((netlink) =>
      netlink.neighReplace({ index: this.ifindex, ip: parseIp(ip), mac: parseMac(mac) }),
    );
  }

  async #change(use: (netlink: Netlink) => Promise<void>): Promise<void> {
    const netlink = Netlink.open({ netnsPath: this.#path });
    try {
      await use(netlink);
    } finally {
      netlink.close();
    }
  }

  async remove(): Promise<void> {
    closeFd(this.#netnsFd);
    await Netns.delete(this.#path);
    rmSync(join(this.#path, ".."), { recursive: true, force: true });
  }
}

async function connect(netlink: Netlink, index: number, f: Family): Promise<void> {
  const bits = f === v4 ? 32 : 128;
  const net = f === v4 ? 24 : 64;
  const whole = f === v4 ? 96 + net : net;
  await netlink.addrAdd({ index, prefix: { ip: parseIp(f.node), length: whole }, noDad: true });
  const neighbours = [
    [f.otherNode, macs.otherNode],
    [gatewayOf(f), macs.gateway],
  ] as const;
  for (const [ip, mac] of neighbours) {
    await netlink.neighReplace({ index, ip: parseIp(ip), mac: parseMac(mac) });
  }
  await netlink.routeAdd({ dst: parsePrefix(`${f.c}/${bits}`), gateway: parseIp(f.otherNode), oif: index });
  await netlink.routeAdd({ gateway: parseIp(gatewayOf(f)), oif: index, family: f === v4 ? 4 : 6 });
}

/** What comes from the gateway. */
export const fromGateway = { smac: macs.gateway, dmac: macs.node } as const;
export const fromOtherNode = { smac: macs.otherNode, dmac: macs.node } as const;

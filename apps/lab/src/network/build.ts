import { closeSync, mkdirSync } from "node:fs";
import { parseIp } from "@axoneme/base";
import { isErrno, Netlink, Netns, openNetns, setOffloads, sysctlSetAll } from "@axoneme/netlink";
import type { LabPaths } from "../lab/paths.ts";
import { isNetnsMount } from "./mounts.ts";
import type { InterfaceAddress, NetworkPlan, NodePlan } from "./plan.ts";

/** What a forwarding namespace needs; a lab has no other machine that duplicate addresses could clash with. */
const forwarding = {
  "net.ipv4.ip_forward": 1,
  "net.ipv4.conf.all.rp_filter": 0,
  "net.ipv4.conf.default.rp_filter": 0,
  "net.ipv4.conf.all.send_redirects": 0,
  "net.ipv4.conf.default.send_redirects": 0,
  "net.ipv6.conf.all.forwarding": 1,
  "net.ipv6.conf.default.forwarding": 1,
  "net.ipv6.conf.all.accept_dad": 0,
  "net.ipv6.conf.default.accept_dad": 0,
  "net.ipv6.conf.all.accept_ra": 0,
  "net.ipv6.conf.default.accept_ra": 0,
} as const;

/** The name of the namespace that stands for the physical network. */
export const wireNamespace = "net";

/** The link whose addresses are "the world" for the nodes. */
const worldLink = "world0";

/**
 * Makes the lab's namespaces, the bridge, the world behind it and a link for each node. What is there already
 * stays: the function may run again over a half-finished or complete network. With `xdp` the nodes' links behave as
 * wires do for XDP: what a node sends from there is taken, and what it gets has its checksum.
 */
export async function buildNetwork(paths: LabPaths, plan: NetworkPlan, xdp: boolean): Promise<void> {
  mkdirSync(paths.netnsDir, { recursive: true });
  await ensureNamespace(paths.netns(wireNamespace));
  const wire = Netlink.open({ netnsPath: paths.netns(wireNamespace) });
  try {
    const bridge = await ensureLink(wire, "br0", () =>
      wire.linkAdd({ kind: "bridge", name: "br0", up: true }),
    );
    await ensureAddresses(wire, bridge, plan.bridge);
    const world = await ensureLink(wire, worldLink, () => addWorld(wire));
    await wire.linkSet({ index: world, up: true });
    await ensureAddresses(wire, world, plan.world);
    for (const node of plan.nodes) {
      await ensureNode(wire, bridge, paths, plan, node);
      setOffloads(paths.netns(wireNamespace), node.port, { gro: xdp, txChecksum: !xdp });
    }
  } finally {
    wire.close();
  }
}

/** A link that leads nowhere and carries the world's addresses. A veth, because not every kernel has dummies. */
async function addWorld(wire: Netlink): Promise<void> {
  const peer = `${worldLink}-end`;
  await wire.linkAdd({ kind: "veth", name: worldLink, peer: { name: peer } });
  const { index } = await wire.linkGet(peer);
  await wire.linkSet({ index, up: true });
}

async function ensureNamespace(path: string): Promise<void> {
  if (isNetnsMount(path)) {
    await sysctlSetAll(path, forwarding);
    return;
  }
  // A file without a namespace on it is what a crash between the two steps leaves.
  await removeNamespace(path);
  await Netns.create(path, { sysctls: forwarding });
}

/** Unmounts and removes a namespace's file; one that is not there is no error. */
export async function removeNamespace(path: string): Promise<void> {
  try {
    await Netns.delete(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

async function ensureLink(netlink: Netlink, name: string, create: () => Promise<void>): Promise<number> {
  try {
    await create();
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  return (await netlink.linkGet(name)).index;
}

async function ensureAddresses(
  netlink: Netlink,
  index: number,
  addresses: readonly InterfaceAddress[],
): Promise<void> {
  for (const { prefix } of addresses) await netlink.addrReplace({ index, prefix, noDad: true });
}

async function ensureNode(
  wire: Netlink,
  bridge: number,
  paths: LabPaths,
  plan: NetworkPlan,
  node: NodePlan,
): Promise<void> {
  const path = paths.netns(node.name);
  await ensureNamespace(path);
  const fd = openNetns(path);
  const inside = Netlink.open({ netnsPath: path });
  try {
    const port = await ensureLink(wire, node.port, () =>
      wire.linkAdd({ kind: "veth", name: node.port, peer: { name: "eth0", netnsFd: fd } }),
    );
    await wire.linkSet({ index: port, master: bridge, up: true });
    const { index } = await inside.linkGet("eth0");
    await inside.linkSet({ index, up: true });
    await ensureAddresses(inside, index, node.addresses);
    for (const [i, gateway] of plan.gateways.entries()) {
      await inside.routeReplace({ gateway: parseIp(gateway), oif: index, family: i === 0 ? 4 : 6 });
    }
  } finally {
    inside.close();
    closeSync(fd);
  }
}

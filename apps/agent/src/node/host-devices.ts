import { hostPrefix, type Ip } from "@axoneme/base";
import { isErrno, type Link, type LinkSpec, type Netlink, sysctlSetAll } from "@axoneme/netlink";

/** The device that carries the node's own address among the pods: a veth pair, since every kernel has veth. */
export const hostDeviceName = "axon_host";
const hostDevicePeer = "axon_net";
/** The VXLAN device in tunnel mode. */
export const tunnelDeviceName = "axon_vxlan";
/** Bytes VXLAN adds (outer Ethernet, IP, UDP, VXLAN): the outer IP is IPv4 where the node has it. */
export function tunnelOverhead(overIPv4: boolean): number {
  return overIPv4 ? 50 : 70;
}

/** What a node that forwards for pods needs of the kernel. Reverse path filters would drop what eBPF redirects. */
const nodeSysctls = {
  "net.ipv4.ip_forward": 1,
  "net.ipv6.conf.all.forwarding": 1,
  "net.ipv4.conf.all.rp_filter": 0,
  "net.ipv4.conf.default.rp_filter": 0,
};

/** Sets the kernel up for forwarding. */
export async function prepareKernel(): Promise<void> {
  await sysctlSetAll(undefined, nodeSysctls);
}

/** Makes sure the device with the gateway addresses is there, and has these: the node's and the DNS proxy's. */
export async function ensureHostDevice(netlink: Netlink, gateways: readonly Ip[]): Promise<Link> {
  const link = await ensureLink(netlink, {
    kind: "veth",
    name: hostDeviceName,
    peer: { name: hostDevicePeer },
  });
  await netlink.linkSet({ index: (await netlink.linkGet(hostDevicePeer)).index, up: true });
  await netlink.linkSet({ index: link.index, up: true });
  const wanted = gateways.map(hostPrefix);
  await netlink.batch((batch) => {
    for (const prefix of wanted) void batch.addrReplace({ index: link.index, prefix, noDad: true });
  });
  return link;
}

/** Makes sure the VXLAN device is there: keys come with each packet, so one device serves all nodes. */
export async function ensureTunnelDevice(netlink: Netlink, port: number, mtu: number): Promise<Link> {
  const link = await ensureLink(netlink, {
    kind: "vxlan",
    name: tunnelDeviceName,
    port,
    external: true,
    learning: false,
    mtu,
  });
  await netlink.linkSet({ index: link.index, up: true, mtu });
  return link;
}

/** Removes the devices; removing what is not there is fine. */
export async function removeDevice(netlink: Netlink, name: string): Promise<void> {
  try {
    await netlink.linkDel(name);
  } catch (error) {
    if (!isErrno(error, "ENODEV")) throw error;
  }
}

async function ensureLink(netlink: Netlink, spec: LinkSpec): Promise<Link> {
  try {
    await netlink.linkAdd(spec);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  return netlink.linkGet(spec.name);
}

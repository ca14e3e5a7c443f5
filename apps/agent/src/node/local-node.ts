import { AxonError, type Ip, isV4, isV4Prefix, type Prefix, prefixContains } from "@axoneme/base";
import { type Address, type Link, type Netlink, Scope } from "@axoneme/netlink";

/** The node's device to the outside, and its addresses. */
export interface NativeDevice {
  readonly name: string;
  readonly index: number;
  readonly mtu: number;
  readonly mac: Uint8Array;
  /** First global address of each family: the node's address and the source of masqueraded traffic. */
  readonly v4: Ip | undefined;
  readonly v6: Ip | undefined;
  /** On-link prefixes: other nodes in them are next hops. */
  readonly prefixes: readonly Prefix[];
}

/**
 * Finds the native device: the one named, or the one with the default route.
 * @throws AxonError `node.device` when there is none, or it has no usable address.
 */
export async function findDevice(netlink: Netlink, name: string): Promise<NativeDevice> {
  const link = name === "" ? await linkOfDefaultRoute(netlink) : await netlink.linkGet(name);
  const addresses = (await netlink.addrList({ index: link.index })).filter(isUsable);
  const first = (v4: boolean) => addresses.find(({ prefix }) => isV4(prefix.ip) === v4)?.prefix.ip;
  const device: NativeDevice = {
    name: link.name,
    index: link.index,
    mtu: link.mtu,
    mac: link.mac,
    v4: first(true),
    v6: first(false),
    prefixes: addresses.map(({ prefix }) => prefix),
  };
  if (!device.v4 && !device.v6) {
    throw new AxonError(
      "node.device",
      `the native device ${link.name} has no global address: give it one, or name another with "device"`,
    );
  }
  return device;
}

/** Whether another node's address can be a next hop on the device. */
export function isOnLink(device: NativeDevice, ip: Ip): boolean {
  return device.prefixes.some((prefix) => prefixContains(prefix, ip));
}

/** The node's address to use towards a prefix of a family. */
export function addressFor(addresses: readonly Ip[], prefix: Prefix): Ip | undefined {
  const v4 = isV4Prefix(prefix);
  return addresses.find((ip) => isV4(ip) === v4);
}

/** The addresses of a device, IPv4 first. */
export function addressesOf(device: NativeDevice): Ip[] {
  return [device.v4, device.v6].filter((ip) => ip !== undefined);
}

async function linkOfDefaultRoute(netlink: Netlink): Promise<Link> {
  const routes = await netlink.routeList();
  const route = routes.find(
    (r) => (r.dst.length === 0 || (isV4Prefix(r.dst) && r.dst.length === 96)) && r.oif !== undefined,
  );
  if (route?.oif === undefined) {
    throw new AxonError(
      "node.device",
      'this node has no default route to tell its native device by: name it with "device"',
    );
  }
  return netlink.linkGet(route.oif);
}

function isUsable(address: Address): boolean {
  return address.scope === Scope.universe && !address.tentative;
}

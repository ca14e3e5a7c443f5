import { parseMac } from "@axoneme/base";
import { Netlink } from "@axoneme/netlink";
import { hostMac } from "./packet.ts";

/** Devices a test run may name as the packet's: veth ends, down, in the test's own namespace. */
export interface Devices {
  /** Host sides of pods a, b. */
  a: number;
  b: number;
  native: number;
  tunnel: number;
  remove(): Promise<void>;
}

const ENODEV = 19;
const ROLES = ["a", "b", "native", "tunnel"] as const;

/** `tag`: unique among test files, a few letters. */
export async function makeDevices(tag: string): Promise<Devices> {
  const netlink = Netlink.open({});
  const names = ROLES.map((role) => `axdp${tag}-${role.slice(0, 3)}`);
  const pairs = [names.slice(0, 2), names.slice(2)] as [string, string][];
  const mac = parseMac(hostMac);
  for (const [name, peer] of pairs) {
    await netlink.linkDel(name).catch((error: { errno?: number }) => {
      if (error.errno !== ENODEV) throw error;
    });
    await netlink.linkAdd({ kind: "veth", name, mac, peer: { name: peer, mac } });
  }
  const links = await Promise.all(names.map((name) => netlink.linkGet(name)));
  const [a = 0, b = 0, native = 0, tunnel = 0] = links.map((link) => link.index);
  const remove = async () => {
    for (const [name] of pairs) await netlink.linkDel(name);
    netlink.close();
  };
  return { a, b, native, tunnel, remove };
}

import { existsSync } from "node:fs";
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

const PREFIX = "axt";

/** Removes what test runs that were killed have left. */
async function sweep(netlink: Netlink): Promise<void> {
  for (const { name } of await netlink.linkList()) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 36) : 0;
    if (pid === 0 || existsSync(`/proc/${pid}`)) continue;
    await netlink.linkDel(name).catch((error: { errno?: number }) => {
      if (error.errno !== ENODEV) throw error;
    });
  }
}

export async function makeDevices(): Promise<Devices> {
  const netlink = Netlink.open({});
  await sweep(netlink);
  const names = ROLES.map((role) => `${PREFIX}${process.pid.toString(36)}-${role.slice(0, 3)}`);
  const pairs = [names.slice(0, 2), names.slice(2)] as [string, string][];
  const mac = parseMac(hostMac);
  for (const [name, peer] of pairs) {
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

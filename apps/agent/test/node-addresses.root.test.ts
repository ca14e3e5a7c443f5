import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIp, parseInterfaceAddress, parseIp, parsePrefix, waitFor } from "@axoneme/base";
import { Netlink, Netns, Scope } from "@axoneme/netlink";
import { afterEach, beforeEach, expect, it } from "vitest";
import { hostAddresses, NodeAddresses } from "../src/node/addresses.ts";
import { quiet } from "./logger.ts";

const netns = join(tmpdir(), `axon-addrs-${process.pid}`);
let netlink: Netlink;

beforeEach(async () => {
  await Netns.create(netns);
  netlink = Netlink.open({ netnsPath: netns });
});
afterEach(async () => {
  netlink.close();
  await Netns.delete(netns);
  rmSync(netns, { force: true });
});

async function device(name: string, ...addresses: string[]): Promise<number> {
  await netlink.linkAdd({ kind: "veth", name, peer: { name: `${name}p` } });
  const { index } = await netlink.linkGet(name);
  await netlink.linkSet({ index, up: true });
  for (const text of addresses)
    await netlink.addrAdd({ index, prefix: parseInterfaceAddress(text), noDad: true });
  return index;
}

const texts = (addresses: NodeAddresses) =>
  addresses.current.map(({ ip, serves }) => `${formatIp(ip)}${serves ? "" : " (no)"}`);

it("knows the node's addresses and follows them; loopback, link-local and IPVS ones are not the node's", async () => {
  const eth0 = await device("eth0", "172.30.0.11/24", "fd00:172:30::11/64");
  await device("kube-ipvs0", "10.96.0.10/32");
  const lo = (await netlink.linkGet("lo")).index;
  await netlink.linkSet({ index: lo, up: true });
  const addresses = new NodeAddresses(
    netlink,
    [parsePrefix("172.30.0.0/16"), parsePrefix("fd00::/8")],
    quiet,
  );
  const told: number[] = [];
  addresses.onChange = (all) => void told.push(all.length);
  await addresses.start();
  try {
    expect(texts(addresses)).toEqual(["172.30.0.11", "fd00:172:30::11"]);
    await netlink.addrAdd({ index: eth0, prefix: parseInterfaceAddress("192.0.2.9/32") });
    await netlink.addrAdd({ index: lo, prefix: parseInterfaceAddress("172.30.9.9/32") });
    await waitFor(() => texts(addresses).length === 4, { timeoutMs: 5000, what: "the new addresses" });
    expect(texts(addresses)).toEqual(["172.30.0.11", "172.30.9.9", "192.0.2.9 (no)", "fd00:172:30::11"]);
    expect(addresses.serves(parseIp("172.30.9.9"))).toBe(true);
    expect(addresses.serves(parseIp("192.0.2.9"))).toBe(false);
    await netlink.addrDel({ index: eth0, prefix: parseInterfaceAddress("172.30.0.11/24") });
    await waitFor(() => texts(addresses).length === 3, { timeoutMs: 5000, what: "the address to go" });
    expect(told.every((count, i) => count !== told[i - 1])).toBe(true);
  } finally {
    addresses.stop();
  }
});

it("an address counts once its duplicate check is over", () => {
  const of = (tentative: boolean) => ({
    prefix: parsePrefix("2001:db8::1/128"),
    scope: Scope.universe,
    tentative,
  });
  expect(hostAddresses([of(true)], [])).toEqual([]);
  expect(hostAddresses([of(false), of(false)], [])).toHaveLength(1);
});

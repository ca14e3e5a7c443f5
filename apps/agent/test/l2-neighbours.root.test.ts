import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatMac, ipAdd, ipEqual, parseIp, parseMac, waitFor } from "@axoneme/base";
import { NeighState, Netlink, Netns, openNetns } from "@axoneme/netlink";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tellNeighbours } from "../src/lb/l2-neighbours.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-l2-"));
const paths = { node: join(dir, "node"), peer: join(dir, "peer") };
let node: Netlink;
let peer: Netlink;

beforeAll(async () => {
  await Promise.all([Netns.create(paths.node), Netns.create(paths.peer)]);
  node = Netlink.open({ netnsPath: paths.node });
  peer = Netlink.open({ netnsPath: paths.peer });
  await node.linkAdd({
    ...{ kind: "veth", name: "eth0", up: true },
    peer: { name: "p0", netnsFd: openNetns(paths.peer) },
  });
  await peer.linkSet({ index: (await peer.linkGet("p0")).index, up: true });
  await waitFor(async () => (await node.linkGet("eth0")).lowerUp, { what: "the veth pair to be up" });
});

afterAll(async () => {
  node.close();
  peer.close();
  await Promise.all([Netns.delete(paths.node), Netns.delete(paths.peer)]);
  rmSync(dir, { recursive: true });
});

test("a fail-over of three hundred addresses moves them at the neighbour, although another device is gone", async () => {
  const device = await node.linkGet("eth0");
  const far = (await peer.linkGet("p0")).index;
  const addresses = Array.from({ length: 300 }, (_, i) => ipAdd(parseIp("192.0.2.0"), BigInt(i)));
  const before = parseMac("02:00:00:00:00:01");
  for (const ip of addresses)
    await peer.neighReplace({ index: far, ip, mac: before, state: NeighState.stale });
  const entries = addresses.map((address) => ({ address, ifindex: device.index, mac: device.mac }));
  const gone = { address: parseIp("192.0.2.1"), ifindex: 9999, mac: device.mac };
  expect(() => tellNeighbours(paths.node, [gone, ...entries])).toThrow("device 9999");
  const isMoved = async (): Promise<boolean> => {
    const neighbours = await peer.neighList({ index: far });
    return addresses.every((ip) => {
      const mac = neighbours.find((neighbour) => ipEqual(neighbour.ip, ip))?.mac;
      return mac !== undefined && formatMac(mac) === formatMac(device.mac);
    });
  };
  await waitFor(isMoved, { what: "all addresses to be at the node's device", timeoutMs: 10_000 });
});

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIp } from "@axoneme/base";
import { launch, Netlink, Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SolicitedGroups } from "../src/lb/l2-groups.ts";
import { quiet } from "./logger.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-groups-"));
const netns = join(dir, "node");
let netlink: Netlink;
let ifindex: number;

beforeAll(async () => {
  await Netns.create(netns);
  netlink = Netlink.open({ netnsPath: netns });
  await netlink.linkAdd({ kind: "veth", name: "eth0", up: true, peer: { name: "peer0" } });
  ifindex = (await netlink.linkGet("eth0")).index;
});
afterAll(async () => {
  netlink.close();
  await Netns.delete(netns);
  rmSync(dir, { recursive: true });
});

/** What the device lets through, as the kernel tells: multicast MAC addresses. */
function filters(): string[] {
  const { file, args } = launch({ netns }, ["cat", "/proc/net/dev_mcast"]);
  const lines = execFileSync(file, args, { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => (line.includes("eth0") ? [line.trim().split(/\s+/).at(-1) ?? ""] : []));
}

const at = (...addresses: string[]) => addresses.map((ip) => ({ address: parseIp(ip), ifindex }));
const asked = "3333ff00abcd";

test("the device lets questions for an announced IPv6 address through, as long as one needs it", async () => {
  const groups = new SolicitedGroups(netlink, quiet);
  expect(filters()).not.toContain(asked);
  groups.join(at("2001:db8::abcd", "2001:db8:1::abcd", "192.0.2.1"));
  await groups.settled();
  expect(filters()).toContain(asked);
  groups.leave(at("2001:db8::abcd"));
  await groups.settled();
  expect(filters()).toContain(asked);
  groups.leave(at("2001:db8:1::abcd", "192.0.2.1"));
  await groups.settled();
  expect(filters()).not.toContain(asked);
});

test("it outlives the agent, and the next one ends it", async () => {
  new SolicitedGroups(netlink, quiet).join(at("2001:db8::abcd"));
  const next = new SolicitedGroups(netlink, quiet);
  next.join(at("2001:db8::abcd"));
  await next.settled();
  expect(filters()).toContain(asked);
  next.leave(at("2001:db8::abcd"));
  await next.settled();
  expect(filters()).not.toContain(asked);
});

test("a device that is gone holds nothing up", async () => {
  const groups = new SolicitedGroups(netlink, quiet);
  const gone = { address: parseIp("2001:db8::abcd"), ifindex: 9999 };
  groups.join([gone, ...at("2001:db8::abcd")]);
  await groups.settled();
  expect(filters()).toContain(asked);
  groups.leave([gone, ...at("2001:db8::abcd")]);
  await groups.settled();
  expect(filters()).not.toContain(asked);
});

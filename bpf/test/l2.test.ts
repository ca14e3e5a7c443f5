import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DropReason, decodeL2, encodeL2, encodeL2Key, l2KeySize, l2Size } from "@axoneme/abi";
import { formatIp, formatMac, type Ip, parseIp, parseMac, waitFor } from "@axoneme/base";
import { Link } from "@axoneme/bpf";
import { closeFd, launch, NeighState, Netlink, Netns, openNetns } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { read16, u8 } from "./bytes.ts";
import { Datapath, decoded, encoded, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { arp, echo, hostMac, icmp, podMac, solicit, Tcp, tcp, udp } from "./packet.ts";
import { families, peopled, v4, v6 } from "./scene.ts";

/** Addresses of Services that the node announces on its link, and sources it denies without XDP. */
const announced = { v4: "172.30.0.200", v6: "fd00:172:30::200" } as const;
/** Of the device, as an announcement has it. */
const mac = hostMac;

let dp: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("node");
});
afterAll(async () => {
  dp.close();
  await dev.remove();
});
beforeEach(() => {
  dp.reset();
  peopled(dp, dev);
});

function announce(to: Datapath, ifindex: number, ip: string): void {
  const row = { answered: 0n, mac: parseMac(mac) };
  to.map("ax_l2").put(
    encoded(l2KeySize, encodeL2Key, { addr: mapped(ip), ifindex }),
    encoded(l2Size, encodeL2, row),
  );
}

function answered(from: Datapath, ifindex: number, ip: string): bigint | undefined {
  const row = from.map("ax_l2").get(encoded(l2KeySize, encodeL2Key, { addr: mapped(ip), ifindex }));
  return row && decoded(decodeL2, row).answered;
}

const arrive = (data: Uint8Array) => dp.run("node_from", data, { ifindex: dev.native });

function expectUntouched(data: Uint8Array): void {
  const { verdict, out } = arrive(data);
  expect(verdict).toBe(Verdict.PASS);
  expect(out).toEqual(data);
}

describe("ARP", () => {
  beforeEach(() => announce(dp, dev.native, announced.v4));

  test("who asks for an announced address is told its MAC, and counted", () => {
    for (const sip of [v4.otherNode, "0.0.0.0"]) {
      const { verdict, out } = arrive(arp({ op: 1, sip, tip: announced.v4 }));
      expect(verdict).toBe(Verdict.REDIRECT);
      expect([out.subarray(0, 6), out.subarray(6, 12)].map(formatMac)).toEqual([podMac, mac]);
      expect(read16(out, 20)).toBe(2);
      expect(formatMac(out.subarray(22, 28))).toBe(mac);
      expect(Array.from(out.subarray(28, 32))).toEqual(Array.from(mapped(announced.v4).subarray(12)));
      expect(formatMac(out.subarray(32, 38))).toBe(podMac);
      expect(Array.from(out.subarray(38, 42))).toEqual(Array.from(mapped(sip).subarray(12)));
    }
    expect(answered(dp, dev.native, announced.v4)).toBe(2n);
  });

  test.each([
    ["another address", arp({ op: 1, sip: v4.otherNode, tip: "172.30.0.201" })],
    ["a reply", arp({ op: 2, sip: v4.otherNode, tip: announced.v4 })],
    ["an announcement by another node", arp({ op: 1, sip: announced.v4, tip: announced.v4 })],
    ["a frame cut short", arp({ op: 1, sip: v4.otherNode, tip: announced.v4 }).subarray(0, 40)],
  ])("%s is the stack's", (_, data) => {
    expectUntouched(data);
    expect(answered(dp, dev.native, announced.v4)).toBe(0n);
  });

  test("on another link the address is not announced", () => {
    const { verdict } = dp.run("node_from", arp({ op: 1, sip: v4.otherNode, tip: announced.v4 }), {
      ifindex: dev.tunnel,
    });
    expect(verdict).toBe(Verdict.PASS);
  });
});

describe("neighbour discovery", () => {
  beforeEach(() => announce(dp, dev.native, announced.v6));

  test.each([
    ["to the group", undefined],
    ["to the address itself", announced.v6],
  ])("a solicitation %s is answered to who asked", (_, dst) => {
    const { verdict, out } = arrive(
      solicit({ src: v6.otherNode, target: announced.v6, ...(dst ? { dst, dmac: mac } : {}) }),
    );
    expect(verdict).toBe(Verdict.REDIRECT);
    const seen = dissect(out);
    expect(seen).toMatchObject({ src: announced.v6, dst: v6.otherNode, smac: mac, dmac: podMac, ttl: 255 });
    expect(seen).toMatchObject({ type: 136, code: 0, wrong: [] });
    expect(seen.body).toHaveLength(32);
    expect(seen.body[4]).toBe(0x60);
    expect(formatIp(Uint8Array.from(seen.body.subarray(8, 24)) as Ip)).toBe(announced.v6);
    expect(Array.from(seen.body.subarray(24, 26))).toEqual([2, 1]);
    expect(formatMac(seen.body.subarray(26, 32))).toBe(mac);
    expect(answered(dp, dev.native, announced.v6)).toBe(1n);
  });

  test("who is about to take the address hears with all others that it is taken", () => {
    const { verdict, out } = arrive(
      icmp({ src: "::", dst: "ff02::1:ff00:200", ttl: 255, type: 135, payload: mapped(announced.v6) }),
    );
    expect(verdict).toBe(Verdict.REDIRECT);
    const seen = dissect(out);
    expect(seen).toMatchObject({
      src: announced.v6,
      dst: "ff02::1",
      dmac: "33:33:00:00:00:01",
      ttl: 255,
      wrong: [],
    });
    expect(seen.body[4]).toBe(0x20);
  });

  test.each([
    ["another address", solicit({ src: v6.otherNode, target: "fd00:172:30::201" })],
    ["one that a router has forwarded", solicit({ src: v6.otherNode, target: announced.v6, hops: 254 })],
    [
      "an advertisement",
      icmp({ src: v6.otherNode, dst: "ff02::1", ttl: 255, type: 136, payload: mapped(announced.v6) }),
    ],
    [
      "one without its target",
      icmp({ src: v6.otherNode, dst: announced.v6, ttl: 255, type: 135, payload: u8(1, 2, 3) }),
    ],
  ])("%s is the stack's", (_, data) => {
    expectUntouched(data);
    expect(answered(dp, dev.native, announced.v6)).toBe(0n);
  });
});

describe.each(families)("without XDP the tc program denies sources, $name", (f) => {
  const packets = [
    tcp({ src: f.world, dst: f.a, sport: 1, dport: 80, flags: Tcp.SYN }),
    udp({ src: f.world, dst: f.a, sport: 1, dport: 2, fragOffset: 16 }),
    echo({ src: f.world, dst: f.node, id: 1 }),
  ];

  test("all of their packets are dropped and counted; with XDP they never come", () => {
    dp.deny(f === v4 ? "192.0.2.0/24" : "2001:db8::/32");
    for (const data of packets) expect(arrive(data).verdict).toBe(Verdict.DROP);
    expect(dp.counted(DropReason.POLICY_DENY, 0)).toBe(BigInt(packets.length));
    dp.configure({ flags: dp.config.flags | 256 });
    for (const data of packets) arrive(data);
    expect(dp.counted(DropReason.POLICY_DENY, 0)).toBe(BigInt(packets.length));
  });
});

describe("live", () => {
  const run = join("/run", `axl2-${process.pid}`);
  const [node, client] = [join(run, "node"), join(run, "client")];
  const quiet = { "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0 };
  let ifindex = 0;
  let asker: Netlink;
  let askerIfindex = 0;
  let link: Link;

  beforeAll(async () => {
    mkdirSync(run, { recursive: true });
    for (const path of [node, client]) await Netns.create(path, { sysctls: quiet });
    asker = Netlink.open({ netnsPath: client });
    const inside = Netlink.open({ netnsPath: node });
    const fd = openNetns(node);
    try {
      await asker.linkAdd({ kind: "veth", name: "eth0", up: true, peer: { name: "eth0", netnsFd: fd } });
      askerIfindex = (await asker.linkGet("eth0")).index;
      ifindex = (await inside.linkGet("eth0")).index;
      await inside.linkSet({ index: ifindex, up: true });
      for (const [netlink, index, last] of [
        [inside, ifindex, "11"],
        [asker, askerIfindex, "50"],
      ] as const) {
        await netlink.addrAdd({
          index,
          prefix: { ip: parseIp(`172.30.0.${last}`), length: 96 + 24 },
          noDad: true,
        });
        await netlink.addrAdd({
          index,
          prefix: { ip: parseIp(`fd00:172:30::${last}`), length: 64 },
          noDad: true,
        });
      }
      link = Link.attachTcx(dp.object.program("node_from"), { ifindex, netnsFd: fd, direction: "ingress" });
    } finally {
      closeFd(fd);
      inside.close();
    }
  });
  afterAll(async () => {
    link.close();
    asker.close();
    for (const path of [node, client]) await Netns.delete(path);
    rmSync(run, { recursive: true, force: true });
  });

  test.each([announced.v4, announced.v6])("another machine's kernel resolves %s", async (ip) => {
    announce(dp, ifindex, ip);
    const { file, args } = launch({ netns: client }, ["ping", "-c1", "-W1", ip]);
    spawnSync(file, args);
    await waitFor(
      async () => {
        const found = (await asker.neighList({ index: askerIfindex })).find((n) => formatIp(n.ip) === ip);
        return (
          found?.state === NeighState.reachable && found.mac !== undefined && formatMac(found.mac) === mac
        );
      },
      { what: `${ip} to be reachable` },
    );
    expect(answered(dp, ifindex, ip)).toBeGreaterThan(0n);
  });

  test("an address nobody announces is not resolved", async () => {
    const { file, args } = launch({ netns: client }, ["ping", "-c1", "-W1", "172.30.0.201"]);
    spawnSync(file, args);
    const found = (await asker.neighList({ index: askerIfindex })).find(
      (n) => formatIp(n.ip) === "172.30.0.201",
    );
    expect(found?.mac).toBeUndefined();
  });

  test("a machine that wants to take the address finds it taken", async () => {
    announce(dp, ifindex, announced.v6);
    const index = askerIfindex;
    const { file, args } = launch({ netns: client }, ["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1"]);
    spawnSync(file, args);
    const prefix = { ip: parseIp(announced.v6), length: 64 };
    await asker.addrAdd({ index, prefix });
    await waitFor(
      async () => {
        const found = (await asker.addrList({ index })).find((a) => formatIp(a.prefix.ip) === announced.v6);
        return found !== undefined && (found.flags & DADFAILED) !== 0;
      },
      { what: "the duplicate to be found" },
    );
    await asker.addrDel({ index, prefix });
  });
});

/** IFA_F_DADFAILED */
const DADFAILED = 8;

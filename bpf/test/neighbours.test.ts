import { DropReason } from "@axoneme/abi";
import { formatIp, formatMac, type Ip } from "@axoneme/base";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { read16, u8 } from "./bytes.ts";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { arp, ethernet, hostMac, icmp, other, podMac, solicit, udp } from "./packet.ts";
import { guarded, peopled, v4, v6 } from "./scene.ts";

let dp: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("pod");
});
afterAll(async () => {
  dp.close();
  await dev.remove();
});
beforeEach(() => {
  dp.reset();
  peopled(dp, dev);
});

const send = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.a });
const silent = () => dp.events().length === 0;

describe("ARP", () => {
  test.each([v4.b, v4.world, "169.254.1.1"])(
    "a pod that asks for %s is answered with the host side's MAC",
    (tip) => {
      const { verdict, out } = send(arp({ op: 1, sip: v4.a, tip }));
      expect(verdict).toBe(Verdict.REDIRECT);
      const [dmac, smac] = [out.subarray(0, 6), out.subarray(6, 12)].map(formatMac);
      expect([dmac, smac, read16(out, 20)]).toEqual([podMac, hostMac, 2]);
      expect(formatMac(out.subarray(22, 28))).toBe(hostMac);
      expect(Array.from(out.subarray(28, 32))).toEqual(Array.from(mapped(tip).subarray(12)));
      expect(formatMac(out.subarray(32, 38))).toBe(podMac);
      expect(Array.from(out.subarray(38, 42))).toEqual(Array.from(mapped(v4.a).subarray(12)));
    },
  );

  test.each([
    ["its own address", { op: 1, sip: v4.a, tip: v4.a }],
    ["an address that is probed before use", { op: 1, sip: "0.0.0.0", tip: v4.a }],
    ["an address, in another pod's name", { op: 1, sip: v4.b, tip: v4.world }],
  ] as const)("who asks for %s gets no answer", (_, request) => {
    expect(send(arp(request)).verdict).toBe(Verdict.DROP);
    expect(silent()).toBe(true);
  });

  test("the pod's replies to the host go up", () => {
    expect(send(arp({ op: 2, sip: v4.a, tip: v4.node, tmac: hostMac })).verdict).toBe(Verdict.PASS);
  });

  test("what is not Ethernet and IPv4 is dropped", () => {
    const odd = arp({ op: 1, sip: v4.a, tip: v4.b });
    odd[15] = 6;
    expect(send(odd).verdict).toBe(Verdict.DROP);
    expect(send(arp({ op: 1, sip: v4.a, tip: v4.b }).subarray(0, 30)).verdict).toBe(Verdict.DROP);
  });

  test("the host's ARP reaches the pod", () => {
    expect(dp.run("pod_to", arp({ op: 1, sip: v4.node, tip: v4.a }), { ifindex: dev.a }).verdict).toBe(
      Verdict.PASS,
    );
  });
});

function expectAdvert(out: Uint8Array, target: string, to: string): void {
  const seen = dissect(out);
  expect(seen).toMatchObject({
    src: target,
    dst: to,
    smac: hostMac,
    dmac: podMac,
    ttl: 255,
    type: 136,
    wrong: [],
  });
  expect(seen.body).toHaveLength(32);
  expect(seen.body[4]).toBe(0x60);
  expect(formatIp(Uint8Array.from(seen.body.subarray(8, 24)) as Ip)).toBe(target);
  expect(Array.from(seen.body.subarray(24, 26))).toEqual([2, 1]);
  expect(formatMac(seen.body.subarray(26, 32))).toBe(hostMac);
}

describe("neighbour discovery", () => {
  test.each([v6.b, v6.world, "fe80::1"])(
    "a pod that solicits %s gets an advertisement of the host side",
    (target) => {
      const { verdict, out } = send(solicit({ src: v6.a, target }));
      expect(verdict).toBe(Verdict.REDIRECT);
      expectAdvert(out, target, v6.a);
    },
  );

  test("a probe from the link-local address is answered with the MAC it was sent to", () => {
    const { verdict, out } = send(solicit({ src: "fe80::1234", target: v6.b, dst: v6.b, dmac: hostMac }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expectAdvert(out, v6.b, "fe80::1234");
  });

  test("a solicitation without its option is answered in full", () => {
    const body = mapped(v6.b);
    const { verdict, out } = send(icmp({ src: v6.a, dst: v6.b, ttl: 255, type: 135, payload: body }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expectAdvert(out, v6.b, v6.a);
  });

  test.each([
    ["a duplicate address probe", solicit({ src: "::", target: v6.a })],
    ["the pod's own address", solicit({ src: v6.a, target: v6.a })],
    ["a group", solicit({ src: v6.a, target: "ff02::1" })],
    ["with a hop limit below 255", solicit({ src: v6.a, target: v6.b, hops: 254 })],
    ["in another pod's name", solicit({ src: v6.b, target: v6.world })],
    ["for routers", icmp({ src: "fe80::1", dst: "ff02::2", ttl: 255, type: 133 })],
    ["group membership", icmp({ src: "fe80::1", dst: "ff02::16", ttl: 1, type: 143 })],
  ])("%s: no answer, and no event", (_, packet) => {
    expect(send(packet).verdict).toBe(Verdict.DROP);
    expect(silent()).toBe(true);
    expect(dp.connections()).toEqual([]);
  });

  test("the pod's advertisements go up, the host's discovery reaches the pod", () => {
    const advert = icmp({ src: v6.a, dst: v6.node, ttl: 255, type: 136, payload: mapped(v6.a) });
    expect(send(advert).verdict).toBe(Verdict.PASS);
    const request = solicit({ src: v6.node, target: v6.a });
    expect(dp.run("pod_to", request, { ifindex: dev.a }).verdict).toBe(Verdict.PASS);
  });

  test("discovery is no way past the policy", () => {
    const advert = (dst: string, ttl: number) =>
      icmp({ src: v6.a, dst, ttl, type: 136, payload: mapped(v6.a) });
    for (const dst of [v6.b, v6.c, v6.world]) expect(send(advert(dst, 255)).verdict).toBe(Verdict.DROP);
    guarded(dp, dev);
    expect(send(advert(v6.b, 64)).verdict).toBe(Verdict.DROP);
    const forwarded = icmp({ src: v6.world, dst: v6.b, ttl: 254, type: 136, payload: mapped(v6.a) });
    expect(dp.run("pod_to", forwarded, { ifindex: dev.b }).verdict).toBe(Verdict.DROP);
  });
});

describe("chatter", () => {
  test.each([
    ["mDNS", udp({ src: v4.a, dst: "224.0.0.251", sport: 5353, dport: 5353 })],
    ["mDNS over IPv6", udp({ src: v6.a, dst: "ff02::fb", sport: 5353, dport: 5353 })],
    ["DHCP", udp({ src: "0.0.0.0", dst: "255.255.255.255", sport: 68, dport: 67 })],
    ["IGMP", other({ src: v4.a, dst: "224.0.0.22", options: u8(0x94, 4, 0, 0) }, 2)],
    ["LLDP", ethernet(0x88cc, new Uint8Array(46))],
  ])("%s is dropped without an event", (_, packet) => {
    expect(send(packet).verdict).toBe(Verdict.DROP);
    expect(silent()).toBe(true);
    expect(dp.counted(DropReason.UNKNOWN_L3, 1)).toBe(1n);
  });
});

import { ConfigFlags, DropReason, EventType, FlowFlags, FlowKind } from "@axoneme/abi";
import { parseMac } from "@axoneme/base";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concat, read16, sum16, u8, u16 } from "./bytes.ts";
import { Datapath, text } from "./datapath.ts";
import { dissect, mapped } from "./dissect.ts";
import { type Forwarded, forwardedOf, monotonicS, putFlow, readFlow, readReverse, serving } from "./flows.ts";
import { arp, echo, ip, Proto, pseudoHeader, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { families, v4 } from "./scene.ts";
import { fromGateway, fromOtherNode, macs, Wire, XdpVerdict } from "./wire.ts";

let dp: Datapath;
let wire: Wire;

beforeAll(async () => {
  wire = await Wire.create();
  dp = new Datapath("xdp");
});
afterAll(async () => {
  dp.close();
  await wire.remove();
});
beforeEach(() => {
  dp.reset();
  serving(dp);
});

/** Passed on, and not a byte of it changed. */
function expectPassed(packet: Uint8Array): void {
  const before = dp.counted(0, 2);
  const { verdict, out } = wire.xdp(dp, packet);
  expect(verdict).toBe(XdpVerdict.PASS);
  expect(out).toEqual(packet);
  expect(dp.counted(0, 2)).toBe(before);
}

const requestEnds = (flow: Forwarded) => ({
  ...fromGateway,
  src: flow.client,
  dst: flow.frontend,
  sport: flow.clientPort,
  dport: flow.frontendPort,
});
const replyEnds = (flow: Forwarded) => ({
  ...fromOtherNode,
  src: flow.backend,
  dst: flow.f.node,
  sport: flow.backendPort,
  dport: flow.natPort,
});

describe.each(families)("sources that are denied, $name", (f) => {
  const packet = (change: object = {}) =>
    tcp({ ...fromGateway, src: f.world, dst: f.a, sport: 5, dport: 80, flags: Tcp.SYN, ...change });
  const prefix = f === v4 ? "192.0.2.0/24" : "2001:db8::/32";

  test.each([
    ["a plain packet", packet()],
    [
      "with options",
      f === v4
        ? packet({ options: u8(1, 1, 1, 1) })
        : packet({ extensions: { next: 0, bytes: u8(6, 0, 1, 4, 0, 0, 0, 0) } }),
    ],
    ["a first fragment", packet({ moreFragments: true })],
    ["a later fragment", udp({ ...fromGateway, src: f.world, dst: f.a, sport: 1, dport: 2, fragOffset: 16 })],
    ["an echo request", echo({ ...fromGateway, src: f.world, dst: f.a, id: 3 })],
  ])("%s ends here, counted", (_, data) => {
    expect(wire.xdp(dp, data).verdict).toBe(XdpVerdict.PASS);
    dp.deny(prefix);
    expect(wire.xdp(dp, data).verdict).toBe(XdpVerdict.DROP);
    expect(dp.counted(DropReason.POLICY_DENY, 0)).toBe(1n);
  });

  test("all are counted, some are told", () => {
    dp.deny(prefix);
    wire.xdp(dp, packet(), 100_000);
    expect(dp.counted(DropReason.POLICY_DENY, 0)).toBe(100_000n);
    const events = dp.events();
    expect(events.length).toBeGreaterThan(0);
    expect(events.length).toBeLessThan(2000);
    expect(events[0]).toMatchObject({
      type: EventType.DROP,
      subtype: DropReason.POLICY_DENY,
      sport: 5,
      dport: 80,
      srcIdentity: f.worldIdentity,
      ifindex: wire.ifindex,
      len: packet().length,
    });
    expect(text(events[0]?.saddr ?? new Uint8Array(16))).toBe(f.world);
  });

  test("the longest prefix is what counts, and others pass", () => {
    dp.deny(f === v4 ? "192.0.2.0/25" : "2001:db8:1::/48");
    const outside = f === v4 ? "192.0.2.200" : "2001:db8:2::1";
    expectPassed(packet({ src: outside }));
    expect(wire.xdp(dp, packet({ src: f === v4 ? "192.0.2.99" : "2001:db8:1::99" })).verdict).toBe(
      XdpVerdict.DROP,
    );
  });
});

test.each(families)("packets of the tunnel are passed on, whatever else has its port, $name", (f) => {
  const at = { client: f.otherNode, clientPort: 50000, frontendPort: 8472, backend: f.otherNode };
  const flow = { ...forwardedOf(f, Proto.UDP), ...at };
  putFlow(dp, flow);
  expect(wire.xdp(dp, udp(requestEnds(flow))).verdict).toBe(XdpVerdict.TX);
  dp.configure({ flags: dp.config.flags | ConfigFlags.TUNNEL });
  expect(wire.xdp(dp, udp(requestEnds(flow))).verdict).toBe(XdpVerdict.PASS);
});

describe.each(families)("flows of Services to another node, $name", (f) => {
  const cases = [
    ["TCP", Proto.TCP, (ends: object) => tcp({ payload: u8(1, 2, 3), ...ends } as Parameters<typeof tcp>[0])],
    ["UDP", Proto.UDP, (ends: object) => udp({ payload: u8(1, 2, 3), ...ends } as Parameters<typeof udp>[0])],
  ] as const;

  describe.each(cases)("%s", (_, proto, make) => {
    const flow = forwardedOf(f, proto);
    const request = (change: object = {}) => make({ ...requestEnds(flow), ...change });
    const reply = (change: object = {}) => make({ ...replyEnds(flow), ...change });

    test("a frame that a switch has flooded, for another machine, passes", () => {
      dp.configure({ deviceMac: parseMac(macs.node) });
      putFlow(dp, flow);
      expect(wire.xdp(dp, request()).verdict).toBe(XdpVerdict.TX);
      expectPassed(request({ dmac: macs.otherNode }));
    });

    test("a client's packet goes to the backend's node, under this node's address", () => {
      putFlow(dp, flow);
      const { verdict, out } = wire.xdp(dp, request());
      expect(verdict).toBe(XdpVerdict.TX);
      expect(dissect(out)).toMatchObject({
        src: f.node,
        sport: flow.natPort,
        dst: f.c,
        dport: 8080,
        ttl: 63,
        smac: macs.node,
        dmac: macs.otherNode,
        wrong: [],
      });
      expect(out.length).toBe(request().length);
      expect(dp.counted(0, 2)).toBe(1n);
    });

    /** The row's word for a next hop looked up so many seconds ago. */
    const wayTo = (mac: string, secondsAgo = 0) => {
      const bytes = concat(parseMac(mac), new Uint8Array(2));
      const view = new DataView(bytes.buffer);
      view.setUint16(6, (monotonicS() - secondsAgo) & 0xffff, true);
      return view.getBigUint64(0, true);
    };
    /** Both rows know that way; again if the second passed meanwhile. */
    const sentWith = (packet: Uint8Array, secondsAgo: number) => {
      for (let tries = 0; tries < 10; tries++) {
        const second = monotonicS();
        const way = wayTo(elsewhere, secondsAgo);
        putFlow(dp, flow, { flow: { way }, nat: { way } });
        const { verdict, out } = wire.xdp(dp, packet);
        if (monotonicS() === second) return { verdict, dmac: dissect(out).dmac, smac: dissect(out).smac };
      }
      throw new Error("every try crossed a second");
    };
    const elsewhere = "02:00:00:00:00:77";

    test.each([
      ["the backend", () => request(), macs.otherNode],
      ["the client", () => reply(), macs.gateway],
    ])("the way to %s is looked up once a second", (_to, packet, mac) => {
      dp.configure({ deviceMac: parseMac(macs.node) });
      const sent = { verdict: XdpVerdict.TX, smac: macs.node };
      expect(sentWith(packet(), 0)).toEqual({ ...sent, dmac: elsewhere });
      expect(sentWith(packet(), 1)).toEqual({ ...sent, dmac: mac });
      expect(sentWith(packet(), 40_000)).toEqual({ ...sent, dmac: mac });
    });

    test("a way that was looked up is kept, where the device's own address is known", () => {
      putFlow(dp, flow);
      expect(sentWith(request(), 0).dmac).toBe(macs.otherNode);
      dp.configure({ deviceMac: parseMac(macs.node) });
      putFlow(dp, flow);
      for (const packet of [request(), reply()]) wire.xdp(dp, packet);
      const low = (way: bigint | undefined) => (way ?? 0n) & 0xffff_ffff_ffffn;
      expect(low(readFlow(dp, flow)?.way)).toBe(low(wayTo(macs.otherNode)));
      expect(low(readReverse(dp, flow)?.way)).toBe(low(wayTo(macs.gateway)));
    });

    test("on a veth it leaves by a redirect to the device itself", () => {
      putFlow(dp, flow);
      const sent = wire.xdp(dp, request());
      dp.configure({ flags: dp.config.flags | ConfigFlags.XDP_REDIRECT });
      expect(wire.xdp(dp, request())).toMatchObject({ verdict: XdpVerdict.REDIRECT, out: sent.out });
      expect(dp.counted(0, 2)).toBe(2n);
    });

    test("the backend's reply goes to the client, from what it dialled", () => {
      putFlow(dp, flow);
      const { verdict, out } = wire.xdp(dp, reply());
      expect(verdict).toBe(XdpVerdict.TX);
      expect(dissect(out)).toMatchObject({
        src: flow.frontend,
        sport: flow.frontendPort,
        dst: flow.client,
        dport: flow.clientPort,
        ttl: 63,
        smac: macs.node,
        dmac: macs.gateway,
        wrong: [],
      });
    });

    test("either way keeps the flow alive, and its reverse row young", () => {
      for (const packet of [request(), reply()]) {
        putFlow(dp, flow);
        const before = monotonicS();
        expect(wire.xdp(dp, packet).verdict).toBe(XdpVerdict.TX);
        const timeout = proto === Proto.TCP ? dp.config.ctTimeoutSvcS : dp.config.ctTimeoutAnyS;
        const row = readFlow(dp, flow);
        expect(row?.expiresS).toBeGreaterThanOrEqual(before + timeout - 1);
        expect(row?.expiresS).toBeLessThanOrEqual(monotonicS() + timeout);
      }
      expect(readReverse(dp, flow)?.expiresS).toBeLessThanOrEqual(monotonicS() + 2);
    });

    test("an answer to a pod is the pod's, also where a host port has its port of the node", () => {
      putFlow(dp, flow, { nat: { addr: mapped(f.a), frontendPort: 0, frontend: new Uint8Array(16) } });
      const asClient = { client: flow.backend, clientPort: flow.backendPort, frontendPort: flow.natPort };
      putFlow(dp, { ...flow, ...asClient, natPort: 50124 });
      expectPassed(reply());
    });

    test("checksums stay right whatever the bytes are", () => {
      putFlow(dp, flow);
      for (let i = 0; i < 400; i++) {
        const payload = u16(i * 164, 0xffff - i, i);
        for (const packet of [request({ payload }), reply({ payload })]) {
          const { verdict, out } = wire.xdp(dp, packet);
          if (verdict === XdpVerdict.TX) expect(dissect(out).wrong).toEqual([]);
          else expect(out).toEqual(packet);
        }
      }
    });

    test.each([
      ["the last hop", { ttl: 1 }],
      ["no hop at all", { ttl: 0 }],
      ["a first fragment", { moreFragments: true }],
      ["a later fragment", { fragOffset: 64 }],
      [
        "options",
        f === v4
          ? { options: u8(1, 1, 1, 1) }
          : { extensions: { next: 0, bytes: u8(proto, 0, 1, 4, 0, 0, 0, 0) } },
      ],
      ["more than the way out takes", { payload: new Uint8Array(1500) }],
    ])("%s: passed on as it came", (_name, change) => {
      putFlow(dp, flow);
      expectPassed(request(change));
      expectPassed(reply(change));
    });

    test.each([
      ["the backend is gone", { backend: "none" }],
      ["the backend is of this node", { flow: { kind: FlowKind.LOCAL } }],
      ["the backend's node answers by itself", { flow: { kind: FlowKind.DSR } }],
      ["the flow has expired", { flow: { expiresS: monotonicS() - 2 } }],
    ] as const)("%s: passed on", (_name, change) => {
      putFlow(dp, flow, change);
      expectPassed(request());
    });

    test("a reply on a mapping of no Service is passed on", () => {
      putFlow(dp, flow, { nat: { frontendPort: 0 } });
      expectPassed(reply());
    });

    test("no flow, other ports, another protocol: passed on", () => {
      expectPassed(request());
      putFlow(dp, flow);
      expectPassed(request({ sport: 40001 }));
      expectPassed(request({ dport: 30081 }));
      expectPassed(reply({ dport: flow.natPort + 1 }));
      const ends = requestEnds(flow);
      expectPassed(proto === Proto.TCP ? udp(ends) : tcp(ends));
    });

    test("Services are not served: passed on", () => {
      putFlow(dp, flow);
      dp.configure({ flags: dp.config.flags & ~(1 << 6) });
      expectPassed(request());
    });

    test("a next hop whose MAC is unknown: passed on, the kernel asks", async () => {
      putFlow(dp, flow);
      await wire.forget(f.otherNode);
      try {
        expectPassed(request());
      } finally {
        await wire.learn(f.otherNode, macs.otherNode);
      }
      expect(wire.xdp(dp, request()).verdict).toBe(XdpVerdict.TX);
    });

    test("a way out through another device: passed on", () => {
      putFlow(dp, { ...flow, backend: f === v4 ? "127.0.0.5" : "::1" });
      expectPassed(request());
    });

    test("a checksum that the sender left to the hardware: passed on, the stack knows", () => {
      putFlow(dp, flow);
      for (const packet of [request(), reply()]) {
        const l4 = f === v4 ? 34 : 54;
        const seen = dissect(packet);
        const partial = sum16(pseudoHeader(seen.src, seen.dst, proto, packet.length - l4));
        packet.set(u16(partial), l4 + (proto === Proto.TCP ? 16 : 6));
        expectPassed(packet);
      }
    });
  });

  test("a connection is followed from its end", () => {
    const flow = forwardedOf(f, Proto.TCP);
    putFlow(dp, flow);
    const steps = [
      [tcp({ ...replyEnds(flow), flags: Tcp.FIN | Tcp.ACK }), FlowFlags.FIN_BACKEND],
      [tcp({ ...requestEnds(flow), flags: Tcp.ACK }), 0],
      [tcp({ ...requestEnds(flow), flags: Tcp.FIN | Tcp.ACK }), FlowFlags.FIN_CLIENT | FlowFlags.CLOSED],
      [tcp({ ...replyEnds(flow), flags: Tcp.ACK }), 0],
    ] as const;
    let flags: number = FlowFlags.SEEN_REPLY;
    for (const [packet, news] of steps) {
      expect(wire.xdp(dp, packet).verdict).toBe(XdpVerdict.TX);
      flags |= news;
      expect(readFlow(dp, flow)?.flags).toBe(flags);
    }
    expect(readFlow(dp, flow)?.expiresS).toBeLessThanOrEqual(monotonicS() + dp.config.ctTimeoutTcpFinS);
    expect(wire.xdp(dp, tcp({ ...requestEnds(flow), flags: Tcp.SYN })).verdict).toBe(XdpVerdict.PASS);
    expect(readFlow(dp, flow)).toBeUndefined();
  });

  test("an ICMP error about a forwarded packet is passed on", () => {
    const flow = forwardedOf(f, Proto.UDP);
    putFlow(dp, flow);
    const sent = { src: f.node, dst: f.c, sport: flow.natPort, dport: 8080 };
    expectPassed(
      unreachable({ ...fromOtherNode, src: f.c, dst: f.node }, ip(sent, Proto.UDP, udpDatagram(sent))),
    );
  });

  test("frames cut short anywhere are passed on or translated right", () => {
    for (const proto of [Proto.TCP, Proto.UDP]) {
      const flow = forwardedOf(f, proto);
      putFlow(dp, flow);
      const whole = proto === Proto.TCP ? tcp(requestEnds(flow)) : udp(requestEnds(flow));
      for (let length = 14; length < whole.length; length++) {
        const cut = whole.slice(0, length);
        const { verdict, out } = wire.xdp(dp, cut);
        expect([XdpVerdict.PASS, XdpVerdict.TX]).toContain(verdict);
        expect(out.length).toBe(length);
        if (verdict === XdpVerdict.PASS) expect(out).toEqual(cut);
      }
    }
  });
});

test("UDP without a checksum stays without one", () => {
  const flow = forwardedOf(v4, Proto.UDP);
  putFlow(dp, flow);
  for (const ends of [requestEnds(flow), replyEnds(flow)]) {
    const { verdict, out } = wire.xdp(dp, udp({ ...ends, noChecksum: true }));
    expect(verdict).toBe(XdpVerdict.TX);
    expect(read16(out, 40)).toBe(0);
    expect(dissect(out).wrong).toEqual([]);
  }
});

test("a UDP checksum that comes out as zero is sent as all ones", () => {
  const flow = forwardedOf(v4, Proto.UDP);
  putFlow(dp, flow);
  const ends = requestEnds(flow);
  // The two bytes of payload that bring the translated datagram's checksum to zero.
  const translated = { src: flow.f.node, dst: flow.backend, sport: flow.natPort, dport: flow.backendPort };
  const rest = udpDatagram({ ...translated, payload: u16(0), noChecksum: true });
  const missing = 0xffff - sum16(pseudoHeader(translated.src, translated.dst, Proto.UDP, 10), rest);
  const { verdict, out } = wire.xdp(dp, udp({ ...ends, payload: u16(missing) }));
  expect(verdict).toBe(XdpVerdict.TX);
  expect(read16(out, 40)).toBe(0xffff);
  expect(dissect(out).wrong).toEqual([]);
});

test("what is not IP passes", () => {
  for (const packet of [
    arp({ op: 1, sip: v4.otherNode, tip: v4.node }),
    concat(new Uint8Array(12), u8(0x81, 0x00), new Uint8Array(50)),
    concat(new Uint8Array(12), u8(0x08, 0x00), u8(0x60), new Uint8Array(40)),
  ])
    expectPassed(packet);
});

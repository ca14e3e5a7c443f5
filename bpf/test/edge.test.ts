import { DropReason, EventFlags, EventType, FlowFlags, FlowKind, SvcFlags } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { key32, text, Verdict } from "./datapath.ts";
import { makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { anyAddress, Edge, isV4, l4At, NODEPORT, nowS, VIP } from "./edge.ts";
import { echo, ip, Proto, Tcp, tcp, tcpSegment, udp, udpDatagram, unreachable } from "./packet.ts";
import { families, guarded, ID } from "./scene.ts";

/** Services for clients outside of the cluster, packet by packet: node_from and node_to. */
const MARK_DONE = 0x0300;

let edge: Edge;

beforeAll(async () => {
  edge = new Edge(await makeDevices(), "table");
});
afterAll(async () => {
  edge.close();
  await edge.dev.remove();
});
beforeEach(() => edge.reset());

describe.each(families)("a backend on another node, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };
  const syn = { ...dial, flags: Tcp.SYN };

  test("a NodePort's SYN leaves with the node's address, the answer with the NodePort's", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    const there = edge.arrives(tcp(syn));
    expect([there.verdict, there.mark]).toEqual([Verdict.REDIRECT, MARK_DONE]);
    const sent = dissect(there.out);
    expect(sent).toMatchObject({ src: f.node, dst: f.c, sport: 40000, dport: 80, ttl: 63, wrong: [] });
    const answer = { src: f.c, dst: f.node, sport: 80, dport: 40000, flags: Tcp.SYN | Tcp.ACK };
    const back = edge.arrives(tcp(answer));
    expect([back.verdict, back.mark]).toEqual([Verdict.REDIRECT, MARK_DONE]);
    expect(dissect(back.out)).toMatchObject({
      src: f.node,
      dst: f.world,
      sport: NODEPORT,
      dport: 40000,
      ttl: 63,
      wrong: [],
    });
    expect(edge.node.connections()).toEqual([]);
    expect(edge.flows()).toHaveLength(1);
    expect(edge.flows()[0]?.row).toMatchObject({ kind: FlowKind.SNAT, flags: FlowFlags.SEEN_REPLY });
    expect(edge.node.mappings()).toHaveLength(1);
  });

  test("a LoadBalancer's address too, and it tells what was dialled", () => {
    const vip = VIP[f.name] ?? "";
    edge.loadBalancer(f, [{ ip: f.c, port: 8080 }]);
    const { out } = edge.arrives(tcp({ ...syn, dst: vip, dport: 80 }));
    expect(dissect(out)).toMatchObject({ src: f.node, dst: f.c, dport: 8080, wrong: [] });
    const [event] = edge.node.events();
    expect(event).toMatchObject({ type: EventType.TRACE, origDport: 80, dport: 8080 });
    expect(text(event?.origDaddr ?? new Uint8Array(16))).toBe(vip);
    expect((event?.flags ?? 0) & EventFlags.TRANSLATED).toBe(EventFlags.TRANSLATED);
    edge.arrives(tcp({ ...dial, dst: vip, dport: 80, flags: Tcp.ACK }));
    expect(edge.node.events()).toEqual([]);
  });

  test("UDP, every packet of the flow alike", () => {
    edge.nodePort(f, [{ ip: f.c, port: 53 }], Proto.UDP);
    const ports = Array.from(
      { length: 4 },
      () => dissect(edge.arrives(udp({ ...dial, sport: 99 })).out).sport,
    );
    expect(new Set(ports).size).toBe(1);
    expect(ports[0]).toBeGreaterThanOrEqual(32768);
    const back = edge.arrives(udp({ src: f.c, dst: f.node, sport: 53, dport: ports[0] ?? 0 }));
    expect(dissect(back.out)).toMatchObject({ dst: f.world, sport: NODEPORT, dport: 99, wrong: [] });
  });

  test("two clients with one port are told apart", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    const other = isV4(f) ? "192.0.2.2" : "2001:db8::2";
    const [a, b] = [f.world, other].map((src) => dissect(edge.arrives(tcp({ ...syn, src })).out).sport);
    expect(a).toBe(40000);
    expect(b).not.toBe(40000);
  });

  test("a frame that a switch has flooded, for another machine, is left to it", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    const flooded = tcp({ ...syn, dmac: "02:00:00:00:00:99" });
    expect(edge.arrives(flooded)).toMatchObject({ verdict: Verdict.PASS, out: flooded });
    expect(edge.flows()).toEqual([]);
  });

  test("a ClusterIP is nothing to the outside; a range of sources shuts others out in silence", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, { flags: SvcFlags.CLUSTERIP });
    expect(edge.arrives(tcp(syn))).toMatchObject({ verdict: Verdict.PASS, out: tcp(syn) });
    edge.loadBalancer(f, [{ ip: f.c, port: 80 }], Proto.TCP, {
      flags: SvcFlags.LOADBALANCER | SvcFlags.SOURCE_RANGES,
    });
    const refused = edge.arrives(tcp({ ...syn, dst: VIP[f.name] ?? "", dport: 80 }));
    expect(refused.verdict).toBe(Verdict.DROP);
    expect(edge.node.events()[0]?.subtype).toBe(DropReason.NOT_IN_SRC_RANGE);
  });

  test.each(["a", "node"] as const)("who claims to be this node's own %s gets nowhere", (who) => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    expect(edge.arrives(tcp({ ...syn, src: f[who] })).verdict).toBe(Verdict.DROP);
    expect(edge.node.events()[0]?.subtype).toBe(DropReason.INVALID_SOURCE_IP);
    expect(edge.flows()).toEqual([]);
  });

  test("the last hop is told, to the client and to the backend", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    const type = isV4(f) ? 11 : 3;
    const there = edge.arrives(tcp({ ...syn, ttl: 1 }));
    expect(there.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(there.out)).toMatchObject({ src: f.node, dst: f.world, type, code: 0, wrong: [] });
    expect(dissect(there.out).quoted).toMatchObject({ src: f.world, dst: f.node, dport: NODEPORT });
    expect(edge.flows()).toEqual([]);
    edge.arrives(tcp(syn));
    const back = edge.arrives(tcp({ src: f.c, dst: f.node, sport: 80, dport: 40000, ttl: 1 }));
    expect(dissect(back.out)).toMatchObject({ src: f.node, dst: f.c, type, wrong: [] });
    expect(dissect(back.out).quoted).toMatchObject({ src: f.c, dst: f.node, sport: 80 });
  });

  test("what is too large for the way is told with the size that fits", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    edge.arrives(tcp(syn));
    edge.node.configure({ mtu: 1400 });
    const large = tcp({ ...dial, payload: new Uint8Array(1380) });
    if (isV4(f)) large[20] = 0x40;
    const { verdict, out } = edge.arrives(large);
    expect(verdict).toBe(Verdict.REDIRECT);
    const told = dissect(out);
    expect(told).toMatchObject(isV4(f) ? { type: 3, code: 4 } : { type: 2, code: 0 });
    expect(told).toMatchObject({ dst: f.world, quoted: { dst: f.node, dport: NODEPORT } });
    expect((told.body[6] ?? 0) * 256 + (told.body[7] ?? 0)).toBe(1400);
    expect(told.wrong.filter((w) => !w.startsWith("quoted"))).toEqual([]);
  });

  test("fragments follow their first one, both ways", () => {
    edge.nodePort(f, [{ ip: f.c, port: 53 }], Proto.UDP);
    const whole = udpDatagram({ ...dial, payload: new Uint8Array(64).fill(7) });
    const cut = (at: { src: string; dst: string }, l4: Uint8Array) => [
      ip({ ...at, id: 77, moreFragments: true, fragOffset: 0 }, Proto.UDP, l4.subarray(0, 32)),
      ip({ ...at, id: 77, fragOffset: 32 }, Proto.UDP, l4.subarray(32)),
    ];
    const frame = (body: Uint8Array) => {
      const packet = tcp(syn).slice(0, 14);
      return new Uint8Array([...packet, ...body]);
    };
    const [first, later] = cut(dial, whole).map((body) => dissect(edge.arrives(frame(body)).out));
    expect(first).toMatchObject({ src: f.node, dst: f.c, dport: 53 });
    expect(later).toMatchObject({ src: f.node, dst: f.c, wrong: [] });
    const reply = { src: f.c, dst: f.node, sport: 53, dport: first?.sport ?? 0 };
    const l4 = udpDatagram({ ...reply, payload: new Uint8Array(64) });
    const backs = cut(reply, l4).map((body) => dissect(edge.arrives(frame(body)).out));
    expect(backs[0]).toMatchObject({ src: f.node, dst: f.world, sport: NODEPORT });
    expect(backs[1]).toMatchObject({ src: f.node, dst: f.world, wrong: [] });
  });

  test("errors about it reach the client as about what it dialled", () => {
    edge.nodePort(f, [{ ip: f.c, port: 53 }], Proto.UDP);
    const { sport = 0 } = dissect(edge.arrives(udp(dial)).out);
    const seen = { src: f.node, dst: f.c, sport, dport: 53 };
    for (const from of [f.c, f.otherNode]) {
      const quoted = ip(seen, Proto.UDP, udpDatagram(seen));
      const { verdict, out } = edge.arrives(unreachable({ src: from, dst: f.node }, quoted));
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(out)).toMatchObject({
        src: from === f.c ? f.node : from,
        dst: f.world,
        wrong: [],
        quoted: { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT },
      });
    }
  });

  test("the client's error about an answer reaches the backend as about its own packet", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    edge.arrives(tcp(syn));
    const got = { src: f.node, dst: f.world, sport: NODEPORT, dport: 40000 };
    const error = unreachable({ src: f.world, dst: f.node }, ip(got, Proto.TCP, tcpSegment(got)));
    const { verdict, out } = edge.arrives(error);
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({
      src: f.node,
      dst: f.c,
      wrong: [],
      quoted: { src: f.c, dst: f.node, sport: 80, dport: 40000 },
    });
  });

  test("SCTP keeps its ports or is refused", () => {
    edge.node.service(
      11,
      { ip: anyAddress(f), port: NODEPORT, proto: Proto.SCTP },
      [{ ip: f.c, port: NODEPORT }],
      {
        flags: SvcFlags.NODEPORT,
      },
    );
    const sctp = (sport: number) => {
      const packet = udp({ ...dial, sport, payload: new Uint8Array(8) });
      packet[isV4(f) ? 23 : 20] = Proto.SCTP;
      if (isV4(f)) {
        const sum = (packet[24] ?? 0) * 256 + (packet[25] ?? 0) - (Proto.SCTP - Proto.UDP);
        packet.set([(sum >> 8) & 255, sum & 255], 24);
      }
      return edge.arrives(packet);
    };
    expect(dissect(sctp(40000).out)).toMatchObject({ src: f.node, dst: f.c, sport: 40000, wrong: [] });
    expect(sctp(100).verdict).toBe(Verdict.DROP);
  });
});

describe.each(families)("a backend here, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };

  test("a pod sees the client, and its answer comes from what was dialled", () => {
    edge.nodePort(f, [{ ip: f.b, port: 80 }]);
    const there = edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    expect(there.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(there.out)).toMatchObject({ src: f.world, dst: f.b, sport: 40000, dport: 80, wrong: [] });
    expect(edge.node.connections()[0]).toMatchObject({ frontend: mapped(f.node), frontendPort: NODEPORT });
    for (const flags of [Tcp.SYN | Tcp.ACK, Tcp.ACK, Tcp.ACK]) {
      const back = edge.fromPod(tcp({ src: f.b, dst: f.world, sport: 80, dport: 40000, flags }));
      expect([back.verdict, back.mark]).toEqual([Verdict.REDIRECT, MARK_DONE]);
      expect(dissect(back.out)).toMatchObject({ src: f.node, dst: f.world, sport: NODEPORT, wrong: [] });
      expect(edge.arrives(tcp({ ...dial, flags: Tcp.ACK })).verdict).toBe(Verdict.REDIRECT);
    }
    expect(edge.node.mappings()).toEqual([]);
  });

  test("its policy judges the client", () => {
    guarded(edge.node, edge.dev);
    edge.node.endpoint(f.node, { identity: 1, flags: 9 });
    edge.node.configure({ flags: edge.node.config.flags | 64 });
    edge.nodePort(f, [{ ip: f.b, port: 80 }]);
    expect(edge.arrives(tcp({ ...dial, flags: Tcp.SYN })).verdict).toBe(Verdict.DROP);
    expect(edge.node.events()[0]).toMatchObject({
      subtype: DropReason.POLICY,
      srcIdentity: f.worldIdentity,
      dstIdentity: ID.B,
      origDport: NODEPORT,
    });
  });

  test("a client cannot be a pod of this node, not even on its own flow", () => {
    edge.nodePort(f, [{ ip: f.b, port: 80 }]);
    edge.node.service(12, { ip: f.service, port: 80, proto: Proto.TCP }, [{ ip: f.b, port: 80 }]);
    edge.fromPod(tcp({ src: f.a, dst: f.service, sport: 1, dport: 80, flags: Tcp.SYN }), edge.dev.a);
    const forged = tcp({ src: f.a, dst: f.service, sport: 1, dport: 80, flags: Tcp.ACK });
    expect(edge.arrives(forged).verdict).toBe(Verdict.DROP);
  });

  test("an answer larger than the way out goes up as the pod sent it, and is translated when it leaves", () => {
    edge.nodePort(f, [{ ip: f.b, port: 80 }]);
    edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    const answer = { src: f.b, dst: f.world, sport: 80, dport: 40000 };
    edge.fromPod(tcp({ ...answer, flags: Tcp.SYN | Tcp.ACK }));
    edge.node.configure({ mtu: 1400 });
    const large = tcp({ ...answer, payload: new Uint8Array(1400) });
    for (let i = 0; i < 2; i++)
      expect(edge.fromPod(large)).toMatchObject({ verdict: Verdict.PASS, out: large, mark: 0 });
    const cut = tcp({ ...answer, payload: new Uint8Array(100) });
    expect(dissect(edge.leaves(cut).out)).toMatchObject({
      src: f.node,
      sport: NODEPORT,
      dport: 40000,
      wrong: [],
    });
  });

  test("errors of the pod and of the client are translated", () => {
    edge.nodePort(f, [{ ip: f.b, port: 53 }], Proto.UDP);
    edge.arrives(udp(dial));
    const seen = { src: f.world, dst: f.b, sport: 40000, dport: 53 };
    const back = edge.fromPod(
      unreachable({ src: f.b, dst: f.world }, ip(seen, Proto.UDP, udpDatagram(seen))),
    );
    expect(dissect(back.out)).toMatchObject({
      src: f.node,
      dst: f.world,
      wrong: [],
      quoted: { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT },
    });
    const got = { src: f.node, dst: f.world, sport: NODEPORT, dport: 40000 };
    const error = unreachable({ src: f.world, dst: f.node }, ip(got, Proto.UDP, udpDatagram(got)));
    const there = edge.arrives(error);
    expect(there.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(there.out)).toMatchObject({
      dst: f.b,
      wrong: [],
      quoted: { src: f.b, dst: f.world, sport: 53, dport: 40000 },
    });
  });

  test("the node's own stack: translated on the way in and on the way out, nothing else is", () => {
    edge.nodePort(f, [{ ip: f.node, port: 6443 }]);
    const there = edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    expect(there.verdict).toBe(Verdict.PASS);
    expect(dissect(there.out)).toMatchObject({ src: f.world, dst: f.node, dport: 6443, wrong: [] });
    const answer = { src: f.node, dst: f.world, sport: 6443, dport: 40000, flags: Tcp.SYN | Tcp.ACK };
    const back = edge.leaves(tcp(answer));
    expect(back.verdict).toBe(Verdict.PASS);
    expect(dissect(back.out)).toMatchObject({ src: f.node, sport: NODEPORT, dport: 40000, wrong: [] });
    expect(edge.flows()[0]?.row).toMatchObject({ kind: FlowKind.HOST, flags: FlowFlags.SEEN_REPLY });
    const other = tcp({ ...answer, sport: 6444 });
    expect(edge.leaves(other).out).toEqual(other);
  });

  test("errors of the stack, and of the client to it, are translated", () => {
    edge.nodePort(f, [{ ip: f.node, port: 53 }], Proto.UDP);
    edge.arrives(udp(dial));
    const seen = { src: f.world, dst: f.node, sport: 40000, dport: 53 };
    const back = edge.leaves(
      unreachable({ src: f.node, dst: f.world }, ip(seen, Proto.UDP, udpDatagram(seen))),
    );
    expect(dissect(back.out)).toMatchObject({
      src: f.node,
      wrong: [],
      quoted: { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT },
    });
    const got = { src: f.node, dst: f.world, sport: NODEPORT, dport: 40000 };
    const there = edge.arrives(
      unreachable({ src: f.world, dst: f.node }, ip(got, Proto.UDP, udpDatagram(got))),
    );
    expect(there.verdict).toBe(Verdict.PASS);
    expect(dissect(there.out)).toMatchObject({ dst: f.node, wrong: [], quoted: { sport: 53, dport: 40000 } });
  });

  test("one client port cannot reach one stack's port through two frontends at a time", () => {
    edge.nodePort(f, [{ ip: f.node, port: 6443 }]);
    edge.loadBalancer(f, [{ ip: f.node, port: 6443 }]);
    expect(edge.arrives(tcp({ ...dial, flags: Tcp.SYN })).verdict).toBe(Verdict.PASS);
    const second = tcp({ ...dial, dst: VIP[f.name] ?? "", dport: 80, flags: Tcp.SYN });
    expect(edge.arrives(second).verdict).toBe(Verdict.DROP);
    expect(edge.node.events().at(-1)?.subtype).toBe(DropReason.NAT_NO_MAPPING);
    edge.arrives(tcp({ ...dial, flags: Tcp.RST }));
    expect(edge.arrives(second).verdict).toBe(Verdict.PASS);
  });
});

describe.each(families)("refusals, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };

  test("TCP without a backend is reset", () => {
    edge.nodePort(f, []);
    for (const [sent, flags] of [
      [Tcp.SYN, Tcp.RST | Tcp.ACK],
      [Tcp.ACK, Tcp.RST],
    ] as const) {
      const { verdict, out } = edge.arrives(
        tcp({ ...dial, flags: sent, payload: new Uint8Array(sent === Tcp.SYN ? 0 : 9) }),
      );
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(out)).toMatchObject({
        src: f.node,
        dst: f.world,
        sport: NODEPORT,
        dport: 40000,
        wrong: [],
      });
      expect(out[l4At(f) + 13]).toBe(flags);
      expect(edge.node.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.NO_SERVICE });
    }
    expect(edge.arrives(tcp({ ...dial, flags: Tcp.RST })).verdict).toBe(Verdict.DROP);
  });

  test("where only this node has no backend there is silence: other nodes serve", () => {
    const flags = SvcFlags.NODEPORT | SvcFlags.LOCAL_ONLY;
    edge.nodePort(f, [], Proto.TCP, { flags });
    edge.nodePort(f, [], Proto.UDP, { flags });
    for (const packet of [tcp({ ...dial, flags: Tcp.SYN }), udp(dial)]) {
      expect(edge.arrives(packet).verdict).toBe(Verdict.DROP);
      expect(edge.node.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.NO_SERVICE });
    }
  });

  test("UDP without a backend hears that the port is unreachable", () => {
    edge.nodePort(f, [], Proto.UDP);
    const { verdict, out } = edge.arrives(udp({ ...dial, payload: new Uint8Array(301).fill(3) }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({ src: f.node, dst: f.world, wrong: [] });
    expect(dissect(out)).toMatchObject(isV4(f) ? { type: 3, code: 3 } : { type: 1, code: 4 });
    expect(dissect(out).quoted).toMatchObject({ src: f.world, dst: f.node, sport: 40000, dport: NODEPORT });
  });

  test("an address that only Services have answers echo requests, refuses other ports, and forwards nothing", () => {
    const vip = VIP[f.name] ?? "";
    edge.loadBalancer(f, [{ ip: f.c, port: 80 }]);
    const ping = echo({ src: f.world, dst: vip, id: 5 });
    expect(edge.arrives(ping).verdict).toBe(Verdict.PASS);
    edge.node.service(0, { ip: vip, port: 0, proto: 0 }, [], { flags: SvcFlags.LOADBALANCER });
    const pong = edge.arrives(ping);
    expect(pong.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(pong.out)).toMatchObject({
      src: vip,
      dst: f.world,
      type: isV4(f) ? 0 : 129,
      id: 5,
      wrong: [],
    });
    const other = edge.arrives(tcp({ ...dial, dst: vip, dport: 81, flags: Tcp.SYN }));
    expect(other.verdict).toBe(Verdict.REDIRECT);
    expect(other.out[l4At(f) + 13]).toBe(Tcp.RST | Tcp.ACK);
    expect(edge.arrives(echo({ src: f.world, dst: vip, id: 5, reply: true })).verdict).toBe(Verdict.DROP);
  });
});

describe.each(families)("the life of a flow, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };
  const answer = { src: f.c, dst: f.node, sport: 80, dport: 40000 };
  const send = (flags: number) => edge.arrives(tcp({ ...dial, flags }));
  const reply = (flags: number) => edge.arrives(tcp({ ...answer, flags }));

  test("TCP: 60 seconds until it is answered, then 8000, 10 when both sides have closed", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    expect(edge.timeLeft()).toBeCloseTo(60, -0.5);
    reply(Tcp.SYN | Tcp.ACK);
    expect(edge.timeLeft()).toBeGreaterThan(7990);
    send(Tcp.FIN | Tcp.ACK);
    expect(edge.timeLeft()).toBeGreaterThan(7990);
    reply(Tcp.FIN | Tcp.ACK);
    expect(edge.timeLeft()).toBeLessThanOrEqual(10);
    expect(send(Tcp.ACK).verdict).toBe(Verdict.REDIRECT);
  });

  test("a reset closes at once; UDP lives 60 seconds from either side's packet", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    reply(Tcp.RST | Tcp.ACK);
    expect(edge.timeLeft()).toBeLessThanOrEqual(10);
    edge.reset();
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.UDP);
    edge.arrives(udp(dial));
    expect(edge.timeLeft()).toBeLessThanOrEqual(60);
    expect(edge.timeLeft()).toBeGreaterThan(57);
  });

  test("a flow to a pod here is ended by the pod's packets too", () => {
    edge.nodePort(f, [{ ip: f.b, port: 80 }]);
    send(Tcp.SYN);
    send(Tcp.ACK);
    expect(edge.timeLeft()).toBeGreaterThan(7990);
    edge.fromPod(tcp({ src: f.b, dst: f.world, sport: 80, dport: 40000, flags: Tcp.FIN | Tcp.ACK }));
    send(Tcp.FIN | Tcp.ACK);
    expect(edge.timeLeft()).toBeLessThanOrEqual(10);
  });

  test("a terminating backend keeps its flows and gets none", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    edge.nodePort(f, [{ ip: f.c, port: 80, state: 1 }]);
    edge.node.service(
      7,
      { ip: anyAddress(f), port: NODEPORT, proto: Proto.TCP },
      [
        { ip: f.c, port: 80, state: 1 },
        { ip: f.c, port: 81 },
      ],
      {
        flags: SvcFlags.NODEPORT,
        slotsOff: 701,
        slots: 1,
        count: 1,
      },
    );
    expect(dissect(send(Tcp.ACK).out).dport).toBe(80);
    expect(dissect(send(Tcp.SYN).out).dport).toBe(81);
  });

  test("a SYN on a flow that has begun to close selects anew, under another mapping", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    send(Tcp.FIN | Tcp.ACK);
    reply(Tcp.FIN | Tcp.ACK);
    edge.nodePort(f, [{ ip: f.c, port: 81 }]);
    expect(dissect(send(Tcp.SYN).out)).toMatchObject({ dst: f.c, dport: 81 });
    expect(edge.flows()).toHaveLength(1);
  });

  test("a backend that is gone is replaced, by TCP too: the new one answers with a reset", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    edge.node.rows("ax_backends").delete(key32(700));
    edge.node.service(17, { ip: anyAddress(f), port: NODEPORT, proto: Proto.TCP }, [{ ip: f.c, port: 90 }], {
      flags: SvcFlags.NODEPORT,
    });
    const { sport = 0, dport } = dissect(send(Tcp.ACK).out);
    expect(dport).toBe(90);
    const reset = edge.arrives(tcp({ src: f.c, dst: f.node, sport: 90, dport: sport, flags: Tcp.RST }));
    expect(dissect(reset.out)).toMatchObject({ dst: f.world, sport: NODEPORT, dport: 40000 });
    expect(edge.timeLeft()).toBeLessThanOrEqual(10);
  });

  test("a flow whose source the node has lost gets another", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    const nodeIp = mapped(isV4(f) ? "172.30.0.99" : "fd00:172:30::99");
    edge.node.configure(isV4(f) ? { nodeIp4: nodeIp } : { nodeIp6: nodeIp });
    expect(dissect(send(Tcp.ACK).out).src).toBe(text(nodeIp));
    expect(edge.flows()).toHaveLength(1);
    expect(edge.node.mappings()).toHaveLength(1);
  });

  test("the sweep takes flows that are over, and mappings without a flow, and returns their ports", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    edge.arrives(tcp({ ...dial, sport: 99, flags: Tcp.SYN }));
    const { sport } = dissect(edge.arrives(tcp({ ...dial, sport: 99, flags: Tcp.SYN })).out);
    edge.arrives(tcp({ ...dial, sport: 40001, flags: Tcp.SYN }));
    edge.arrives(tcp({ ...answer, dport: 40001, flags: Tcp.SYN | Tcp.ACK }));
    expect(edge.sweep()).toMatchObject({ flowSeen: 2, flowDeleted: 0, natDeleted: 0 });
    expect(edge.sweep(nowS() + 120)).toMatchObject({ flowDeleted: 1, natDeleted: 1 });
    expect(edge.sweep(nowS() + 9000)).toMatchObject({ flowDeleted: 1, natDeleted: 1 });
    expect(edge.node.mappings()).toEqual([]);
    expect(sport).toBeGreaterThanOrEqual(32768);
  });

  test("young mappings are no orphans; those of lost flows are", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    send(Tcp.SYN);
    edge.node.map("ax_svc_flows").clear();
    expect(edge.sweep()).toMatchObject({ natDeleted: 0 });
    // Made while the sweep ran.
    expect(edge.sweep(nowS() - 3)).toMatchObject({ natDeleted: 0 });
    expect(edge.sweep(nowS() + 4)).toMatchObject({ natDeleted: 1 });
  });
});

test("an address keeps its family: no row leads from one to the other", () => {
  const [a, b] = families as [(typeof families)[0], (typeof families)[0]];
  edge.nodePort(a, [{ ip: b.c, port: 80 }]);
  const { verdict } = edge.arrives(
    tcp({ src: a.world, dst: a.node, sport: 1, dport: NODEPORT, flags: Tcp.SYN }),
  );
  expect(verdict).toBe(Verdict.DROP);
  expect(edge.node.events()[0]?.subtype).toBe(DropReason.NAT_UNSUPPORTED);
});

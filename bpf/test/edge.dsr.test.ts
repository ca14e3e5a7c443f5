import { ConfigFlags, CtFlags, CtPath, DropReason, FlowKind, SvcFlags } from "@axoneme/abi";
import { parseIp } from "@axoneme/base";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concat, u8, u16 } from "./bytes.ts";
import { Verdict } from "./datapath.ts";
import { makeDevices } from "./devices.ts";
import { dissect, dissectIp, mapped } from "./dissect.ts";
import { Edge, isV4, NODEPORT, VIP } from "./edge.ts";
import { ethernet, ip, Proto, Tcp, tcp, tcpSegment, udp, udpDatagram, unreachable, wire } from "./packet.ts";
import { type Family, families, guarded, ID } from "./scene.ts";

/** Direct server return, from the node that is dialled to the pod of the other one. */
const DSR = { forwarding: 1 };

let edge: Edge;

beforeAll(async () => {
  edge = new Edge(await makeDevices(), "dsr");
});
afterAll(async () => {
  edge.close();
  await edge.dev.remove();
});
beforeEach(() => edge.reset());

/** What travels with the packet: the format of lib/dsr.h. */
function told(f: Family, addr: string, port: number, next: number): Uint8Array {
  const ipBytes = wire(parseIp(addr));
  if (isV4(f)) return concat(u8(0x9a, 8), u16(port), ipBytes);
  return concat(u8(next, 2, 0x1b, 20), u16(port, 0), ipBytes);
}

/** A packet as the other node sends it. */
function forwarded(f: Family, frontend: string, port: number, at: { sport: number; flags?: number }) {
  const frame = { src: f.world, dst: f.b, sport: at.sport, dport: 80, flags: at.flags ?? Tcp.SYN };
  const note = told(f, frontend, port, Proto.TCP);
  return tcp(isV4(f) ? { ...frame, options: note } : { ...frame, extensions: { next: 60, bytes: note } });
}

const at = (f: Family) => (isV4(f) ? 34 : 54);

describe.each(families)("the node that is dialled, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };

  test("a SYN keeps its source and tells the frontend; what follows is only sent on", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, DSR);
    const { verdict, out } = edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({
      src: f.world,
      dst: f.c,
      sport: 40000,
      dport: 80,
      ttl: 63,
      wrong: [],
    });
    const note = told(f, f.node, NODEPORT, Proto.TCP);
    expect(out.subarray(at(f), at(f) + note.length)).toEqual(note);
    const after = edge.arrives(tcp({ ...dial, flags: Tcp.ACK }));
    expect(dissect(after.out)).toMatchObject({ src: f.world, dst: f.c, dport: 80, wrong: [] });
    expect(after.out.length).toBe(tcp(dial).length);
    expect(edge.flows()[0]?.row.kind).toBe(FlowKind.DSR);
    expect(edge.node.mappings()).toEqual([]);
  });

  test("UDP tells it with every packet that has room", () => {
    edge.nodePort(f, [{ ip: f.c, port: 53 }], Proto.UDP, DSR);
    const note = told(f, f.node, NODEPORT, Proto.UDP).length;
    for (const size of [4, 100]) {
      const packet = udp({ ...dial, payload: new Uint8Array(size) });
      const { out } = edge.arrives(packet);
      expect(out.length).toBe(packet.length + note);
      expect(dissect(out)).toMatchObject({ src: f.world, dst: f.c, dport: 53, wrong: [] });
    }
    const full = udp({ ...dial, payload: new Uint8Array(1500 - (isV4(f) ? 28 : 48)) });
    expect(edge.arrives(full).out.length).toBe(full.length);
  });

  test("a flow whose first packet has no room goes by source NAT, as does one to another node's own stack", () => {
    edge.nodePort(f, [{ ip: f.c, port: 53 }], Proto.UDP, DSR);
    const full = udp({ ...dial, payload: new Uint8Array(1500 - (isV4(f) ? 28 : 48)) });
    expect(dissect(edge.arrives(full).out)).toMatchObject({ src: f.node, dst: f.c, wrong: [] });
    edge.reset();
    edge.nodePort(f, [{ ip: f.otherNode, port: 80 }], Proto.TCP, DSR);
    edge.node.ipcache(`${f.otherNode}/${isV4(f) ? 32 : 128}`, 6, f.otherNode, 1);
    const { out } = edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    expect(dissect(out)).toMatchObject({ src: f.node, dst: f.otherNode });
  });

  test("a client that lives on the backend's node, or is a node, goes by source NAT", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, DSR);
    const neighbour = isV4(f) ? "10.0.1.9" : "fd10:0:0:1::9";
    edge.node.ipcache(`${neighbour}/${isV4(f) ? 32 : 128}`, ID.C, f.otherNode, 1);
    for (const src of [neighbour, f.otherNode]) {
      const { out } = edge.arrives(tcp({ ...dial, src, flags: Tcp.SYN }));
      expect(dissect(out)).toMatchObject({ src: f.node, dst: f.c, wrong: [] });
    }
  });

  test("without the client's FIN a flow lasts, with it a minute: the answers are not seen here", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, DSR);
    edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    expect(edge.timeLeft()).toBeLessThanOrEqual(60);
    edge.arrives(tcp({ ...dial, flags: Tcp.ACK }));
    expect(edge.timeLeft()).toBeGreaterThan(7990);
    edge.arrives(tcp({ ...dial, flags: Tcp.FIN | Tcp.ACK }));
    expect(edge.timeLeft()).toBeLessThanOrEqual(60);
  });

  test("wrapped in IPIP, the packet and what it tells go to the backend's node", () => {
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.DSR_IPIP });
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, DSR);
    for (const flags of [Tcp.SYN, Tcp.ACK]) {
      const { verdict, out } = edge.arrives(tcp({ ...dial, flags }));
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(out)).toMatchObject({
        src: f.node,
        dst: f.otherNode,
        proto: isV4(f) ? 4 : 41,
        wrong: [],
      });
      expect(dissectIp(out.subarray(at(f)))).toMatchObject({ src: f.world, dst: f.c, dport: 80, wrong: [] });
    }
  });

  test("a client's error about an answer goes on to the backend", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, DSR);
    edge.arrives(tcp({ ...dial, flags: Tcp.SYN }));
    const got = { src: f.node, dst: f.world, sport: NODEPORT, dport: 40000 };
    const { out } = edge.arrives(
      unreachable({ src: f.world, dst: f.node }, ip(got, Proto.TCP, tcpSegment(got))),
    );
    expect(dissect(out)).toMatchObject({
      src: f.world,
      dst: f.c,
      wrong: [],
      quoted: { src: f.c, dst: f.world, sport: 80, dport: 40000 },
    });
  });
});

describe.each(families)("the backend's node, $name", (f) => {
  const serve = (change = {}) => edge.nodePort(f, [{ ip: f.b, port: 80 }], Proto.TCP, { ...DSR, ...change });
  const answer = { src: f.b, dst: f.world, sport: 80, dport: 40000 };

  test("the option comes off, the pod answers the client in the frontend's name", () => {
    serve();
    const { verdict, out } = edge.arrives(forwarded(f, f.otherNode, NODEPORT, { sport: 40000 }));
    expect(verdict).toBe(Verdict.REDIRECT);
    const plain = { src: f.world, dst: f.b, sport: 40000, dport: 80 };
    expect(out).toEqual(tcp({ ...plain, flags: Tcp.SYN }));
    expect(edge.node.connections()[0]).toMatchObject({
      frontend: mapped(f.otherNode),
      frontendPort: NODEPORT,
    });
    expect((edge.node.connections()[0]?.flags ?? 0) & CtFlags.DSR).toBe(CtFlags.DSR);
    for (const flags of [Tcp.SYN | Tcp.ACK, Tcp.ACK, Tcp.ACK]) {
      const back = edge.fromPod(tcp({ ...answer, flags }));
      expect(dissect(back.out)).toMatchObject({ src: f.otherNode, dst: f.world, sport: NODEPORT, wrong: [] });
      const more = tcp({ ...plain, flags: Tcp.ACK });
      expect(edge.arrives(more)).toMatchObject({ verdict: Verdict.REDIRECT, out: more });
    }
  });

  test("of an address of a LoadBalancer too, and a datagram's option comes off on every packet", () => {
    const vip = VIP[f.name] ?? "";
    edge.loadBalancer(f, [{ ip: f.b, port: 53 }], Proto.UDP, DSR);
    const note = told(f, vip, 80, Proto.UDP);
    const frame = { src: f.world, dst: f.b, sport: 9, dport: 53 };
    const packet = udp(
      isV4(f) ? { ...frame, options: note } : { ...frame, extensions: { next: 60, bytes: note } },
    );
    for (let i = 0; i < 3; i++) expect(edge.arrives(packet).out).toEqual(udp(frame));
    const back = edge.fromPod(udp({ src: f.b, dst: f.world, sport: 53, dport: 9 }));
    expect(dissect(back.out)).toMatchObject({ src: vip, sport: 80, dport: 9, wrong: [] });
  });

  test("only a frontend that is served so is believed", () => {
    const asIs = forwarded(f, f.otherNode, NODEPORT, { sport: 40000 });
    const cases: (() => void)[] = [
      () => undefined,
      () => serve({ forwarding: 0 }),
      () => serve({ flags: SvcFlags.CLUSTERIP }),
    ];
    for (const prepare of cases) {
      edge.reset();
      prepare();
      expect(edge.arrives(asIs).out).toEqual(asIs);
      expect(edge.node.connections()[0]?.frontendPort).toBe(0);
    }
    edge.reset();
    serve();
    const stranger = forwarded(f, isV4(f) ? "192.0.2.9" : "2001:db8::9", NODEPORT, { sport: 40001 });
    expect(edge.arrives(stranger).out).toEqual(stranger);
  });

  test("the pod's policy sees the client", () => {
    guarded(edge.node, edge.dev);
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.SERVICES });
    serve();
    expect(edge.arrives(forwarded(f, f.otherNode, NODEPORT, { sport: 40000 })).verdict).toBe(Verdict.DROP);
    expect(edge.node.events()[0]).toMatchObject({
      subtype: DropReason.POLICY,
      srcIdentity: f.worldIdentity,
      dstIdentity: ID.B,
    });
  });

  test("what a node of the cluster has wrapped is unwrapped; of anybody else it is the stack's", () => {
    serve();
    const inner = forwarded(f, f.otherNode, NODEPORT, { sport: 40000 }).subarray(14);
    const wrapped = (src: string) =>
      ethernet(isV4(f) ? 0x0800 : 0x86dd, ip({ src, dst: f.node }, isV4(f) ? 4 : 41, inner));
    const { verdict, out } = edge.arrives(wrapped(f.otherNode));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({ src: f.world, dst: f.b, dport: 80, wrong: [] });
    expect(out.length).toBe(tcp({ ...answer, flags: Tcp.SYN }).length);
    edge.node.map("ax_ct").clear();
    expect(edge.arrives(wrapped(f.world))).toMatchObject({ verdict: Verdict.PASS, out: wrapped(f.world) });
  });

  test("the pod's error about it is the frontend's", () => {
    edge.nodePort(f, [{ ip: f.b, port: 53 }], Proto.UDP, DSR);
    const note = told(f, f.otherNode, NODEPORT, Proto.UDP);
    const frame = { src: f.world, dst: f.b, sport: 9, dport: 53 };
    edge.arrives(
      udp(isV4(f) ? { ...frame, options: note } : { ...frame, extensions: { next: 60, bytes: note } }),
    );
    const back = edge.fromPod(
      unreachable({ src: f.b, dst: f.world }, ip(frame, Proto.UDP, udpDatagram(frame))),
    );
    expect(dissect(back.out)).toMatchObject({
      src: f.otherNode,
      wrong: [],
      quoted: { src: f.world, dst: f.otherNode, sport: 9, dport: NODEPORT },
    });
  });

  test("answers go straight to the client even after the connection is decided anew", () => {
    serve();
    edge.arrives(forwarded(f, f.otherNode, NODEPORT, { sport: 40000 }));
    edge.node.nextEpoch();
    edge.arrives(tcp({ src: f.world, dst: f.b, sport: 40000, dport: 80, flags: Tcp.ACK }));
    edge.fromPod(tcp({ ...answer, flags: Tcp.ACK }));
    const client = edge.node.connections()[0]?.side.find((s) => s.epId === 0);
    expect(client?.path).toBe(CtPath.DIRECT);
  });
});

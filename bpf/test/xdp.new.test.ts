import { DropReason, EventFlags, EventType, FlowFlags, FlowKind, SvcFlags } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type BackendSpec, Datapath, text } from "./datapath.ts";
import { dissect, mapped } from "./dissect.ts";
import { type Forwarded, forwardedOf, readFlow, readReverse, serving } from "./flows.ts";
import { Proto, Tcp, tcp, udp } from "./packet.ts";
import { families, ID } from "./scene.ts";
import { fromGateway, macs, Wire, XdpVerdict } from "./wire.ts";

/** Flows that begin in XDP. */
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

describe.each(families)("a new flow, $name", (f) => {
  const flow = forwardedOf(f, Proto.UDP);
  const web = { ip: f.node, port: 30080, proto: Proto.UDP };
  const remote: BackendSpec = { ip: f.c, port: 8080 };
  const local: BackendSpec = { ip: f.a, port: 8080, local: true };
  const host: BackendSpec = { ip: f.node, port: 6443, local: true };
  const served = { flags: SvcFlags.NODEPORT };
  const dial = (change: Partial<Forwarded> = {}) => {
    const { client, frontend, clientPort, frontendPort } = { ...flow, ...change };
    return udp({ ...fromGateway, src: client, dst: frontend, sport: clientPort, dport: frontendPort });
  };

  beforeEach(() => {
    dp.endpoint(f.a, { ifindex: 9, identity: ID.A, id: 1 });
    dp.endpoint(f.node, { identity: 1, flags: 1 | 8 });
    dp.ipcache(`${f.c}/${f.prefix.includes(":") ? 128 : 32}`, ID.C, f.otherNode, 1);
    dp.events();
  });

  function expectPassed(packet: Uint8Array): void {
    const { verdict, out } = wire.xdp(dp, packet);
    expect(verdict).toBe(XdpVerdict.PASS);
    expect(out).toEqual(packet);
  }

  test("to another node is opened and sent, with a record", () => {
    dp.service(7, web, [remote], served);
    const { verdict, out } = wire.xdp(dp, dial());
    expect(verdict).toBe(XdpVerdict.TX);
    const row = readFlow(dp, flow);
    expect(row).toMatchObject({ kind: FlowKind.SNAT, backendId: 700, flags: 0, natAddr: mapped(f.node) });
    expect(row?.natPort).toBeGreaterThanOrEqual(dp.config.natPortMin);
    expect(dissect(out)).toMatchObject({
      src: f.node,
      sport: row?.natPort,
      dst: f.c,
      dport: 8080,
      dmac: macs.otherNode,
      ttl: 63,
      wrong: [],
    });
    expect(readReverse(dp, { ...flow, natPort: row?.natPort ?? 0 })).toMatchObject({
      addr: mapped(f.world),
      port: flow.clientPort,
      frontend: mapped(f.node),
      frontendPort: 30080,
    });
    const [event, ...more] = dp.events();
    expect(more).toEqual([]);
    expect(event).toMatchObject({
      type: EventType.TRACE,
      subtype: 11,
      reason: 0,
      srcIdentity: f.worldIdentity,
      dstIdentity: ID.C,
      sport: row?.natPort,
      dport: 8080,
      origDport: 30080,
      ifindex: wire.ifindex,
      len: dial().length,
    });
    expect((event?.flags ?? 0) & EventFlags.TRANSLATED).toBe(EventFlags.TRANSLATED);
    expect([event?.saddr, event?.daddr, event?.origDaddr].map((a) => text(a ?? new Uint8Array(16)))).toEqual([
      f.node,
      f.c,
      f.node,
    ]);
  });

  test("a whole TCP connection goes through here, both ways, to its end", () => {
    const conn = forwardedOf(f, Proto.TCP);
    dp.service(7, { ...web, proto: Proto.TCP }, [remote], served);
    const request = (flags: number) =>
      tcp({ ...fromGateway, src: f.world, dst: f.node, sport: 40000, dport: 30080, flags });
    const sent = wire.xdp(dp, request(Tcp.SYN));
    expect(sent.verdict).toBe(XdpVerdict.TX);
    const { sport: natPort = 0 } = dissect(sent.out);
    const reply = (flags: number) =>
      tcp({
        smac: macs.otherNode,
        dmac: macs.node,
        src: f.c,
        dst: f.node,
        sport: 8080,
        dport: natPort,
        flags,
      });
    expect(readFlow(dp, conn)?.flags).toBe(0);
    const steps = [
      [reply(Tcp.SYN | Tcp.ACK), FlowFlags.SEEN_REPLY],
      [request(Tcp.ACK), FlowFlags.SEEN_REPLY],
      [request(Tcp.FIN | Tcp.ACK), FlowFlags.SEEN_REPLY | FlowFlags.FIN_CLIENT],
      [reply(Tcp.RST), FlowFlags.SEEN_REPLY | FlowFlags.FIN_CLIENT | FlowFlags.CLOSED],
    ] as const;
    for (const [packet, flags] of steps) {
      const { verdict, out } = wire.xdp(dp, packet);
      expect(verdict).toBe(XdpVerdict.TX);
      expect(dissect(out).wrong).toEqual([]);
      expect(readFlow(dp, conn)?.flags).toBe(flags);
    }
    expect(dp.events()).toHaveLength(1);
  });

  test("to a pod of this node is opened, and the packet passed up", () => {
    dp.service(7, web, [local], served);
    expectPassed(dial());
    expect(readFlow(dp, flow)).toMatchObject({ kind: FlowKind.LOCAL, backendId: 700 });
    expect(dp.events()).toEqual([]);
  });

  test("to this node's own stack is opened, and the packet passed up", () => {
    dp.service(7, web, [host], served);
    expectPassed(dial());
    expect(readFlow(dp, flow)).toMatchObject({ kind: FlowKind.HOST, backendId: 700 });
    expect(dp.events()).toMatchObject([{ type: EventType.TRACE, subtype: 2, origDport: 30080 }]);
  });

  test("whose next hop is unknown is opened, and the packet passed up for the kernel to ask", async () => {
    dp.service(7, web, [remote], served);
    await wire.forget(f.otherNode);
    try {
      expectPassed(dial());
    } finally {
      await wire.learn(f.otherNode, macs.otherNode);
    }
    expect(readFlow(dp, flow)).toMatchObject({ kind: FlowKind.SNAT });
    expect(wire.xdp(dp, dial()).verdict).toBe(XdpVerdict.TX);
    expect(dp.events()).toHaveLength(1);
  });

  test.each([
    ["of a Service with direct return", [remote], { ...served, forwarding: 1 }],
    ["of a Service without backends", [], served],
    ["of a Service for clients of the cluster only", [remote], { flags: SvcFlags.CLUSTERIP }],
    [
      "of a client outside of the source ranges",
      [remote],
      { flags: SvcFlags.NODEPORT | SvcFlags.SOURCE_RANGES },
    ],
  ])("%s is tc's to open or to refuse", (_, backends, change) => {
    dp.service(7, web, backends, change);
    expectPassed(dial());
    expect(readFlow(dp, flow)).toBeUndefined();
    expect(dp.events()).toEqual([]);
  });

  test("that cannot be forwarded at all is not opened", () => {
    dp.service(7, web, [remote], served);
    expectPassed(udp({ ...fromGateway, src: f.world, dst: f.node, sport: 40000, dport: 30080, ttl: 1 }));
    const large = { src: f.world, dst: f.node, sport: 40000, dport: 30080, payload: new Uint8Array(1500) };
    expectPassed(udp({ ...fromGateway, ...large }));
    expect(readFlow(dp, flow)).toBeUndefined();
  });

  test("in the name of a pod of this node is tc's to drop", () => {
    dp.service(7, web, [remote], served);
    expectPassed(dial({ client: f.a }));
    expect(readFlow(dp, { ...flow, client: f.a })).toBeUndefined();
    expect(dp.counted(DropReason.INVALID_SOURCE_IP, 0)).toBe(0n);
  });

  test("has any backend equally often, wherever it is", () => {
    dp.service(7, web, [remote, local, host, { ip: f.otherNode, port: 1 }], served);
    const hits = new Map<number, number>();
    for (let clientPort = 1000; clientPort < 1900; clientPort++) {
      wire.xdp(dp, dial({ clientPort }));
      const id = readFlow(dp, { ...flow, clientPort })?.backendId ?? -1;
      hits.set(id, (hits.get(id) ?? 0) + 1);
    }
    expect([...hits.keys()].sort()).toEqual([700, 701, 702, 703]);
    for (const count of hits.values()) expect(count).toBeGreaterThan(160);
  });
});

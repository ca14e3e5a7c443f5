import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ConfigFlags, SvcFlags } from "@axoneme/abi";
import { parseMac } from "@axoneme/base";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { u8 } from "./bytes.ts";
import { Datapath, Verdict } from "./datapath.ts";
import { dissect } from "./dissect.ts";
import { forwardedOf, putFlow } from "./flows.ts";
import { echo, ip, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { families, ID, v4 } from "./scene.ts";
import { fromGateway, fromOtherNode, macs, Wire, XdpVerdict } from "./wire.ts";

/**
 * One node, the same rows: what xdp_lb sends, node_from would have sent, byte for byte from the IP header on; what it
 * passes up is as it came; what it drops, node_from drops.
 */
const pinDir = `/sys/fs/bpf/axdiff-${process.pid}`;
let xdp: Datapath;
let node: Datapath;
let wire: Wire;
const flows = families.flatMap((f) => [forwardedOf(f, Proto.TCP), forwardedOf(f, Proto.UDP)]);

const seeds = flows.flatMap((flow) => {
  const make = (ends: Parameters<typeof tcp>[0]) => (flow.proto === Proto.TCP ? tcp(ends) : udp(ends));
  const request = {
    ...fromGateway,
    src: flow.client,
    dst: flow.frontend,
    sport: flow.clientPort,
    dport: flow.frontendPort,
  };
  const reply = {
    ...fromOtherNode,
    src: flow.backend,
    dst: flow.f.node,
    sport: flow.backendPort,
    dport: flow.natPort,
  };
  const quoted = ip({ src: flow.f.node, dst: flow.backend }, flow.proto, udpDatagram(reply));
  return [
    make({ ...request, payload: u8(1, 2, 3, 4, 5) }),
    make({ ...request, flags: Tcp.SYN, sport: 41000 }),
    make({ ...request, dport: 30090 }),
    make({ ...reply, payload: new Uint8Array(40) }),
    make({ ...reply, flags: Tcp.FIN | Tcp.ACK }),
    make({ ...reply, flags: Tcp.RST }),
    make({ ...request, moreFragments: true, payload: new Uint8Array(16) }),
    make({ ...request, ttl: 2 }),
    echo({ ...fromGateway, src: flow.client, dst: flow.frontend, id: 1 }),
    unreachable({ ...fromOtherNode, src: flow.backend, dst: flow.f.node }, quoted),
  ];
});
seeds.push(
  udp({ ...fromGateway, src: v4.world, dst: v4.node, sport: 40000, dport: 30080, noChecksum: true }),
);

beforeAll(async () => {
  wire = await Wire.create();
  mkdirSync(join(pinDir, "maps"), { recursive: true });
  xdp = new Datapath("xdp", pinDir);
  node = new Datapath("node", pinDir);
});
afterAll(async () => {
  for (const dp of [xdp, node]) dp.close();
  rmSync(pinDir, { recursive: true, force: true });
  await wire.remove();
});
beforeEach(() => {
  node.reset();
  node.configure({
    flags: ConfigFlags.IPV4 | ConfigFlags.IPV6 | ConfigFlags.SERVICES,
    deviceIfindex: wire.ifindex,
    natPortMin: 50_000,
    deviceMac: parseMac(macs.node),
  });
  for (const f of families) {
    node.endpoint(f.a, { ifindex: 9, identity: ID.A, id: 1 });
    node.endpoint(f.node, { identity: 1, flags: 1 | 8 });
    node.ipcache(`${f.c}/${f === v4 ? 32 : 128}`, ID.C, f.otherNode, 1);
    node.ipcache(`${f.otherNode}/${f === v4 ? 32 : 128}`, 6);
    [Proto.TCP, Proto.UDP].forEach((proto, i) => {
      const web = { ip: f.node, port: 30080, proto };
      node.service((f === v4 ? 10 : 20) + i, web, [{ ip: f.c, port: 8080 }], { flags: SvcFlags.NODEPORT });
      const mixed = [
        { ip: f.a, port: 80, local: true },
        { ip: f.c, port: 81 },
        { ip: f.otherNode, port: 82 },
      ];
      node.service((f === v4 ? 30 : 40) + i, { ...web, port: 30090 }, mixed, { flags: SvcFlags.NODEPORT });
    });
  }
});

function putFlows(): void {
  for (const [i, flow] of flows.entries()) putFlow(node, { ...flow, backendId: 9000 + i });
}

/** Both on one packet; the verdict of XDP. */
function both(packet: Uint8Array): number {
  const early = wire.xdp(xdp, packet);
  const late = wire.tc(node, "node_from", packet);
  const hex = Buffer.from(packet).toString("hex");
  if (early.verdict === XdpVerdict.PASS) {
    expect(Buffer.from(early.out).toString("hex")).toBe(hex);
  } else if (early.verdict === XdpVerdict.TX) {
    expect(late.verdict, hex).toBe(Verdict.REDIRECT);
    expect(Buffer.from(early.out.subarray(14)).toString("hex"), hex).toBe(
      Buffer.from(late.out.subarray(14)).toString("hex"),
    );
  } else {
    expect([early.verdict, late.verdict], hex).toEqual([XdpVerdict.DROP, Verdict.DROP]);
  }
  return early.verdict;
}

/** A SYN that ends what it opens: seen a second time it opens another flow, under another port. */
function endsAtOnce(frame: Uint8Array): boolean {
  const l4 = frame[12] === 0x08 ? 34 : 54;
  const isTcp = frame[frame[12] === 0x08 ? 23 : 20] === Proto.TCP;
  const flags = frame[l4 + 13] ?? 0;
  return isTcp && (flags & Tcp.SYN) !== 0 && (flags & (Tcp.FIN | Tcp.RST)) !== 0;
}

/** The kernel refuses test runs of tc whose packet ends within the IP header. */
function canRun(frame: Uint8Array): boolean {
  const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  return frame.length >= (type === 0x0800 ? 34 : type === 0x86dd ? 54 : 14);
}

test("every kind of packet, in turn, in one life of the rows", () => {
  putFlows();
  let sent = 0;
  for (const packet of [...seeds, ...seeds]) {
    if (both(packet) !== XdpVerdict.TX) continue;
    sent++;
    expect(dissect(wire.xdp(xdp, packet).out).wrong).toEqual([]);
  }
  expect(sent).toBeGreaterThan(seeds.length / 2);
});

test("packets with changed bytes", () => {
  putFlows();
  const change = fc.array(fc.tuple(fc.nat({ max: 110 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  let sent = 0;
  fc.assert(
    fc.property(fc.constantFrom(...seeds), change, (seed, changes) => {
      const bytes = Uint8Array.from(seed);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      fc.pre(canRun(bytes) && !endsAtOnce(bytes));
      if (both(bytes) === XdpVerdict.TX) sent++;
      node.events();
    }),
    { numRuns: 4000 },
  );
  expect(sent).toBeGreaterThan(200);
});

test("any ports, addresses of clients, and payloads", () => {
  const port = fc.integer({ min: 1, max: 65535 });
  let sent = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...families),
      fc.boolean(),
      port,
      fc.integer({ min: 1, max: 254 }),
      fc.constantFrom(30080, 30090),
      fc.uint8Array({ maxLength: 200 }),
      (f, isTcp, sport, last, dport, payload) => {
        const src = f === v4 ? `192.0.2.${last}` : `2001:db8::${last.toString(16)}`;
        const frame = { ...fromGateway, src, dst: f.node, sport, dport, payload };
        const packet = isTcp ? tcp({ ...frame, flags: Tcp.SYN }) : udp(frame);
        if (both(packet) === XdpVerdict.TX) sent++;
        node.events();
      },
    ),
    { numRuns: 2000 },
  );
  expect(sent).toBeGreaterThan(1000);
});

test("random bytes", () => {
  putFlows();
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 54, maxLength: 256 }),
      fc.constantFrom(0x0800, 0x86dd, 0x0806, 0x8100),
      (bytes, type) => {
        bytes.set([type >> 8, type & 255], 12);
        both(bytes);
        node.events();
      },
    ),
    { numRuns: 1500 },
  );
});

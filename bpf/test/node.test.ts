import { CtFlags, CtPath, DropReason, EventType, IpcacheFlags } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, text, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { arp, echo, icmp, ip, Proto, Tcp, tcp, tcpSegment, udp, udpDatagram, unreachable } from "./packet.ts";
import { type Family, families, guarded, ID, peopled, v4 } from "./scene.ts";

const MARK_DONE = 0x0300;
const MARK_POD = (ID.A << 16) | 0x0f00;
const MARK_OVERLAY = 0x0400;

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
beforeEach(() => dp.reset());

const arrives = (data: Uint8Array) => dp.run("node_from", data, { ifindex: dev.native });
const leaves = (data: Uint8Array, mark = MARK_POD) => dp.run("node_to", data, { ifindex: dev.native, mark });

function masquerading(): void {
  peopled(dp, dev);
  dp.configure({ flags: dp.config.flags | 8 | 16 });
}

const blankSide = {
  identity: 0,
  ruleId: 0,
  lastReportS: 0,
  nexthop: new Uint8Array(16),
  tcpFlags: 0xff,
  nexthopPort: 0,
  proxyRules: 0,
  process: 0,
};

function nowS(): number {
  return Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));
}

/** The entry pod_from makes for a pod's connection to the world. */
function connection(
  f: Family,
  proto: number,
  sport: number,
  dport: number,
  flags: number = CtFlags.MASQUERADE,
): void {
  const pod = { ...blankSide, ifindex: dev.a, epId: 1, path: CtPath.PEER };
  const world = { ...blankSide, ifindex: dev.native, epId: 0, path: CtPath.NEIGH };
  const common = {
    proto,
    epoch: dp.config.epoch,
    expiresS: nowS() + 60,
    frontend: new Uint8Array(16),
    frontendPort: 0,
    createdS: nowS(),
  };
  const podFirst = Buffer.compare(mapped(f.a), mapped(f.world)) < 0;
  dp.putConnection(
    podFirst
      ? {
          ...common,
          flags,
          a: mapped(f.a),
          aport: sport,
          b: mapped(f.world),
          bport: dport,
          side: [pod, world],
        }
      : {
          ...common,
          flags: flags | CtFlags.INITIATOR_B,
          a: mapped(f.world),
          aport: dport,
          b: mapped(f.a),
          bport: sport,
          side: [world, pod],
        },
  );
}

describe.each(families)("masquerading, $name", (f) => {
  const out = { src: f.a, dst: f.world, sport: 40000, dport: 443 };

  test("a pod's packet leaves with the node's address and its own port, the reply finds back", () => {
    masquerading();
    connection(f, Proto.TCP, 40000, 443);
    const left = leaves(tcp({ ...out, flags: Tcp.SYN }));
    expect(left.verdict).toBe(Verdict.PASS);
    expect(left.mark).toBe(MARK_DONE);
    expect(dissect(left.out)).toMatchObject({
      src: f.node,
      dst: f.world,
      sport: 40000,
      dport: 443,
      wrong: [],
    });
    const back = arrives(
      tcp({ src: f.world, dst: f.node, sport: 443, dport: 40000, flags: Tcp.SYN | Tcp.ACK }),
    );
    expect(back.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(back.out)).toMatchObject({ src: f.world, dst: f.a, sport: 443, dport: 40000, wrong: [] });
    expect(dp.mappings()).toHaveLength(2);
  });

  test("every packet of a flow gets the same port", () => {
    masquerading();
    const ports = Array.from({ length: 5 }, () => dissect(leaves(udp({ ...out, sport: 100 })).out).sport);
    expect(new Set(ports).size).toBe(1);
    expect(ports[0]).toBeGreaterThanOrEqual(32768);
    expect(dp.mappings()).toHaveLength(2);
  });

  test("two pods with the same port to the same place get different ones", () => {
    masquerading();
    const a = dissect(leaves(udp(out)).out).sport;
    const b = dissect(leaves(udp({ ...out, src: f.b })).out).sport;
    expect(a).toBe(40000);
    expect(b).not.toBe(a);
  });

  test("to another place the port may be shared", () => {
    masquerading();
    const a = dissect(leaves(udp(out)).out).sport;
    const b = dissect(leaves(udp({ ...out, src: f.b, dport: 444 })).out).sport;
    expect([a, b]).toEqual([40000, 40000]);
  });

  test("when the ports run out, the packet is dropped", () => {
    masquerading();
    dp.configure({ natPortMin: 50000, natPortMax: 50001 });
    const verdicts = [1, 2, 3].map((sport) => leaves(udp({ ...out, sport })).verdict);
    expect(verdicts).toEqual([Verdict.PASS, Verdict.PASS, Verdict.DROP]);
    expect(dp.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.NAT_NO_MAPPING });
  });

  test("a mapping of an address the node has lost is made anew", () => {
    masquerading();
    leaves(udp(out));
    const nodeIp = mapped(f.otherNode);
    dp.configure(f.name === "IPv4" ? { nodeIp4: nodeIp } : { nodeIp6: nodeIp });
    expect(dissect(leaves(udp(out)).out)).toMatchObject({ src: f.otherNode, wrong: [] });
  });

  test("echo requests are told apart by their id", () => {
    masquerading();
    connection(f, f.icmp, 7, 7);
    const left = dissect(leaves(echo({ src: f.a, dst: f.world, id: 7 })).out);
    expect(left).toMatchObject({ src: f.node, wrong: [] });
    expect(left.id).toBeGreaterThanOrEqual(32768);
    const back = arrives(echo({ src: f.world, dst: f.node, id: left.id ?? 0, reply: true }));
    expect(back.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(back.out)).toMatchObject({ dst: f.a, id: 7, wrong: [] });
  });

  test("a router's error about a masqueraded packet reaches the pod, quoting the pod's own packet", () => {
    masquerading();
    connection(f, Proto.UDP, 100, 443);
    const sent = dissect(leaves(udp({ ...out, sport: 100 })).out);
    const quotedOut = { src: f.node, dst: f.world, sport: sent.sport ?? 0, dport: 443 };
    for (const cut of [undefined, f.name === "IPv4" ? 28 : 48]) {
      const quoted = ip(quotedOut, Proto.UDP, udpDatagram(quotedOut));
      const error = unreachable({ src: f.otherNode, dst: f.node }, quoted, cut);
      const { verdict, out: seen } = arrives(error);
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(seen)).toMatchObject({
        src: f.otherNode,
        dst: f.a,
        wrong: [],
        quoted: { src: f.a, dst: f.world, sport: 100, dport: 443 },
      });
    }
  });

  test("the pod's error about a reply leaves as the node's", () => {
    masquerading();
    connection(f, Proto.TCP, 100, 443);
    const { sport = 0 } = dissect(leaves(tcp({ ...out, sport: 100, flags: Tcp.SYN })).out);
    const got = { src: f.world, dst: f.a, sport: 443, dport: 100 };
    const left = leaves(unreachable({ src: f.a, dst: f.world }, ip(got, Proto.TCP, tcpSegment(got))));
    expect(left.verdict).toBe(Verdict.PASS);
    expect(dissect(left.out)).toMatchObject({
      src: f.node,
      dst: f.world,
      wrong: [],
      quoted: { src: f.world, dst: f.node, sport: 443, dport: sport },
    });
  });

  test("a pod's packet that came through the stack unmarked asks its connection", () => {
    masquerading();
    connection(f, Proto.UDP, 40000, 443);
    expect(dissect(leaves(udp(out), 0).out).src).toBe(f.node);
    connection(f, Proto.UDP, 40000, 443, 0);
    dp.map("ax_nat").clear();
    expect(dissect(leaves(udp(out), 0).out).src).toBe(f.a);
  });

  test.each([MARK_DONE, MARK_OVERLAY])("mark %s: nothing is touched", (mark) => {
    masquerading();
    const packet = udp(out);
    expect(leaves(packet, mark)).toEqual({ verdict: Verdict.PASS, out: packet, mark });
  });

  test("without masquerading nothing is touched", () => {
    peopled(dp, dev);
    const packet = udp(out);
    expect(leaves(packet).out).toEqual(packet);
  });

  test("the host's own packet passes untouched, unless a pod has its port to that place", () => {
    masquerading();
    const own = { src: f.node, dst: f.world, sport: 40000, dport: 443 };
    expect(leaves(udp(own), 0).out).toEqual(udp(own));
    leaves(udp(out));
    const moved = dissect(leaves(udp(own), 0).out);
    expect(moved.src).toBe(f.node);
    expect(moved.sport).not.toBe(40000);
    expect(dissect(leaves(udp(own), 0).out).sport).toBe(moved.sport);
    const back = arrives(udp({ src: f.world, dst: f.node, sport: 443, dport: moved.sport ?? 0 }));
    expect(back.verdict).toBe(Verdict.PASS);
    expect(dissect(back.out)).toMatchObject({ dst: f.node, dport: 40000, wrong: [] });
  });

  test("SCTP keeps its port or is refused: its checksum is not ours to mend", () => {
    masquerading();
    const sctp = (sport: number) => {
      const packet = udp({ ...out, sport, payload: new Uint8Array(8) });
      packet[f.name === "IPv4" ? 23 : 20] = Proto.SCTP;
      return leaves(packet);
    };
    expect(sctp(40000).verdict).toBe(Verdict.PASS);
    expect(sctp(100).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]?.subtype).toBe(DropReason.NAT_UNSUPPORTED);
  });
});

describe.each(families)("from the wire, $name", (f) => {
  const toB = { src: f.c, dst: f.b, sport: 1000, dport: 80, flags: Tcp.SYN };

  test("the other node's pod is known by the ipcache and judged by the receiver's policy", () => {
    guarded(dp, dev);
    expect(arrives(tcp(toB)).verdict).toBe(Verdict.DROP);
    dp.policyRow({ policy: 2, dir: "ingress", peer: ID.C, proto: Proto.TCP, port: 80, rule: 33 });
    const packet = tcp(toB);
    expect(arrives(packet)).toMatchObject({ verdict: Verdict.REDIRECT, out: packet });
    const [dropped, allowed] = dp.events();
    expect(dropped).toMatchObject({ type: EventType.DROP, srcIdentity: ID.C, dstEp: 2 });
    expect(allowed).toMatchObject({ type: EventType.POLICY_VERDICT, ruleIngress: 33, srcEp: 0 });
    const remote = dp.connections()[0]?.side.find((s) => s.epId === 0);
    expect(remote).toMatchObject({ path: CtPath.DIRECT, ifindex: dev.native });
    expect(text(remote?.nexthop ?? new Uint8Array(16))).toBe(f.otherNode);
  });

  test("an address nobody knows is the world", () => {
    guarded(dp, dev);
    arrives(tcp({ ...toB, src: f.world }));
    expect(dp.events()[0]).toMatchObject({ srcIdentity: f.worldIdentity });
    dp.configure({ flags: f.name === "IPv4" ? 1 : 2 });
    arrives(tcp({ ...toB, src: f.world }));
    expect(dp.events()[0]).toMatchObject({ srcIdentity: 2 });
  });

  test.each(["a", "node"] as const)("who claims to be this node's own %s is dropped", (who) => {
    peopled(dp, dev);
    expect(arrives(tcp({ ...toB, src: f[who] })).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]?.subtype).toBe(DropReason.INVALID_SOURCE_IP);
  });

  test("not even by a connection inside the node", () => {
    peopled(dp, dev);
    connectionInside(f);
    expect(arrives(tcp({ src: f.a, dst: f.b, sport: 40000, dport: 80, flags: Tcp.ACK })).verdict).toBe(
      Verdict.DROP,
    );
  });

  test("the established connection passes without policy, both plain and changing", () => {
    guarded(dp, dev);
    connection(f, Proto.UDP, 40000, 443, 0);
    const reply = () => arrives(udp({ src: f.world, dst: f.a, sport: 443, dport: 40000 })).verdict;
    expect([reply(), reply(), reply()]).toEqual([Verdict.REDIRECT, Verdict.REDIRECT, Verdict.REDIRECT]);
    expect((dp.connections()[0]?.flags ?? 0) & CtFlags.SEEN_REPLY).toBe(CtFlags.SEEN_REPLY);
  });

  test("an error about an established connection passes, another is dropped", () => {
    guarded(dp, dev);
    connection(f, Proto.UDP, 40000, 443, 0);
    const sent = { src: f.a, dst: f.world, sport: 40000, dport: 443 };
    const quoted = ip(sent, Proto.UDP, udpDatagram(sent));
    expect(arrives(unreachable({ src: f.otherNode, dst: f.a }, quoted)).verdict).toBe(Verdict.REDIRECT);
    dp.map("ax_ct").clear();
    expect(arrives(unreachable({ src: f.otherNode, dst: f.a }, quoted)).verdict).toBe(Verdict.DROP);
  });

  test("what is for the host or passes through is the stack's", () => {
    masquerading();
    for (const dst of [f.node, f.c, f.world]) {
      const packet = tcp({ src: f.otherNode, dst, sport: 1, dport: 22, flags: Tcp.SYN });
      expect(arrives(packet)).toMatchObject({ verdict: Verdict.PASS, out: packet });
    }
    expect(dp.connections()).toEqual([]);
    expect(dp.events()).toEqual([]);
  });

  test("neighbour discovery and multicast are the stack's", () => {
    peopled(dp, dev);
    expect(arrives(arp({ op: 1, sip: v4.otherNode, tip: v4.node })).verdict).toBe(Verdict.PASS);
    const group = f.name === "IPv4" ? "224.0.0.1" : "ff02::1";
    expect(arrives(udp({ src: f.otherNode, dst: group, sport: 1, dport: 2 })).verdict).toBe(Verdict.PASS);
    if (f.name === "IPv6") {
      const advert = icmp({
        src: f.otherNode,
        dst: f.node,
        type: 136,
        ttl: 255,
        payload: new Uint8Array(16),
      });
      expect(arrives(advert).verdict).toBe(Verdict.PASS);
    }
  });

  test("an ipcache row names the way back", () => {
    peopled(dp, dev);
    dp.ipcache(`${f.world}/${f.name === "IPv4" ? 32 : 128}`, 0x01000001, f.otherNode, IpcacheFlags.DIRECT);
    arrives(tcp({ ...toB, src: f.world }));
    expect(dp.connections()[0]?.side.find((s) => s.epId === 0)?.identity).toBe(0x01000001);
  });
});

function connectionInside(f: Family): void {
  const side = { ...blankSide, lastReportS: nowS(), path: CtPath.PEER };
  dp.putConnection({
    a: mapped(f.a),
    b: mapped(f.b),
    aport: 40000,
    bport: 80,
    proto: Proto.TCP,
    epoch: dp.config.epoch,
    expiresS: nowS() + 8000,
    flags: CtFlags.SEEN_REPLY,
    frontend: new Uint8Array(16),
    frontendPort: 0,
    createdS: nowS(),
    side: [
      { ...side, ifindex: dev.a, epId: 1 },
      { ...side, ifindex: dev.b, epId: 2 },
    ],
  });
}

import {
  ConfigFlags,
  CtFlags,
  CtPath,
  DropReason,
  EventFlags,
  EventType,
  PolicyVerdict,
  TraceReason,
} from "@axoneme/abi";
import { waitFor } from "@axoneme/base";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, text, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { echo, icmp, ip, other, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { type Family, families, guarded, guardedBothWays, ID, peopled, RULE } from "./scene.ts";

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
beforeEach(() => dp.reset());

const fromA = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.a });
const fromB = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.b });

function request(f: Family, dport = 80, flags: number = Tcp.SYN): Uint8Array {
  return tcp({ src: f.a, dst: f.b, sport: 40000, dport, flags });
}

function reply(f: Family, flags: number = Tcp.SYN | Tcp.ACK): Uint8Array {
  return tcp({ src: f.b, dst: f.a, sport: 80, dport: 40000, flags });
}

interface Row {
  sentence: string;
  given?: (dp: Datapath, dev: Devices) => void;
  packet: (f: Family) => Uint8Array;
  from?: "a" | "b";
  verdict: number;
  reason?: number;
}

const rows: Row[] = [
  {
    sentence: "a SYN to a pod of the node goes straight into it",
    packet: request,
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "UDP to a pod of the node goes straight into it",
    packet: (f) => udp({ src: f.a, dst: f.b, sport: 5000, dport: 53 }),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "an echo request to a pod of the node goes straight into it",
    packet: (f) => echo({ src: f.a, dst: f.b, id: 7 }),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "SCTP is tracked like the others",
    packet: (f) => other({ src: f.a, dst: f.b }, Proto.SCTP),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "a packet to this node goes up its stack",
    packet: (f) => tcp({ src: f.a, dst: f.node, sport: 1, dport: 10250, flags: Tcp.SYN }),
    verdict: Verdict.PASS,
  },
  {
    sentence: "a packet to a pod of a neighbouring node leaves by the shared link",
    packet: (f) => tcp({ src: f.a, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN }),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "a source address that is another pod's is dropped",
    packet: (f) => tcp({ src: f.b, dst: f.node, sport: 1, dport: 80, flags: Tcp.SYN }),
    verdict: Verdict.DROP,
    reason: DropReason.INVALID_SOURCE_IP,
  },
  {
    sentence: "a source address that is nobody's is dropped",
    packet: (f) => tcp({ src: f.world, dst: f.b, sport: 1, dport: 80, flags: Tcp.SYN }),
    verdict: Verdict.DROP,
    reason: DropReason.INVALID_SOURCE_IP,
  },
  {
    sentence: "a source address that is the node's is dropped",
    packet: (f) => tcp({ src: f.node, dst: f.b, sport: 1, dport: 80, flags: Tcp.SYN }),
    verdict: Verdict.DROP,
    reason: DropReason.INVALID_SOURCE_IP,
  },
  {
    sentence: "an allowed peer and port passes the policy",
    given: guardedBothWays,
    packet: request,
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "a port no rule of the receiver names is dropped",
    given: guarded,
    packet: (f) => request(f, 81),
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "a port no rule of the sender names is dropped before the receiver is asked",
    given: guardedBothWays,
    packet: (f) => request(f, 81),
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "a protocol no rule names is dropped",
    given: guarded,
    packet: (f) => udp({ src: f.a, dst: f.b, sport: 1, dport: 80 }),
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "an ICMP type a rule names passes",
    given: guarded,
    packet: (f) => echo({ src: f.a, dst: f.b, id: 9 }),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "an ICMP type no rule names is dropped",
    given: guarded,
    packet: (f) => icmp({ src: f.a, dst: f.b, type: f.echoType === 8 ? 13 : 139 }),
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "an explicit deny of higher precedence beats the allow, with its own reason",
    given: (d, devices) => {
      guarded(d, devices);
      const deny = { rule: RULE.B_DENY, precedence: 255, verdict: PolicyVerdict.DENY };
      d.policyRow({ policy: 2, dir: "ingress", peer: ID.A, ...deny });
    },
    packet: request,
    verdict: Verdict.DROP,
    reason: DropReason.POLICY_DENY,
  },
  {
    sentence: "an endpoint whose policy has no rows yet is closed",
    given: (d, devices) => {
      peopled(d, devices);
      for (const f of families) d.endpoint(f.b, { ifindex: devices.b, identity: ID.B, id: 2, policyId: 77 });
    },
    packet: request,
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "a rule that asks for a proxy lets nothing pass beside it",
    given: (d, devices) => {
      guarded(d, devices);
      d.policyRow({
        policy: 2,
        dir: "ingress",
        peer: ID.A,
        proto: Proto.TCP,
        port: 80,
        rule: 5,
        proxyPort: 10001,
      });
    },
    packet: request,
    verdict: Verdict.DROP,
    reason: DropReason.POLICY_DENY,
  },
  {
    sentence: "a port range is one row",
    given: (d, devices) => {
      guarded(d, devices);
      d.policyRow({ policy: 2, dir: "ingress", proto: Proto.TCP, port: 8192, bits: 3, rule: 31 });
    },
    packet: (f) => request(f, 16383),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "the port after the range is not in it",
    given: (d, devices) => {
      guarded(d, devices);
      d.policyRow({ policy: 2, dir: "ingress", proto: Proto.TCP, port: 8192, bits: 3, rule: 31 });
    },
    packet: (f) => request(f, 16384),
    verdict: Verdict.DROP,
    reason: DropReason.POLICY,
  },
  {
    sentence: "audit mode of the node reports and lets pass",
    given: (d, devices) => {
      guarded(d, devices);
      d.configure({ flags: d.config.flags | 32 });
    },
    packet: (f) => request(f, 81),
    verdict: Verdict.REDIRECT,
  },
  {
    sentence: "a protocol without ports that we do not know is dropped",
    packet: (f) => other({ src: f.a, dst: f.b }, 47),
    verdict: Verdict.DROP,
    reason: DropReason.CT_UNKNOWN_PROTO,
  },
  {
    sentence: "ICMP of the other family is dropped",
    packet: (f) => other({ src: f.a, dst: f.b }, f.icmp === Proto.ICMP ? Proto.ICMPV6 : Proto.ICMP),
    verdict: Verdict.DROP,
    reason: DropReason.CT_UNKNOWN_PROTO,
  },
  {
    sentence: "an ICMP error about nothing we know is dropped",
    packet: (f) =>
      unreachable(
        { src: f.a, dst: f.b },
        ip({ src: f.b, dst: f.a }, 17, udpDatagram({ src: f.b, dst: f.a, sport: 1, dport: 2 })),
      ),
    verdict: Verdict.DROP,
    reason: DropReason.STALE_OR_UNROUTABLE,
  },
  {
    sentence: "VXLAN made by a pod is dropped where nodes speak VXLAN",
    given: (d, devices) => {
      peopled(d, devices);
      d.configure({ flags: d.config.flags | 4 });
    },
    packet: (f) => udp({ src: f.a, dst: f.otherNode, sport: 1, dport: 8472 }),
    verdict: Verdict.DROP,
    reason: DropReason.ENCAP_PROHIBITED,
  },
];

describe.each(families)("pod_from, $name", (f) => {
  test.each(rows)("$sentence", (row) => {
    (row.given ?? peopled)(dp, dev);
    const packet = row.packet(f);
    const { verdict, out } = dp.run("pod_from", packet, { ifindex: row.from === "b" ? dev.b : dev.a });
    expect(verdict).toBe(row.verdict);
    const drops = dp.events().filter((e) => e.type === EventType.DROP);
    expect(drops.map((e) => e.subtype)).toEqual(row.reason === undefined ? [] : [row.reason]);
    if (row.reason !== undefined) expect(dp.counted(row.reason, 1)).toBe(1n);
    else expect(out).toEqual(packet);
    if (row.reason === undefined) expect(dp.counted(0, 1)).toBe(1n);
    expect(dp.connections()).toHaveLength(row.reason === undefined ? 1 : 0);
  });
});

describe.each(families)("connections of pod_from, $name", (f) => {
  test("one entry holds both decisions, and both directions find it", () => {
    guardedBothWays(dp, dev);
    fromA(request(f));
    expect(fromB(reply(f)).verdict).toBe(Verdict.REDIRECT);
    const [ct, ...others] = dp.connections();
    expect(others).toEqual([]);
    if (!ct) throw new Error("no entry");
    expect([text(ct.a), text(ct.b), ct.aport, ct.bport, ct.proto]).toEqual([f.a, f.b, 40000, 80, Proto.TCP]);
    expect(ct.flags).toBe(CtFlags.SEEN_REPLY);
    const [a, b] = ct.side;
    expect(a).toMatchObject({
      ifindex: dev.a,
      identity: ID.A,
      ruleId: RULE.A_HTTP,
      epId: 1,
      path: CtPath.PEER,
    });
    expect(b).toMatchObject({
      ifindex: dev.b,
      identity: ID.B,
      ruleId: RULE.B_HTTP,
      epId: 2,
      path: CtPath.PEER,
    });
    expect([a.tcpFlags, b.tcpFlags]).toEqual([Tcp.SYN, Tcp.SYN | Tcp.ACK]);
  });

  test("the initiator is remembered when its address is the greater one", () => {
    peopled(dp, dev);
    fromB(tcp({ src: f.b, dst: f.a, sport: 80, dport: 40000, flags: Tcp.SYN }));
    expect(dp.connections()[0]?.flags).toBe(CtFlags.INITIATOR_B);
  });

  test("a reply needs no rule of its own", () => {
    guarded(dp, dev);
    dp.policyHead(2, "egress", 99);
    fromA(request(f));
    expect(fromB(reply(f)).verdict).toBe(Verdict.REDIRECT);
    expect(fromB(tcp({ src: f.b, dst: f.a, sport: 81, dport: 40000, flags: Tcp.SYN })).verdict).toBe(
      Verdict.DROP,
    );
  });

  test("a device may not use the connection of another one", () => {
    peopled(dp, dev);
    fromA(request(f));
    expect(dp.run("pod_from", request(f, 80, Tcp.ACK), { ifindex: dev.b }).verdict).toBe(Verdict.DROP);
    expect(dp.counted(DropReason.INVALID_SOURCE_IP, 1)).toBe(1n);
  });

  test("timeouts follow the connection: SYN, established, closed, new", () => {
    peopled(dp, dev);
    const left = () => {
      const ct = dp.connections()[0];
      return ct ? ct.expiresS - Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n)) : 0;
    };
    const about = (seconds: number) => [seconds - 1, seconds, seconds + 1];
    fromA(request(f));
    expect(about(60)).toContain(left());
    fromB(reply(f));
    expect(about(8000)).toContain(left());
    fromA(request(f, 80, Tcp.FIN | Tcp.ACK));
    expect(about(8000)).toContain(left());
    fromB(reply(f, Tcp.FIN | Tcp.ACK));
    expect(about(10)).toContain(left());
    expect(dp.connections()[0]?.flags).toBe(
      CtFlags.SEEN_REPLY | CtFlags.FIN_A | CtFlags.FIN_B | CtFlags.CLOSED,
    );
    fromA(request(f));
    expect(dp.connections()[0]?.flags).toBe(0);
    expect(about(60)).toContain(left());
  });

  test("who may only answer may not open: its SYN or echo request on the same tuple is judged anew", () => {
    guarded(dp, dev);
    dp.policyHead(2, "egress", 99);
    fromA(request(f));
    fromB(reply(f));
    fromA(echo({ src: f.a, dst: f.b, id: 7 }));
    expect(fromB(echo({ src: f.b, dst: f.a, id: 7, reply: true })).verdict).toBe(Verdict.REDIRECT);
    expect(fromB(echo({ src: f.b, dst: f.a, id: 7 })).verdict).toBe(Verdict.DROP);
    expect(fromB(reply(f, Tcp.SYN)).verdict).toBe(Verdict.DROP);
    expect(fromB(reply(f, Tcp.ACK)).verdict).toBe(Verdict.REDIRECT);
    expect(fromB(echo({ src: f.b, dst: f.a, id: 7, reply: true })).verdict).toBe(Verdict.REDIRECT);
  });

  test("a reset closes", () => {
    peopled(dp, dev);
    fromA(request(f));
    fromB(reply(f, Tcp.RST | Tcp.ACK));
    expect(dp.connections()[0]?.flags).toBe(CtFlags.SEEN_REPLY | CtFlags.CLOSED);
  });

  test("an expired entry is no permission", () => {
    guarded(dp, dev);
    fromA(request(f));
    fromB(reply(f));
    const ct = dp.connections()[0];
    if (!ct) throw new Error("no entry");
    dp.putConnection({ ...ct, expiresS: ct.expiresS - 9000 });
    dp.policyHead(2, "egress", 99);
    expect(fromB(reply(f, Tcp.ACK)).verdict).toBe(Verdict.DROP);
  });

  test("after a change of policy the next packet of either side is judged in the original direction", () => {
    for (const first of ["a", "b"]) {
      dp.reset();
      guarded(dp, dev);
      fromA(request(f));
      fromB(reply(f));
      dp.map("ax_policy").clear();
      const ack = () => fromA(request(f, 80, Tcp.ACK)).verdict;
      const answer = () => fromB(reply(f, Tcp.ACK)).verdict;
      expect([ack(), answer()]).toEqual([Verdict.REDIRECT, Verdict.REDIRECT]);
      dp.nextEpoch();
      const both = first === "a" ? [ack(), answer()] : [answer(), ack()];
      expect(both).toEqual([Verdict.DROP, Verdict.DROP]);
      expect(dp.connections()[0]?.flags).toBe(CtFlags.SEEN_REPLY | CtFlags.REFUSED);
      guarded(dp, dev);
      dp.nextEpoch();
      expect([answer(), ack()]).toEqual([Verdict.REDIRECT, Verdict.REDIRECT]);
      expect(dp.connections()[0]).toMatchObject({ flags: CtFlags.SEEN_REPLY, epoch: dp.config.epoch });
    }
  });

  test("rules on prefixes are about the peer's address, whichever side's packet is judged", () => {
    const [prefixOfA, prefixOfB] = [0x0100_0001, 0x0100_0002];
    peopled(dp, dev);
    const length = f.name === "IPv4" ? 32 : 128;
    dp.cidr(`${f.a}/${length}`, prefixOfA);
    dp.cidr(`${f.b}/${length}`, prefixOfB);
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 1 });
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: 2 });
    dp.policyRow({ policy: 1, dir: "egress", cidr: prefixOfB, rule: RULE.A_HTTP });
    dp.policyRow({ policy: 2, dir: "ingress", cidr: prefixOfA, rule: RULE.B_HTTP });
    dp.policyHead(2, "egress", 99);
    dp.policyHead(1, "ingress", 99);
    expect(fromA(request(f)).verdict).toBe(Verdict.REDIRECT);
    expect(fromB(reply(f)).verdict).toBe(Verdict.REDIRECT);
    dp.nextEpoch();
    expect(fromB(reply(f, Tcp.ACK)).verdict).toBe(Verdict.REDIRECT);
    expect(dp.connections()[0]?.flags).toBe(CtFlags.SEEN_REPLY);
    for (const [flags, is] of [
      [ConfigFlags.CIDR_NOT_PODS, Verdict.DROP],
      [0, Verdict.REDIRECT],
    ] as const) {
      dp.configure({ flags: ConfigFlags.IPV4 | ConfigFlags.IPV6 | flags });
      dp.nextEpoch();
      expect(fromB(reply(f, Tcp.ACK)).verdict).toBe(is);
    }
    // Within a longer prefix that no rule reaches.
    dp.cidr(`${f.b}/${length}`, 0x0100_0003);
    dp.nextEpoch();
    expect(fromA(request(f, 80, Tcp.ACK)).verdict).toBe(Verdict.DROP);
  });

  test("an established connection survives the loss of the map when policy allows its packets", () => {
    guarded(dp, dev);
    expect(fromA(request(f, 80, Tcp.ACK)).verdict).toBe(Verdict.REDIRECT);
    expect(fromA(request(f, 81, Tcp.ACK)).verdict).toBe(Verdict.DROP);
  });

  test("an ICMP error about a connection passes without policy, one about a stranger's does not", () => {
    guarded(dp, dev);
    dp.policyHead(2, "egress", 99);
    const sent = { src: f.a, dst: f.b, sport: 40000, dport: 80 };
    fromA(tcp({ ...sent, flags: Tcp.SYN }));
    const quoted = ip(sent, Proto.TCP, udpDatagram(sent));
    expect(fromB(unreachable({ src: f.b, dst: f.a }, quoted)).verdict).toBe(Verdict.REDIRECT);
    expect(dp.events().at(-1)).toMatchObject({ type: EventType.TRACE, reason: TraceReason.RELATED });
    expect(fromB(unreachable({ src: f.b, dst: f.node }, quoted)).verdict).toBe(Verdict.DROP);
    expect(fromA(unreachable({ src: f.a, dst: f.a }, quoted)).verdict).toBe(Verdict.DROP);
  });

  test("a new next hop is taken up with the next epoch", () => {
    peopled(dp, dev);
    const packet = tcp({ src: f.a, dst: f.c, sport: 1, dport: 80, flags: Tcp.ACK });
    fromA(packet);
    dp.map("ax_ipcache").clear();
    expect(fromA(packet).verdict).toBe(Verdict.REDIRECT);
    dp.nextEpoch();
    expect(fromA(packet).verdict).toBe(Verdict.PASS);
    const side = dp.connections()[0]?.side.find((s) => s.epId === 0);
    expect(side?.path).toBe(CtPath.STACK);
  });
});

describe("verdict records", () => {
  test("a new connection inside the node is one record with both rules", () => {
    guardedBothWays(dp, dev);
    const f = families[0] as Family;
    fromA(request(f));
    const events = dp.events();
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({
      type: EventType.POLICY_VERDICT,
      reason: TraceReason.NEW,
      flags: EventFlags.EGRESS | EventFlags.INGRESS,
      srcIdentity: ID.A,
      dstIdentity: ID.B,
      srcEp: 1,
      dstEp: 2,
      sport: 40000,
      dport: 80,
      ruleEgress: RULE.A_HTTP,
      ruleIngress: RULE.B_HTTP,
      tcpFlags: Tcp.SYN,
      ifindex: dev.a,
    });
  });

  test("a drop names the rule that denied and the direction", () => {
    guardedBothWays(dp, dev);
    const f = families[1] as Family;
    fromA(request(f, 81));
    guarded(dp, dev);
    fromA(udp({ src: f.a, dst: f.b, sport: 1, dport: 2 }));
    const [egress, ingress] = dp.events();
    expect(egress).toMatchObject({
      type: EventType.DROP,
      subtype: DropReason.POLICY,
      ruleEgress: RULE.A_DEFAULT,
    });
    expect(egress?.flags).toBe(EventFlags.EGRESS | EventFlags.DENIED_EGRESS | EventFlags.IPV6);
    expect(ingress).toMatchObject({ type: EventType.DROP, ruleIngress: RULE.B_DEFAULT, dstIdentity: ID.B });
    expect(ingress?.flags).toBe(EventFlags.INGRESS | EventFlags.DENIED_INGRESS | EventFlags.IPV6);
  });

  test("audit says what would have been denied", () => {
    guarded(dp, dev);
    const f = families[0] as Family;
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: 2, flags: 4 });
    fromA(request(f, 81));
    expect(dp.events()[0]?.flags).toBe(EventFlags.INGRESS | EventFlags.AUDIT_INGRESS);
    expect(dp.connections()[0]?.flags).toBe(CtFlags.AUDITED);
  });

  test("aggregation: bulk traffic is silent, flags of each direction are told once", () => {
    peopled(dp, dev);
    const f = families[0] as Family;
    fromA(request(f));
    fromB(reply(f));
    for (let i = 0; i < 10; i++) {
      fromA(request(f, 80, Tcp.ACK));
      fromB(reply(f, Tcp.ACK));
    }
    fromA(request(f, 80, Tcp.FIN | Tcp.ACK));
    const told = dp.events().map((e) => [e.type, e.reason, e.tcpFlags]);
    expect(told).toEqual([
      [EventType.TRACE, TraceReason.NEW, Tcp.SYN],
      [EventType.TRACE, TraceReason.REPLY, Tcp.SYN | Tcp.ACK],
      [EventType.TRACE, TraceReason.ESTABLISHED, Tcp.FIN | Tcp.ACK],
    ]);
  });

  test("without aggregation every packet is told", () => {
    peopled(dp, dev);
    dp.configure({ aggregation: 0 });
    const f = families[0] as Family;
    for (let i = 0; i < 5; i++) fromA(request(f, 80, i === 0 ? Tcp.SYN : Tcp.ACK));
    expect(dp.events()).toHaveLength(5);
  });

  test("a full ring buffer loses records, and counts them", () => {
    peopled(dp, dev);
    dp.configure({ aggregation: 0 });
    const f = families[0] as Family;
    const packet = request(f, 80, Tcp.ACK);
    const ctx = new Uint8Array(192);
    new DataView(ctx.buffer).setUint32(40, dev.a, true);
    dp.object.program("pod_from").testRun({ data: packet, ctx, repeat: 20_000 });
    expect(dp.counted(255, 3 as 2)).toBeGreaterThan(0n);
  });

  test("a backlog wakes the reader, a few records do not", async () => {
    peopled(dp, dev);
    dp.configure({ aggregation: 0 });
    const packet = request(families[0] as Family, 80, Tcp.ACK);
    let woken = 0;
    dp.onWakeup(() => {
      woken++;
    });
    for (let i = 0; i < 100; i++) fromA(packet);
    await new Promise((resolve) => setImmediate(resolve));
    expect(woken).toBe(0);
    for (let i = 0; i < 3000; i++) fromA(packet);
    await waitFor(() => woken > 0, { timeoutMs: 2000, everyMs: 5, what: "the wake-up" });
    expect(dp.events().length).toBeGreaterThan(3000);
  });
});

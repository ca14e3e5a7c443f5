import { ConfigFlags, DropReason, EventFlags, EventType, PolicyVerdict, SvcFlags } from "@axoneme/abi";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Datapath, Verdict } from "./datapath.ts";
import { makeDevices } from "./devices.ts";
import { dissect, dissectIp } from "./dissect.ts";
import { anyAddress, Edge, NODEPORT } from "./edge.ts";
import { echo, icmp, ip, other, Proto, solicit, Tcp, tcp, tcpSegment, udp, unreachable } from "./packet.ts";
import { type Family, families, ID, v6 } from "./scene.ts";

/**
 * Host policy 9, packet by packet. In: TCP 22 and ICMP echo from the world, TCP 80 from pod a, anything from the other
 * node. Out: TCP 443 to the world, TCP 80 to pod b. Everything else is denied by default.
 */
const POLICY = 9;
const RULE = { SSH: 91, ECHO: 92, POD: 93, NODE: 94, WEB: 95, TO_POD: 96, IN: 98, OUT: 99 } as const;
const GRE = 47;

let edge: Edge;

beforeAll(async () => {
  edge = new Edge(await makeDevices(), "host");
});
afterAll(async () => {
  edge.close();
  await edge.dev.remove();
});

function guard(dp: Datapath): void {
  dp.policyHead(POLICY, "ingress", RULE.IN);
  dp.policyHead(POLICY, "egress", RULE.OUT);
  const row = { policy: POLICY, dir: "ingress" } as const;
  for (const f of families) {
    dp.policyRow({ ...row, peer: f.worldIdentity, proto: Proto.TCP, port: 22, rule: RULE.SSH });
    dp.policyRow({ ...row, peer: f.worldIdentity, proto: f.icmp, port: f.echoType, rule: RULE.ECHO });
    dp.policyRow({
      ...row,
      dir: "egress",
      peer: f.worldIdentity,
      proto: Proto.TCP,
      port: 443,
      rule: RULE.WEB,
    });
  }
  dp.policyRow({ ...row, peer: ID.A, proto: Proto.TCP, port: 80, rule: RULE.POD });
  dp.policyRow({ ...row, peer: 6, rule: RULE.NODE });
  dp.policyRow({ ...row, dir: "egress", peer: ID.B, proto: Proto.TCP, port: 80, rule: RULE.TO_POD });
  dp.configure({ hostPolicyId: POLICY });
}

beforeEach(() => {
  edge.reset();
  guard(edge.node);
});

const arrives = (data: Uint8Array) => edge.arrives(data).verdict;
const leaves = (data: Uint8Array, mark = 0) => edge.leaves(data, mark).verdict;
const denied = (direction: "INGRESS" | "EGRESS", rule: number) => {
  const [event, ...more] = edge.node.events();
  expect(more).toEqual([]);
  expect(event).toMatchObject({
    type: EventType.DROP,
    subtype: DropReason.POLICY,
    ...(direction === "INGRESS" ? { ruleIngress: rule } : { ruleEgress: rule }),
  });
  expect((event?.flags ?? 0) & EventFlags[`DENIED_${direction}`]).not.toBe(0);
};

describe.each(families)("the host's policy, $name", (f) => {
  const into = (from: string, dport: number, flags: number = Tcp.SYN) =>
    tcp({ src: from, dst: f.node, sport: 40000, dport, flags });
  const out = (to: string, dport: number, flags: number = Tcp.SYN) =>
    tcp({ src: f.node, dst: to, sport: 50000, dport, flags });

  test("what is allowed comes in, is told, and its answers leave whatever egress says", () => {
    expect(arrives(into(f.world, 22))).toBe(Verdict.PASS);
    expect(edge.node.events()).toMatchObject([
      { type: EventType.POLICY_VERDICT, ruleIngress: RULE.SSH, srcIdentity: f.worldIdentity, dstIdentity: 1 },
    ]);
    const answer = tcp({ src: f.node, dst: f.world, sport: 22, dport: 40000, flags: Tcp.SYN | Tcp.ACK });
    expect(leaves(answer)).toBe(Verdict.PASS);
    expect(arrives(into(f.world, 22, Tcp.ACK))).toBe(Verdict.PASS);
    expect(edge.node.connections()).toHaveLength(1);
  });

  test("what is not, does not: another port, UDP, SYN and ACK alike", () => {
    expect(arrives(into(f.world, 23))).toBe(Verdict.DROP);
    denied("INGRESS", RULE.IN);
    expect(arrives(udp({ src: f.world, dst: f.node, sport: 1, dport: 22 }))).toBe(Verdict.DROP);
    denied("INGRESS", RULE.IN);
    expect(arrives(into(f.world, 23, Tcp.ACK))).toBe(Verdict.DROP);
    expect(edge.node.connections()).toEqual([]);
  });

  test("what the host may dial answers; nothing else leaves", () => {
    expect(leaves(out(f.world, 443))).toBe(Verdict.PASS);
    const answer = tcp({ src: f.world, dst: f.node, sport: 443, dport: 50000, flags: Tcp.SYN | Tcp.ACK });
    expect(arrives(answer)).toBe(Verdict.PASS);
    edge.node.events();
    expect(leaves(out(f.world, 80))).toBe(Verdict.DROP);
    denied("EGRESS", RULE.OUT);
    expect(leaves(udp({ src: f.node, dst: f.otherNode, sport: 50000, dport: 53 }))).toBe(Verdict.DROP);
    denied("EGRESS", RULE.OUT);
  });

  test("what the kernel only forwards is nobody's business here", () => {
    edge.node.endpoint(f.a, { ifindex: edge.dev.a, identity: ID.A, id: 1 });
    const through = { ifindex: edge.dev.native, ingressIfindex: edge.dev.a };
    expect(edge.node.run("node_to", out(f.world, 80), through).verdict).toBe(Verdict.PASS);
    const sent = tcp({ src: f.a, dst: f.world, sport: 1000, dport: 80, flags: Tcp.SYN });
    edge.node.configure({ flags: edge.node.config.flags | f.masquerade });
    const masqueraded = edge.leaves(sent, (ID.A << 16) | 0x0f00);
    expect(masqueraded.verdict).toBe(Verdict.PASS);
    const { sport } = dissect(masqueraded.out);
    const back = tcp({ src: f.world, dst: f.node, sport: 80, dport: sport ?? 0, flags: Tcp.SYN | Tcp.ACK });
    expect(edge.arrives(back).verdict).toBe(Verdict.REDIRECT);
    expect(arrives(tcp({ src: f.world, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN }))).toBe(Verdict.PASS);
  });

  test("the other node by entity, any port and protocol, and no wider than it says", () => {
    expect(arrives(into(f.otherNode, 9999))).toBe(Verdict.PASS);
    expect(arrives(other({ src: f.otherNode, dst: f.node }, GRE))).toBe(Verdict.PASS);
    expect(arrives(other({ src: f.world, dst: f.node }, GRE))).toBe(Verdict.DROP);
    expect(leaves(other({ src: f.node, dst: f.otherNode }, GRE))).toBe(Verdict.DROP);
  });

  test("pods of this node: to the host by the host's ingress, from it by its egress", () => {
    const toHost = (dport: number) => tcp({ src: f.a, dst: f.node, sport: 1000, dport, flags: Tcp.SYN });
    expect(edge.fromPod(toHost(80), edge.dev.a).verdict).toBe(Verdict.PASS);
    edge.node.events();
    expect(edge.fromPod(toHost(81), edge.dev.a).verdict).toBe(Verdict.DROP);
    denied("INGRESS", RULE.IN);
    const toPod = (dport: number, ingressIfindex = 0) =>
      edge.pod.run("pod_to", tcp({ src: f.node, dst: f.b, sport: 1000, dport, flags: Tcp.SYN }), {
        ifindex: edge.dev.b,
        ingressIfindex,
      }).verdict;
    expect(toPod(80)).toBe(Verdict.PASS);
    edge.node.events();
    expect(toPod(81)).toBe(Verdict.DROP);
    denied("EGRESS", RULE.OUT);
    expect(toPod(81, edge.dev.native)).toBe(Verdict.PASS);
  });

  test("a pod does not get round it by an address that only the stack knows", () => {
    const local = f === v6 ? "::1" : "127.0.0.9";
    const sent = tcp({ src: f.a, dst: local, sport: 1000, dport: 81, flags: Tcp.SYN });
    expect(edge.fromPod(sent, edge.dev.a).verdict).toBe(Verdict.DROP);
    denied("INGRESS", RULE.IN);
    expect(arrives(into(f.world, 81))).toBe(Verdict.DROP);
    edge.node.events();
    expect(arrives(tcp({ src: f.world, dst: local, sport: 1, dport: 81, flags: Tcp.SYN }))).toBe(
      Verdict.DROP,
    );
    denied("INGRESS", RULE.IN);
  });

  test("through the tunnel: the host's own packets to remote pods", () => {
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.TUNNEL });
    const sent = tcp({ src: f.node, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN });
    const run = (ingressIfindex = 0) =>
      edge.overlay.run("overlay_to", sent, { ifindex: edge.dev.tunnel, ingressIfindex }).verdict;
    expect(run()).toBe(Verdict.DROP);
    denied("EGRESS", RULE.OUT);
    expect(run(edge.dev.native)).toBe(Verdict.PASS);
    const vxlan = { src: f.otherNode, dst: f.node, sport: 1, dport: 8472 };
    edge.node.policyRow({ policy: POLICY, dir: "ingress", peer: 6, verdict: PolicyVerdict.DENY, rule: 1 });
    expect(arrives(udp(vxlan))).toBe(Verdict.PASS);
    expect(leaves(udp({ ...vxlan, src: f.node, dst: f.otherNode }))).toBe(Verdict.PASS);
  });

  test("a Service's packets are its own; one that ends at the host is judged as what it has become", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    expect(arrives(into(f.world, NODEPORT))).toBe(Verdict.REDIRECT);
    edge.nodePort(f, [{ ip: f.b, port: 80, local: true }], Proto.TCP);
    edge.node.map("ax_svc_flows").clear();
    expect(arrives(into(f.world, NODEPORT))).toBe(Verdict.REDIRECT);
    for (const [port, verdict] of [
      [23, Verdict.DROP],
      [22, Verdict.PASS],
    ] as const) {
      edge.node.map("ax_svc_flows").clear();
      edge.node.service(
        7,
        { ip: anyAddress(f), port: NODEPORT, proto: Proto.TCP },
        [{ ip: f.node, port, local: true }],
        { flags: SvcFlags.NODEPORT },
      );
      expect(arrives(into(f.world, NODEPORT))).toBe(verdict);
    }
    const answer = tcp({ src: f.node, dst: f.world, sport: 22, dport: 40000, flags: Tcp.SYN | Tcp.ACK });
    const told = edge.leaves(answer);
    expect(told.verdict).toBe(Verdict.PASS);
    expect(dissect(told.out)).toMatchObject({ sport: NODEPORT, wrong: [] });
  });

  test("discovery, leases and errors survive default deny", () => {
    const client = f === v6 ? { sport: 547, dport: 546 } : { sport: 67, dport: 68 };
    const lease = { src: f.world, dst: f.node, ...client };
    expect(arrives(udp(lease))).toBe(Verdict.PASS);
    expect(leaves(udp({ src: f.node, dst: f.world, sport: client.dport, dport: client.sport }))).toBe(
      Verdict.PASS,
    );
    expect(arrives(udp({ ...lease, dport: 53 }))).toBe(Verdict.DROP);
    const refused = ip(
      { src: f.world, dst: f.node },
      Proto.TCP,
      tcpSegment({ src: f.world, dst: f.node, sport: 1, dport: 23 }),
    );
    expect(leaves(unreachable({ src: f.node, dst: f.world }, refused))).toBe(Verdict.PASS);
    const group = f === v6 ? "ff02::1" : "224.0.0.1";
    expect(arrives(other({ src: f.world, dst: group }, 2))).toBe(Verdict.PASS);
    expect(leaves(other({ src: f.node, dst: group }, 2))).toBe(Verdict.PASS);
    if (f !== v6) return;
    expect(arrives(solicit({ src: "fe80::5", target: f.node, dst: f.node, dmac: "02:00:00:00:00:01" }))).toBe(
      Verdict.PASS,
    );
    expect(arrives(solicit({ src: f.world, target: f.node, dst: f.node, hops: 64 }))).toBe(Verdict.DROP);
  });

  test("an error comes in when it is about a connection of the host's", () => {
    const about = { src: f.node, dst: f.world, sport: 50000, dport: 443 };
    const quoted = ip(about, Proto.TCP, tcpSegment({ ...about, flags: Tcp.SYN }));
    const error = unreachable({ src: f.world, dst: f.node }, quoted);
    expect(arrives(error)).toBe(Verdict.DROP);
    expect(leaves(out(f.world, 443))).toBe(Verdict.PASS);
    expect(arrives(error)).toBe(Verdict.PASS);
  });

  test("echo by its type, other messages each for itself", () => {
    expect(arrives(echo({ src: f.world, dst: f.node, id: 7 }))).toBe(Verdict.PASS);
    expect(leaves(echo({ src: f.node, dst: f.world, id: 7, reply: true }))).toBe(Verdict.PASS);
    expect(leaves(echo({ src: f.node, dst: f.world, id: 8 }))).toBe(Verdict.DROP);
    expect(arrives(icmp({ src: f.world, dst: f.node, type: f === v6 ? 139 : 13 }))).toBe(Verdict.DROP);
    expect(edge.node.connections()).toHaveLength(1);
  });

  test("a lone fragment passes, for the stack to wait in vain; a header cut short does not", () => {
    const later = tcp({ src: f.world, dst: f.node, sport: 1, dport: 23, fragOffset: 64, flags: Tcp.ACK });
    expect(arrives(later)).toBe(Verdict.PASS);
    const first = tcp({ src: f.world, dst: f.node, sport: 1, dport: 23, moreFragments: true });
    expect(arrives(first)).toBe(Verdict.DROP);
    const short = other(
      { src: f.world, dst: f.node, payload: new Uint8Array(8), moreFragments: true },
      Proto.TCP,
    );
    expect(arrives(short)).toBe(Verdict.DROP);
  });

  test("a policy that changes reaches live connections, and lets go of them", () => {
    arrives(into(f.world, 22));
    edge.node.policyRow({
      ...{ policy: POLICY, dir: "ingress", peer: f.worldIdentity, proto: Proto.TCP, port: 22, rule: 97 },
      ...{ verdict: PolicyVerdict.DENY, precedence: 9 },
    });
    expect(arrives(into(f.world, 22, Tcp.ACK))).toBe(Verdict.PASS);
    edge.node.nextEpoch();
    expect(arrives(into(f.world, 22, Tcp.ACK))).toBe(Verdict.DROP);
    const answer = tcp({ src: f.node, dst: f.world, sport: 22, dport: 40000, flags: Tcp.ACK });
    expect(leaves(answer)).toBe(Verdict.DROP);
    edge.node.configure({ hostPolicyId: 0, epoch: 9 });
    expect(arrives(into(f.world, 22, Tcp.ACK))).toBe(Verdict.PASS);
    expect(leaves(answer)).toBe(Verdict.PASS);
  });

  test("in audit mode everything passes and is told", () => {
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.POLICY_AUDIT });
    expect(arrives(into(f.world, 23))).toBe(Verdict.PASS);
    expect((edge.node.events()[0]?.flags ?? 0) & EventFlags.AUDIT_INGRESS).not.toBe(0);
  });

  test("nobody comes in from outside as the host itself, or as a pod of it", () => {
    for (const src of [f.node, f.a]) {
      expect(arrives(into(src, 22))).toBe(Verdict.DROP);
      expect(edge.node.events()[0]?.subtype).toBe(DropReason.INVALID_SOURCE_IP);
    }
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.TUNNEL });
    edge.node.policyRow({ policy: POLICY, dir: "ingress", peer: ID.C, rule: 90 });
    expect(arrives(into(f.c, 23))).toBe(Verdict.DROP);
    expect(edge.node.events()[0]).toMatchObject({ srcIdentity: f.worldIdentity });
  });

  test("without a policy the host is as open as ever", () => {
    edge.node.configure({ hostPolicyId: 0 });
    expect(arrives(into(f.world, 23))).toBe(Verdict.PASS);
    expect(leaves(out(f.world, 80))).toBe(Verdict.PASS);
    expect([edge.node.connections(), edge.node.events()]).toEqual([[], []]);
  });
});

/** What may reach the node from the world, of all that its bytes may say. */
function mayArrive(f: Family, frame: Uint8Array): boolean {
  const seen = dissectIp(Uint8Array.from(frame.subarray(14)), false);
  if (seen.dst !== f.node || seen.src === f.otherNode) return true;
  if (isLaterFragment(f, frame)) return true;
  if (seen.proto === Proto.TCP) return seen.src === f.world && seen.dport === 22;
  return seen.proto === f.icmp;
}

/** Worth nothing without its first one. */
function isLaterFragment(f: Family, frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (f !== v6) return (view.getUint16(20) & 0x1fff) !== 0;
  return view.getUint8(20) === 44 && (view.getUint16(56) & 0xfff8) !== 0;
}

/** Length of the IPv4 header as it says, within the packet: no stack takes another. */
function headerFits(bytes: Uint8Array): boolean {
  const length = ((bytes[14] ?? 0) & 15) * 4;
  return length >= 20 && 14 + length <= bytes.length;
}

test("changed bytes bring nothing to the host that its policy does not allow", () => {
  const change = fc.array(fc.tuple(fc.integer({ min: 14, max: 80 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.constantFrom(...families), fc.boolean(), change, (f, isTcp, changes) => {
      const sent = { src: f.world, dst: f.node, sport: 40000, dport: 23 };
      const bytes = isTcp ? tcp({ ...sent, flags: Tcp.SYN }) : udp({ ...sent, dport: 53 });
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      const version = (bytes[14] ?? 0) >> 4;
      fc.pre(version === (f === v6 ? 6 : 4) && (f === v6 || headerFits(bytes)));
      if (edge.arrives(bytes).verdict === Verdict.PASS)
        expect(mayArrive(f, bytes), Buffer.from(bytes).toString("hex")).toBe(true);
    }),
    { numRuns: 3000 },
  );
});

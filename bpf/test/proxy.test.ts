import { CtFlags, CtPath, DropReason, EventFlags, EventType, PolicyVerdict, TracePoint } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, text, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { echo, ip, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { type Family, families, guarded, ID, peopled } from "./scene.ts";

/** Queries that a policy sends to the node's DNS proxy: a asks, b, c and the world answer. */
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

const PROXY = { IPv4: "169.254.42.2", IPv6: "fd00:6178:6f6e::2" };
const PORT = 10053;
const RULES = 7;
const RULE = 61;

const proxyOf = (f: Family) => PROXY[f.name as keyof typeof PROXY];
const fromA = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.a });
const toA = (data: Uint8Array) => dp.run("pod_to", data, { ifindex: dev.a });

/** Pod a may ask anybody on port 53, through the proxy. */
function asking(proxy = true): void {
  guarded(dp, dev);
  for (const f of families) dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 1 });
  dp.policyHead(1, "egress", 60);
  dp.policyHead(1, "ingress", 0, PolicyVerdict.ALLOW);
  redirecting(RULES);
  if (!proxy) return;
  dp.configure({ proxyPort: PORT, proxyIp4: mapped(PROXY.IPv4), proxyIp6: mapped(PROXY.IPv6) });
}

function redirecting(rules: number): void {
  for (const proto of [Proto.UDP, Proto.TCP]) {
    dp.policyRow({ policy: 1, dir: "egress", proto, port: 53, rule: RULE, proxyPort: rules });
  }
}

const query = (f: Family, change = {}) => udp({ src: f.a, dst: f.c, sport: 4000, dport: 53, ...change });
const answer = (f: Family, change = {}) =>
  udp({ src: proxyOf(f), dst: f.a, sport: PORT, dport: 4000, ...change });

describe.each(families)("queries to the proxy, $name", (f) => {
  test("a datagram goes up the stack to the proxy; the entry says what was dialled, and the rules", () => {
    asking();
    const { verdict, out } = fromA(query(f));
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({ src: f.a, dst: proxyOf(f), sport: 4000, dport: PORT, wrong: [] });
    const [ct, ...more] = dp.connections();
    expect(more).toEqual([]);
    if (!ct) throw new Error("no entry");
    const pod = text(ct.a) === f.a ? 0 : 1;
    expect(ct).toMatchObject({ frontend: mapped(f.c), frontendPort: 53 });
    expect(ct.side[pod]).toMatchObject({
      ifindex: dev.a,
      identity: ID.A,
      epId: 1,
      ruleId: RULE,
      path: CtPath.PEER,
    });
    expect(ct.side[1 - pod]).toMatchObject({
      identity: ID.C,
      epId: 0,
      path: CtPath.PROXY,
      nexthop: mapped(f.c),
      nexthopPort: 53,
      proxyRules: RULES,
    });
  });

  test("the record says redirected, and names the server", () => {
    asking();
    fromA(query(f));
    const [event, ...more] = dp.events();
    expect(more).toEqual([]);
    expect(event).toMatchObject({
      type: EventType.POLICY_VERDICT,
      subtype: TracePoint.TO_PROXY,
      ruleEgress: RULE,
      dstIdentity: ID.C,
      daddr: mapped(f.c),
      dport: 53,
    });
    expect((event?.flags ?? 0) & (EventFlags.EGRESS | EventFlags.DENIED_EGRESS)).toBe(EventFlags.EGRESS);
  });

  test.each(["b", "world"] as const)("so do queries to %s", (who) => {
    asking();
    expect(dissect(fromA(query(f, { dst: f[who] })).out)).toMatchObject({ dst: proxyOf(f), wrong: [] });
  });

  test("the answer comes from what was dialled", () => {
    asking();
    fromA(query(f));
    const { verdict, out } = toA(answer(f));
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({ src: f.c, sport: 53, dst: f.a, dport: 4000, wrong: [] });
    expect(dp.connections()[0]?.flags).toBe((dp.connections()[0]?.flags ?? 0) | CtFlags.SEEN_REPLY);
  });

  test("also when the policy has changed in between, and to an asker that lost the right to ask", () => {
    asking();
    fromA(query(f));
    dp.policyHead(1, "egress", 60);
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 99 });
    dp.nextEpoch();
    expect(dissect(toA(answer(f)).out)).toMatchObject({ src: f.c, sport: 53, wrong: [] });
    expect(fromA(query(f)).verdict).toBe(Verdict.DROP);
  });

  test("the answer to a query that left before there was a redirect arrives; the next query goes to the proxy", () => {
    asking();
    dp.policyHead(1, "egress", 0, PolicyVerdict.ALLOW);
    dp.policyRow({ policy: 1, dir: "egress", proto: Proto.UDP, port: 53, rule: RULE, proxyPort: 0 });
    dp.policyRow({ policy: 2, dir: "ingress", proto: Proto.UDP, port: 53, rule: RULE });
    expect(fromA(query(f, { dst: f.b })).verdict).toBe(Verdict.REDIRECT);
    redirecting(RULES);
    dp.policyHead(1, "egress", 60);
    dp.nextEpoch();
    const direct = (server: string) => udp({ src: server, dst: f.a, sport: 53, dport: 4000 });
    expect(dp.run("pod_from", direct(f.b), { ifindex: dev.b }).verdict).toBe(Verdict.REDIRECT);
    expect(dissect(fromA(query(f, { dst: f.b })).out)).toMatchObject({ dst: proxyOf(f), wrong: [] });
    expect(dp.run("pod_from", direct(f.b), { ifindex: dev.b }).verdict).toBe(Verdict.REDIRECT);
    dp.policyHead(1, "egress", 60);
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 99 });
    dp.nextEpoch();
    expect(dp.run("pod_from", direct(f.b), { ifindex: dev.b }).verdict).toBe(Verdict.DROP);
  });

  test("but not to who has the address of the asker now", () => {
    asking();
    fromA(query(f));
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 9 });
    dp.nextEpoch();
    expect(toA(answer(f)).verdict).toBe(Verdict.DROP);
  });

  test("nor without a query: what the proxy's address sends is judged as anything else", () => {
    asking();
    dp.policyHead(1, "ingress", 62);
    expect(toA(answer(f)).verdict).toBe(Verdict.DROP);
    expect(dp.counted(DropReason.POLICY, 0)).toBe(1n);
  });

  test("a query more on the same port is the same entry, with the rules of now", () => {
    asking();
    fromA(query(f));
    redirecting(8);
    dp.nextEpoch();
    expect(dissect(fromA(query(f)).out)).toMatchObject({ dport: PORT });
    const [ct, ...more] = dp.connections();
    expect(more).toEqual([]);
    expect(ct?.side.map((side) => side.proxyRules).sort()).toEqual([0, 8]);
  });

  test("several servers asked from one port: each has its own port of the proxy, and its own answer", () => {
    asking();
    const servers = [f.b, f.c, f.world, f.otherNode];
    const ports = servers.map((dst) => dissect(fromA(query(f, { dst })).out).dport);
    expect(ports).toEqual([PORT, PORT + 1, PORT + 2, PORT + 3]);
    for (const [i, server] of servers.entries()) {
      const { out } = toA(answer(f, { sport: PORT + i }));
      expect(dissect(out)).toMatchObject({ src: server, sport: 53, wrong: [] });
      expect(dissect(fromA(query(f, { dst: server })).out).dport).toBe(PORT + i);
    }
    expect(dissect(fromA(query(f, { dst: f.node })).out).dport).toBe(PORT + 3);
  });

  test("TCP goes the same way, both ways", () => {
    asking();
    const ends = { src: f.a, dst: f.c, sport: 4001, dport: 53 };
    expect(dissect(fromA(tcp({ ...ends, flags: Tcp.SYN })).out)).toMatchObject({
      dst: proxyOf(f),
      dport: PORT,
      wrong: [],
    });
    const back = { src: proxyOf(f), dst: f.a, sport: PORT, dport: 4001, flags: Tcp.SYN | Tcp.ACK };
    expect(dissect(toA(tcp(back)).out)).toMatchObject({ src: f.c, sport: 53, wrong: [] });
    expect(dissect(fromA(tcp({ ...ends, flags: Tcp.ACK })).out)).toMatchObject({
      dst: proxyOf(f),
      wrong: [],
    });
    expect(dp.connections()).toHaveLength(1);
  });

  test("a Service dialled by its address: the policy is about the backend, the answer comes from the Service", () => {
    asking();
    dp.service(7, { ip: f.service, port: 53, proto: Proto.UDP }, [{ ip: f.c, port: 53 }]);
    expect(dissect(fromA(query(f, { dst: f.service })).out)).toMatchObject({ dst: proxyOf(f), wrong: [] });
    const [ct] = dp.connections();
    expect(ct).toMatchObject({ frontend: mapped(f.service), frontendPort: 53 });
    expect(ct?.side.find((side) => side.path === CtPath.PROXY)).toMatchObject({
      nexthop: mapped(f.c),
      nexthopPort: 53,
    });
    expect(dissect(toA(answer(f)).out)).toMatchObject({ src: f.service, sport: 53, wrong: [] });
  });

  test("the stack's complaint that nobody listens reaches the asker as if from the server", () => {
    asking();
    fromA(query(f));
    const sent = { src: f.a, dst: proxyOf(f), sport: 4000, dport: PORT };
    const { verdict, out } = toA(
      unreachable({ src: proxyOf(f), dst: f.a }, ip(sent, Proto.UDP, udpDatagram(sent))),
    );
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({ src: f.c, quoted: { dst: f.c, dport: 53 }, wrong: [] });
  });
});

describe.each(families)("fail closed, $name", (f) => {
  const refused = (packet: Uint8Array): void => {
    expect(fromA(packet).verdict).toBe(Verdict.DROP);
    expect(dp.events().filter((e) => e.type === EventType.DROP)).toMatchObject([
      { subtype: DropReason.POLICY_DENY, ruleEgress: RULE },
    ]);
  };

  test("without a proxy", () => {
    asking(false);
    refused(query(f));
    expect(dp.connections()).toEqual([]);
  });

  test("without a proxy of this family", () => {
    asking();
    dp.configure({ proxyIp4: new Uint8Array(16), proxyIp6: new Uint8Array(16) });
    refused(query(f));
  });

  test("what is neither UDP nor TCP", () => {
    asking();
    dp.policyRow({ policy: 1, dir: "egress", rule: RULE, proxyPort: RULES, precedence: 9 });
    refused(echo({ src: f.a, dst: f.c, id: 1 }));
  });

  test("a connection straight to the server, once its answers would have to be seen", () => {
    peopled(dp, dev);
    const opening = tcp({ src: f.a, dst: f.c, sport: 4000, dport: 53, flags: Tcp.SYN });
    expect(dissect(fromA(opening).out)).toMatchObject({ dst: f.c });
    asking();
    dp.nextEpoch();
    expect(dissect(fromA(opening).out)).toMatchObject({ dst: proxyOf(f) });
    dp.events();
    const direct = dp.connections().find((ct) => [text(ct.a), text(ct.b)].includes(f.c));
    expect((direct?.flags ?? 0) & CtFlags.REFUSED).toBe(CtFlags.REFUSED);
  });

  test("a deny beats it, a row for the proxy in ingress denies", () => {
    asking();
    const deny = { rule: RULE, verdict: PolicyVerdict.DENY, precedence: 9 };
    dp.policyRow({ policy: 1, dir: "egress", peer: ID.C, ...deny });
    refused(query(f));
  });

  test("answers of others do not pass for those of the proxy: the other way round no redirect is made", () => {
    asking();
    dp.policyRow({ policy: 1, dir: "egress", proto: Proto.UDP, port: 9, rule: RULE, proxyPort: RULES });
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: 0 });
    const fromB = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.b });
    fromB(udp({ src: f.b, dst: f.a, sport: 53, dport: 9 }));
    dp.nextEpoch();
    expect(fromA(udp({ src: f.a, dst: f.b, sport: 9, dport: 53 })).verdict).toBe(Verdict.REDIRECT);
  });
});

describe.each(families)("audit, $name", (f) => {
  test("queries go to the proxy, which sees that the pod's policy only reports", () => {
    asking();
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 1, flags: 4 });
    expect(dissect(fromA(query(f)).out)).toMatchObject({ dst: proxyOf(f) });
    expect((dp.connections()[0]?.flags ?? 0) & CtFlags.AUDITED).toBe(CtFlags.AUDITED);
  });
});

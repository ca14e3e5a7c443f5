import * as abi from "@axoneme/abi";
import { ConfigFlags, CtFlags, CtPath, DropReason, EventType, PolicyVerdict } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, encoded, text, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { ip, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { type Family, families, guarded, ID, peopled } from "./scene.ts";

/** What the DNS proxy asks servers in the name of pod a, from a socket of the node on port 40000. */
let dp: Datapath;
let node: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("pod");
  node = new Datapath("node");
});
afterAll(async () => {
  dp.close();
  node.close();
  await dev.remove();
});
beforeEach(() => {
  dp.reset();
  node.reset();
});

const SOCKET = 40_000;
const MARK = 0x0900;
const markOf = (endpoint: number) => endpoint * 0x10000 + MARK;
const AS_IT_IS = 0x0300;
const RULE = 71;

function asking(on: Datapath): void {
  on.configure({
    proxyPort: 10_053,
    proxyIp4: mapped("169.254.42.2"),
    proxyIp6: mapped("fd00:6178:6f6e::2"),
    flags: on.config.flags | ConfigFlags.MASQUERADE4 | ConfigFlags.MASQUERADE6,
  });
  for (const f of families) {
    const key = { epId: 1, family: f.name === "IPv4" ? 2 : 10 };
    on.map("ax_proxy_pods").put(encoded(abi.proxyPodKeySize, abi.encodeProxyPodKey, key), mapped(f.a));
  }
}

const query = (f: Family, dst: string) => udp({ src: f.node, dst, sport: SOCKET, dport: 53 });
const answer = (f: Family, src: string, change = {}) =>
  udp({ src, dst: f.a, sport: 53, dport: SOCKET, ...change });
const toB = (data: Uint8Array, endpoint = 1) =>
  dp.run("pod_to", data, { ifindex: dev.b, mark: markOf(endpoint) });
const fromB = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.b });

describe.each(families)("queries in the name of a pod to a server of this node, $name", (f) => {
  beforeEach(() => {
    guarded(dp, dev);
    asking(dp);
    dp.policyRow({ policy: 2, dir: "ingress", peer: ID.A, proto: Proto.UDP, port: 53, rule: RULE });
    dp.policyRow({ policy: 2, dir: "ingress", peer: ID.A, proto: Proto.TCP, port: 53, rule: RULE });
  });

  test("the server sees the pod, and its policy judges it", () => {
    const { verdict, out } = toB(query(f, f.b));
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({ src: f.a, dst: f.b, sport: SOCKET, dport: 53, wrong: [] });
    expect(dp.events()).toMatchObject([
      { type: EventType.POLICY_VERDICT, srcIdentity: ID.A, dstIdentity: ID.B, ruleIngress: RULE },
    ]);
    const [ct, ...more] = dp.connections();
    expect(more).toEqual([]);
    if (!ct) throw new Error("no entry");
    expect(ct.flags & CtFlags.PROXIED).toBe(CtFlags.PROXIED);
    expect(ct).toMatchObject({ frontend: mapped(f.node), frontendPort: SOCKET });
    expect(ct.side[text(ct.a) === f.a ? 0 : 1]).toMatchObject({ path: CtPath.PROXY, epId: 1, ifindex: 0 });
  });

  test("the answer goes up the stack to the proxy's socket, also when the policy has changed in between", () => {
    toB(query(f, f.b));
    for (const change of [() => undefined, () => dp.nextEpoch()]) {
      change();
      const { verdict, out } = fromB(answer(f, f.b));
      expect(verdict).toBe(Verdict.PASS);
      expect(dissect(out)).toMatchObject({ src: f.b, sport: 53, dst: f.node, dport: SOCKET, wrong: [] });
    }
    expect(dp.connections()).toHaveLength(1);
  });

  test("TCP, both ways", () => {
    const ends = { src: f.node, dst: f.b, sport: SOCKET, dport: 53 };
    expect(dissect(toB(tcp({ ...ends, flags: Tcp.SYN })).out)).toMatchObject({ src: f.a, wrong: [] });
    const back = tcp({ src: f.b, dst: f.a, sport: 53, dport: SOCKET, flags: Tcp.SYN | Tcp.ACK });
    expect(dissect(fromB(back).out)).toMatchObject({ dst: f.node, dport: SOCKET, wrong: [] });
    dp.nextEpoch();
    const data = tcp({ src: f.b, dst: f.a, sport: 53, dport: SOCKET, flags: Tcp.ACK });
    expect(dissect(fromB(data).out)).toMatchObject({ dst: f.node, wrong: [] });
    expect(dissect(toB(tcp({ ...ends, flags: Tcp.ACK })).out)).toMatchObject({ src: f.a, wrong: [] });
    expect(dp.connections()).toHaveLength(1);
  });

  test("who may not ask the server may not through the proxy, though the host may", () => {
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.C, id: 1 });
    expect(toB(query(f, f.b)).verdict).toBe(Verdict.DROP);
    expect(dp.counted(DropReason.POLICY, 0)).toBe(1n);
  });

  test("a pod that the mark does not name rightly, or nobody's: the node asks", () => {
    dp.policyRow({ policy: 2, dir: "ingress", peer: 1, proto: Proto.UDP, port: 53, rule: RULE });
    expect(dissect(toB(query(f, f.b), 9).out)).toMatchObject({ src: f.node });
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 8 });
    expect(dissect(toB(query(f, f.b)).out)).toMatchObject({ src: f.node });
  });

  test("a mark on what came from elsewhere means nothing", () => {
    const { out } = dp.run("pod_to", query(f, f.b), {
      ifindex: dev.b,
      mark: markOf(1),
      ingressIfindex: dev.native,
    });
    expect(dissect(out)).toMatchObject({ src: f.node });
  });

  test("the pod's own port of that number is none of it: its queries go to the proxy, its answers to itself", () => {
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 1 });
    dp.policyHead(1, "ingress", 0, PolicyVerdict.ALLOW);
    dp.policyRow({ policy: 1, dir: "egress", proto: Proto.UDP, port: 53, rule: RULE, proxyPort: 7 });
    toB(query(f, f.b));
    const own = udp({ src: f.a, dst: f.b, sport: SOCKET, dport: 53 });
    expect(dissect(dp.run("pod_from", own, { ifindex: dev.a }).out)).toMatchObject({
      dport: 10_053,
      wrong: [],
    });
    expect(dissect(fromB(answer(f, f.b)).out)).toMatchObject({ dst: f.node, dport: SOCKET, wrong: [] });
    const web = tcp({ src: f.a, dst: f.b, sport: SOCKET, dport: 80, flags: Tcp.SYN });
    dp.policyRow({ policy: 1, dir: "egress", proto: Proto.TCP, port: 80, rule: RULE });
    expect(dp.run("pod_from", web, { ifindex: dev.a }).verdict).toBe(Verdict.REDIRECT);
  });

  test("the server's complaint reaches the proxy's socket", () => {
    toB(query(f, f.b));
    const sent = { src: f.a, dst: f.b, sport: SOCKET, dport: 53 };
    const { verdict, out } = fromB(
      unreachable({ src: f.b, dst: f.a }, ip(sent, Proto.UDP, udpDatagram(sent))),
    );
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({
      src: f.b,
      dst: f.node,
      quoted: { src: f.node, sport: SOCKET, dst: f.b },
      wrong: [],
    });
  });
});

describe.each(families)("queries in the name of a pod to elsewhere, $name", (f) => {
  const toNet = (data: Uint8Array, endpoint = 1) =>
    node.run("node_to", data, { ifindex: dev.native, mark: markOf(endpoint) });
  const fromNet = (data: Uint8Array) => node.run("node_from", data, { ifindex: dev.native });

  beforeEach(() => {
    peopled(node, dev);
    asking(node);
  });

  test("a server on another node sees the pod; its answer reaches the proxy's socket", () => {
    const { verdict, out, mark } = toNet(query(f, f.c));
    expect([verdict, mark]).toEqual([Verdict.PASS, AS_IT_IS]);
    expect(dissect(out)).toMatchObject({ src: f.a, dst: f.c, sport: SOCKET, wrong: [] });
    for (const change of [() => undefined, () => node.nextEpoch()]) {
      change();
      const back = fromNet(answer(f, f.c));
      expect(back.verdict).toBe(Verdict.PASS);
      expect(dissect(back.out)).toMatchObject({ src: f.c, dst: f.node, dport: SOCKET, wrong: [] });
    }
  });

  test("also under a policy about the node, which is not about the pod", () => {
    node.configure({ hostPolicyId: 5 });
    node.policyHead(5, "egress", RULE);
    node.policyHead(5, "ingress", RULE);
    expect(dissect(toNet(query(f, f.c)).out)).toMatchObject({ src: f.a });
    expect(dissect(fromNet(answer(f, f.c)).out)).toMatchObject({ dst: f.node, dport: SOCKET });
    expect(node.run("node_to", query(f, f.c), { ifindex: dev.native }).verdict).toBe(Verdict.DROP);
  });

  test("outside of the cluster the pod would leave as the node, and so does the proxy", () => {
    const { verdict, out } = toNet(query(f, f.world));
    expect(verdict).toBe(Verdict.PASS);
    expect(dissect(out)).toMatchObject({ src: f.node, dst: f.world, wrong: [] });
    expect(node.connections()).toEqual([]);
  });

  test("but where pods are not masqueraded, servers outside see the pod, too", () => {
    node.noMasquerade(f.name === "IPv4" ? "192.0.2.0/24" : "2001:db8::/32");
    expect(dissect(toNet(query(f, f.world)).out)).toMatchObject({ src: f.a, wrong: [] });
    expect(dissect(fromNet(answer(f, f.world)).out)).toMatchObject({ dst: f.node, dport: SOCKET, wrong: [] });
  });
});

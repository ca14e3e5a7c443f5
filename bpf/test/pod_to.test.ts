import { CtPath, DropReason, EventType } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { ip, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { families, guarded, ID, peopled } from "./scene.ts";

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

const toB = (data: Uint8Array) => dp.run("pod_to", data, { ifindex: dev.b });
const fromB = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.b });

describe.each(families)("pod_to, $name", (f) => {
  const probe = { src: f.node, dst: f.b, sport: 50000, dport: 8080 };
  const answer = { src: f.b, dst: f.node, sport: 8080, dport: 50000 };

  test("the host reaches a pod without policy, and the answer goes up the stack", () => {
    peopled(dp, dev);
    const packet = tcp({ ...probe, flags: Tcp.SYN });
    expect(toB(packet)).toMatchObject({ verdict: Verdict.PASS, out: packet });
    expect(fromB(tcp({ ...answer, flags: Tcp.SYN | Tcp.ACK })).verdict).toBe(Verdict.PASS);
    const [ct, ...more] = dp.connections();
    expect(more).toEqual([]);
    expect(ct?.side.map((s) => [s.identity, s.path]).sort()).toEqual([
      [1, CtPath.STACK],
      [ID.B, CtPath.PEER],
    ]);
    expect(dp.counted(0, 0)).toBe(1n);
  });

  test("a connection of another device, or of a pod, is not settled for the host", () => {
    guarded(dp, dev);
    dp.policyRow({ policy: 2, dir: "ingress", peer: 1, rule: 70 });
    for (const flags of [Tcp.SYN, Tcp.ACK, Tcp.ACK])
      expect(toB(tcp({ ...probe, flags })).verdict).toBe(Verdict.PASS);
    expect(dp.run("pod_to", tcp({ ...probe }), { ifindex: dev.a }).verdict).toBe(Verdict.DROP);
    expect(dp.counted(0, 0)).toBe(3n);
  });

  test("policy applies to the host as to any other peer", () => {
    guarded(dp, dev);
    expect(toB(tcp({ ...probe, flags: Tcp.SYN })).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]).toMatchObject({
      type: EventType.DROP,
      subtype: DropReason.POLICY,
      srcIdentity: 1,
    });
    dp.policyRow({ policy: 2, dir: "ingress", peer: 1, rule: 70 });
    expect(toB(tcp({ ...probe, flags: Tcp.SYN })).verdict).toBe(Verdict.PASS);
  });

  test("the host's replies need no rule of the receiver", () => {
    guarded(dp, dev);
    fromB(tcp({ ...answer, sport: 1, dport: 2, flags: Tcp.SYN }));
    expect(toB(tcp({ ...probe, sport: 2, dport: 1, flags: Tcp.SYN | Tcp.ACK })).verdict).toBe(Verdict.PASS);
    expect(toB(tcp({ ...probe, sport: 2, dport: 3, flags: Tcp.SYN | Tcp.ACK })).verdict).toBe(Verdict.DROP);
  });

  test("a refused connection of the host stays refused until its policy changes", () => {
    guarded(dp, dev);
    dp.policyRow({ policy: 2, dir: "ingress", peer: 1, rule: 70 });
    toB(tcp({ ...probe, flags: Tcp.SYN }));
    fromB(tcp({ ...answer, flags: Tcp.SYN | Tcp.ACK }));
    dp.map("ax_policy").clear();
    dp.nextEpoch();
    expect(fromB(tcp({ ...answer })).verdict).toBe(Verdict.DROP);
    expect(toB(tcp({ ...probe })).verdict).toBe(Verdict.DROP);
  });

  test("a packet for an address that is not behind this device is dropped", () => {
    peopled(dp, dev);
    for (const dst of [f.a, f.world]) {
      expect(toB(udp({ ...probe, dst })).verdict).toBe(Verdict.DROP);
      expect(dp.events()[0]?.subtype).toBe(DropReason.STALE_OR_UNROUTABLE);
    }
  });

  test("the stack's ICMP error about the pod's own packet passes the policy", () => {
    guarded(dp, dev);
    const sent = { src: f.b, dst: f.world, sport: 10, dport: 20 };
    fromB(udp(sent));
    const quoted = ip(sent, Proto.UDP, udpDatagram(sent));
    expect(toB(unreachable({ src: f.node, dst: f.b }, quoted)).verdict).toBe(Verdict.PASS);
    const strange = ip({ ...sent, dst: f.c }, Proto.UDP, udpDatagram({ ...sent, dst: f.c }));
    expect(toB(unreachable({ src: f.node, dst: f.b }, strange)).verdict).toBe(Verdict.DROP);
  });
});

import { DropReason, EventType } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concat, u8 } from "./bytes.ts";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect } from "./dissect.ts";
import { other, Proto, Tcp, tcp, udp } from "./packet.ts";
import { families, guarded, ID, peopled, v4, v6 } from "./scene.ts";

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

const send = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.a });

describe.each(families)("fragments, $name", (f) => {
  const first = (id: number, dport = 80) =>
    udp({ src: f.a, dst: f.b, sport: 5, dport, id, moreFragments: true, payload: new Uint8Array(16) });
  const later = (id: number) =>
    other({ src: f.a, dst: f.b, id, fragOffset: 24, payload: new Uint8Array(16) }, Proto.UDP);

  test("later fragments share the fate of the first", () => {
    guarded(dp, dev);
    dp.policyRow({ policy: 2, dir: "ingress", peer: ID.A, proto: Proto.UDP, port: 80, rule: 1 });
    expect([send(first(1)), send(later(1))].map((r) => r.verdict)).toEqual([
      Verdict.REDIRECT,
      Verdict.REDIRECT,
    ]);
    expect([send(first(2, 81)), send(later(2))].map((r) => r.verdict)).toEqual([Verdict.DROP, Verdict.DROP]);
    expect(dp.counted(DropReason.POLICY, 1)).toBe(2n);
    expect(dp.connections()).toHaveLength(1);
  });

  test("a later fragment without its first is dropped", () => {
    peopled(dp, dev);
    expect(send(later(3)).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.FRAG_NOT_FOUND });
  });

  test("fragments of another datagram do not help", () => {
    peopled(dp, dev);
    send(first(4));
    expect(send(later(5)).verdict).toBe(Verdict.DROP);
  });

  test("a first fragment too short for the TCP flags is dropped", () => {
    peopled(dp, dev);
    const payload = new Uint8Array(8);
    expect(send(other({ src: f.a, dst: f.b, moreFragments: true, payload }, Proto.TCP)).verdict).toBe(
      Verdict.DROP,
    );
  });

  test("a fragmented datagram to a service: every fragment gets the backend's address", () => {
    peopled(dp, dev);
    dp.service(3, { ip: f.service, port: 53, proto: Proto.UDP }, [{ ip: f.b, port: 80 }]);
    const to = { src: f.a, dst: f.service, id: 6 };
    const head = send(udp({ ...to, sport: 5, dport: 53, moreFragments: true, payload: new Uint8Array(16) }));
    expect(dissect(head.out)).toMatchObject({ dst: f.b, dport: 80, wrong: [] });
    const tail = send(other({ ...to, fragOffset: 24, payload: new Uint8Array(16) }, Proto.UDP));
    expect(tail.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(tail.out)).toMatchObject({ dst: f.b, wrong: [] });
    expect(dissect(tail.out).body).toEqual(new Uint8Array(16));
  });
});

describe("options and extension headers", () => {
  test("IPv4 options are skipped", () => {
    guarded(dp, dev);
    const options = u8(1, 1, 1, 0);
    expect(send(tcp({ src: v4.a, dst: v4.b, sport: 1, dport: 80, flags: Tcp.SYN, options })).verdict).toBe(7);
    expect(send(tcp({ src: v4.a, dst: v4.b, sport: 1, dport: 81, flags: Tcp.SYN, options })).verdict).toBe(2);
  });

  test.each([
    ["hop-by-hop", { next: 0, bytes: u8(6, 0, 1, 4, 0, 0, 0, 0) }],
    [
      "two of them",
      { next: 0, bytes: concat(u8(60, 0, 1, 4, 0, 0, 0, 0), u8(6, 1, 1, 12), new Uint8Array(12)) },
    ],
    ["routing", { next: 43, bytes: u8(6, 0, 4, 0, 0, 0, 0, 0) }],
    ["authentication", { next: 51, bytes: concat(u8(6, 2), new Uint8Array(14)) }],
  ])("IPv6 %s is skipped", (_, extensions) => {
    guarded(dp, dev);
    expect(send(tcp({ src: v6.a, dst: v6.b, sport: 1, dport: 80, flags: Tcp.SYN, extensions })).verdict).toBe(
      7,
    );
    expect(send(tcp({ src: v6.a, dst: v6.b, sport: 1, dport: 81, flags: Tcp.SYN, extensions })).verdict).toBe(
      2,
    );
  });

  test("too many IPv6 extension headers are dropped", () => {
    peopled(dp, dev);
    const one = u8(60, 0, 1, 4, 0, 0, 0, 0);
    const extensions = { next: 60, bytes: concat(...Array.from({ length: 7 }, () => one)) };
    const { verdict } = send(tcp({ src: v6.a, dst: v6.b, sport: 1, dport: 80, extensions }));
    expect(verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]?.subtype).toBe(DropReason.INVALID_EXTHDR);
  });

  test("an IPv6 packet with IPv4-mapped addresses never finds the IPv4 connection", () => {
    peopled(dp, dev);
    send(tcp({ src: v4.a, dst: v4.b, sport: 1, dport: 80, flags: Tcp.SYN }));
    const packet = tcp({ src: v6.a, dst: v6.b, sport: 1, dport: 80, flags: Tcp.ACK });
    packet.set(u8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1), 22);
    packet.set(u8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2), 38);
    expect(send(packet).verdict).toBe(Verdict.DROP);
  });
});

import { DropReason, EventFlags, EventType, PolicyVerdict } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, text, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { ip, Proto, Tcp, tcp, tcpSegment, udp, udpDatagram, unreachable } from "./packet.ts";
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

const fromA = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.a });
const fromB = (data: Uint8Array) => dp.run("pod_from", data, { ifindex: dev.b });

describe.each(families)("services per packet, $name", (f) => {
  const web = { ip: f.service, port: 8080, proto: Proto.TCP };
  const dns = { ip: f.service, port: 53, proto: Proto.UDP };
  const dial = { src: f.a, dst: f.service, sport: 40000, dport: 8080 };

  test("a SYN to a service leaves for its backend, checksums right", () => {
    peopled(dp, dev);
    dp.service(7, web, [{ ip: f.b, port: 80 }]);
    const { verdict, out } = fromA(tcp({ ...dial, flags: Tcp.SYN }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({ src: f.a, dst: f.b, sport: 40000, dport: 80, wrong: [] });
    expect(dp.connections()[0]).toMatchObject({ frontend: mapped(f.service), frontendPort: 8080 });
    expect(dp.counted(0, 2)).toBe(1n);
  });

  test("the reply comes from the address that was dialled", () => {
    peopled(dp, dev);
    dp.service(7, web, [{ ip: f.b, port: 80 }]);
    fromA(tcp({ ...dial, flags: Tcp.SYN }));
    for (const flags of [Tcp.SYN | Tcp.ACK, Tcp.ACK]) {
      const { verdict, out } = fromB(tcp({ src: f.b, dst: f.a, sport: 80, dport: 40000, flags }));
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(out)).toMatchObject({ src: f.service, sport: 8080, dst: f.a, dport: 40000, wrong: [] });
    }
  });

  test("one port, several names of one backend: what was dialled last answers, the backend itself too", () => {
    peopled(dp, dev);
    dp.service(7, dns, [{ ip: f.b, port: 5353 }]);
    dp.service(8, { ...dns, port: 54 }, [{ ip: f.b, port: 5353 }]);
    const ends = { src: f.a, sport: 999 };
    const answer = udp({ src: f.b, dst: f.a, sport: 5353, dport: 999 });
    for (const [dst, dport] of [
      [f.service, 53],
      [f.service, 54],
      [f.b, 5353],
      [f.service, 53],
      [f.b, 5353],
    ] as const) {
      expect(dissect(fromA(udp({ ...ends, dst, dport })).out)).toMatchObject({ dst: f.b, dport: 5353 });
      expect(dissect(fromB(answer).out)).toMatchObject({ src: dst, sport: dport, wrong: [] });
    }
    expect(dp.connections()).toHaveLength(1);
  });

  test("datagrams that went past a port before it was served find its backend in the next epoch", () => {
    peopled(dp, dev);
    const packet = udp({ src: f.a, dst: f.service, sport: 999, dport: 53 });
    fromA(packet);
    dp.service(8, dns, [{ ip: f.b, port: 5353 }]);
    dp.nextEpoch();
    expect(dissect(fromA(packet).out)).toMatchObject({ src: f.a, dst: f.b, dport: 5353, wrong: [] });
  });

  test("UDP with and without a checksum", () => {
    peopled(dp, dev);
    dp.service(8, dns, [{ ip: f.b, port: 5353 }]);
    const query = { src: f.a, dst: f.service, sport: 999, dport: 53 };
    expect(dissect(fromA(udp(query)).out)).toMatchObject({ dst: f.b, dport: 5353, wrong: [] });
    if (f.name === "IPv4") {
      const { out } = fromA(udp({ ...query, noChecksum: true }));
      expect(dissect(out)).toMatchObject({ dst: f.b, dport: 5353, wrong: [] });
      expect(Array.from(out.subarray(40, 42))).toEqual([0, 0]);
    }
  });

  test("a flow keeps its backend while it exists, and gets another when it is gone", () => {
    peopled(dp, dev);
    const many = Array.from({ length: 16 }, (_, i) => ({ ip: f.b, port: 100 + i }));
    dp.service(9, dns, many);
    const query = () =>
      dissect(fromA(udp({ src: f.a, dst: f.service, sport: 999, dport: 53 })).out).dport ?? 0;
    const first = query();
    for (let i = 0; i < 20; i++) expect(query()).toBe(first);
    const gone = 900 + first - 100;
    dp.slots(
      950,
      many.flatMap((_, i) => (900 + i === gone ? [] : [900 + i])),
    );
    dp.service(9, dns, many, { slotsOff: 950, slots: 15, count: 15 });
    dp.rows("ax_backends").delete(new Uint8Array(new Uint32Array([gone]).buffer));
    const others = new Set(Array.from({ length: 5 }, query));
    expect(others.size).toBe(1);
    expect(others.has(first)).toBe(false);
  });

  test("new flows are spread over the backends", () => {
    peopled(dp, dev);
    dp.service(9, dns, [
      { ip: f.b, port: 100 },
      { ip: f.b, port: 101 },
      { ip: f.c, port: 102 },
    ]);
    const hits = new Map<number, number>();
    for (let sport = 1000; sport < 1300; sport++) {
      const { dport = 0 } = dissect(fromA(udp({ src: f.a, dst: f.service, sport, dport: 53 })).out);
      hits.set(dport, (hits.get(dport) ?? 0) + 1);
    }
    expect([...hits.keys()].sort()).toEqual([100, 101, 102]);
    for (const count of hits.values()) expect(count).toBeGreaterThan(50);
  });

  test("a service without backends refuses, in the name of what was dialled", () => {
    peopled(dp, dev);
    dp.service(7, web, []);
    const { verdict, out } = fromA(tcp({ ...dial, flags: Tcp.SYN }));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({ src: f.service, dst: f.a, sport: 8080, dport: 40000, wrong: [] });
    expect(out[(f.name === "IPv4" ? 34 : 54) + 13]).toBe(Tcp.RST | Tcp.ACK);
    expect(dp.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.NO_SERVICE });
  });

  test("policy sees the backend, the record also what was dialled", () => {
    guarded(dp, dev);
    dp.service(7, web, [{ ip: f.b, port: 81 }]);
    expect(fromA(tcp({ ...dial, flags: Tcp.SYN })).verdict).toBe(Verdict.DROP);
    dp.service(7, web, [{ ip: f.b, port: 80 }]);
    expect(fromA(tcp({ ...dial, sport: 40001, flags: Tcp.SYN })).verdict).toBe(Verdict.REDIRECT);
    const [refused, allowed] = dp.events();
    expect(refused).toMatchObject({ type: EventType.DROP, dport: 81, origDport: 8080 });
    expect(allowed).toMatchObject({ type: EventType.POLICY_VERDICT, dport: 80, origDport: 8080 });
    expect(text(allowed?.origDaddr ?? new Uint8Array(16))).toBe(f.service);
    expect((allowed?.flags ?? 0) & EventFlags.TRANSLATED).toBe(EventFlags.TRANSLATED);
  });

  test("a backend of the host's network answers through the stack", () => {
    guarded(dp, dev);
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 3 });
    dp.policyHead(3, "ingress", 1);
    dp.policyHead(3, "egress", 1, PolicyVerdict.ALLOW);
    dp.service(7, web, [{ ip: f.node, port: 6443 }]);
    const there = fromA(tcp({ ...dial, flags: Tcp.SYN }));
    expect(there.verdict).toBe(Verdict.PASS);
    expect(dissect(there.out)).toMatchObject({ dst: f.node, dport: 6443, wrong: [] });
    for (const flags of [Tcp.SYN | Tcp.ACK, Tcp.ACK, Tcp.ACK]) {
      const answer = tcp({ src: f.node, dst: f.a, sport: 6443, dport: 40000, flags });
      const back = dp.run("pod_to", answer, { ifindex: dev.a });
      expect(back.verdict).toBe(Verdict.PASS);
      expect(dissect(back.out)).toMatchObject({ src: f.service, sport: 8080, wrong: [] });
    }
  });

  test("another port of the service's address is no service", () => {
    peopled(dp, dev);
    dp.service(7, web, [{ ip: f.b, port: 80 }]);
    const packet = tcp({ ...dial, dport: 8081, flags: Tcp.SYN });
    expect(dissect(fromA(packet).out)).toMatchObject({ dst: f.service, dport: 8081 });
  });

  test("the backend's ICMP error reaches the client as the frontend's, quote and all", () => {
    peopled(dp, dev);
    dp.service(8, dns, [{ ip: f.b, port: 5353 }]);
    fromA(udp({ src: f.a, dst: f.service, sport: 999, dport: 53 }));
    const seen = { src: f.a, dst: f.b, sport: 999, dport: 5353 };
    for (const cut of [undefined, f.name === "IPv4" ? 28 : 48]) {
      const error = unreachable({ src: f.b, dst: f.a }, ip(seen, Proto.UDP, udpDatagram(seen)), cut);
      const { verdict, out } = fromB(error);
      expect(verdict).toBe(Verdict.REDIRECT);
      expect(dissect(out)).toMatchObject({
        src: f.service,
        dst: f.a,
        wrong: [],
        quoted: { src: f.a, dst: f.service, sport: 999, dport: 53 },
      });
    }
  });

  test("the client's ICMP error about a reply reaches the backend as about its own packet", () => {
    peopled(dp, dev);
    dp.service(7, web, [{ ip: f.b, port: 80 }]);
    fromA(tcp({ ...dial, flags: Tcp.SYN }));
    const seen = { src: f.service, dst: f.a, sport: 8080, dport: 40000 };
    const error = unreachable({ src: f.a, dst: f.service }, ip(seen, Proto.TCP, tcpSegment(seen)));
    const { verdict, out } = fromA(error);
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(dissect(out)).toMatchObject({
      src: f.a,
      dst: f.b,
      wrong: [],
      quoted: { src: f.b, dst: f.a, sport: 80, dport: 40000 },
    });
  });
});

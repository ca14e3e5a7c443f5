import { CtFlags } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissect } from "./dissect.ts";
import { ip, Proto, Tcp, tcp, udp, udpDatagram, unreachable } from "./packet.ts";
import { families, guardedBothWays, peopled } from "./scene.ts";

/** A pod that reaches itself through a Service, and scopes of Services for pods. */
const LOOPBACK: Record<string, string> = { IPv4: "169.254.42.1", IPv6: "fd00:6178:6f6e::1" };

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

describe.each(families)("a pod and itself, $name", (f) => {
  const loopback = LOOPBACK[f.name] ?? "";
  const dial = { src: f.a, dst: f.service, sport: 40000, dport: 8080 };
  const answer = { src: f.a, dst: loopback, sport: 80, dport: 40000 };

  test("meet under the loopback source, and undo it", () => {
    peopled(dp, dev);
    dp.service(7, { ip: f.service, port: 8080, proto: Proto.TCP }, [{ ip: f.a, port: 80 }]);
    const there = fromA(tcp({ ...dial, flags: Tcp.SYN }));
    expect(there.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(there.out)).toMatchObject({ src: loopback, dst: f.a, sport: 40000, dport: 80, wrong: [] });
    expect((dp.connections()[0]?.flags ?? 0) & CtFlags.LOOPBACK).toBe(CtFlags.LOOPBACK);
    for (const flags of [Tcp.SYN | Tcp.ACK, Tcp.ACK, Tcp.ACK]) {
      const back = fromA(tcp({ ...answer, flags }));
      expect(back.verdict).toBe(Verdict.REDIRECT);
      expect(dissect(back.out)).toMatchObject({
        src: f.service,
        dst: f.a,
        sport: 8080,
        dport: 40000,
        wrong: [],
      });
      dp.nextEpoch();
      expect(fromA(tcp({ ...dial, flags: Tcp.ACK })).verdict).toBe(Verdict.REDIRECT);
    }
    expect(dp.connections()).toHaveLength(1);
  });

  test("no policy is between them", () => {
    guardedBothWays(dp, dev);
    dp.service(7, { ip: f.service, port: 8080, proto: Proto.TCP }, [{ ip: f.a, port: 9999 }]);
    expect(fromA(tcp({ ...dial, flags: Tcp.SYN })).verdict).toBe(Verdict.REDIRECT);
    expect(fromA(tcp({ ...answer, sport: 9999, flags: Tcp.SYN | Tcp.ACK })).verdict).toBe(Verdict.REDIRECT);
  });

  test("errors find back, either way", () => {
    peopled(dp, dev);
    dp.service(7, { ip: f.service, port: 8080, proto: Proto.UDP }, [{ ip: f.a, port: 80 }]);
    fromA(udp(dial));
    const seen = { src: loopback, dst: f.a, sport: 40000, dport: 80 };
    const back = fromA(unreachable({ src: f.a, dst: loopback }, ip(seen, Proto.UDP, udpDatagram(seen))));
    expect(back.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(back.out)).toMatchObject({
      src: f.service,
      dst: f.a,
      wrong: [],
      quoted: { src: f.a, dst: f.service, sport: 40000, dport: 8080 },
    });
    const got = { src: f.service, dst: f.a, sport: 8080, dport: 40000 };
    const there = fromA(unreachable({ src: f.a, dst: f.service }, ip(got, Proto.UDP, udpDatagram(got))));
    expect(there.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(there.out)).toMatchObject({
      src: loopback,
      dst: f.a,
      wrong: [],
      quoted: { src: f.a, dst: loopback, sport: 80, dport: 40000 },
    });
  });

  test("nobody else gets at the loopback source", () => {
    peopled(dp, dev);
    dp.service(7, { ip: f.service, port: 8080, proto: Proto.TCP }, [{ ip: f.a, port: 80 }]);
    fromA(tcp({ ...dial, flags: Tcp.SYN }));
    const forged = tcp({ ...answer, src: loopback, dst: f.a, flags: Tcp.ACK });
    expect(dp.run("pod_from", forged, { ifindex: dev.b }).verdict).toBe(Verdict.DROP);
    const stray = tcp({ src: f.b, dst: loopback, sport: 80, dport: 40000, flags: Tcp.ACK });
    expect(dp.run("pod_from", stray, { ifindex: dev.b }).verdict).toBe(Verdict.REDIRECT);
    expect(dissect(dp.run("pod_from", stray, { ifindex: dev.b }).out).dst).toBe(loopback);
  });
});

describe.each(families)("pods and scopes, $name", (f) => {
  test("the internal list serves pods, where there are two", () => {
    peopled(dp, dev);
    const at = { ip: f.service, port: 80, proto: Proto.TCP };
    dp.service(7, at, [{ ip: f.b, port: 80 }], { flags: 4 | 64 });
    dp.service(8, { ...at, scope: 1 }, [{ ip: f.c, port: 81 }], { flags: 4 });
    const sent = fromA(tcp({ src: f.a, dst: f.service, sport: 1, dport: 80, flags: Tcp.SYN }));
    expect(dissect(sent.out)).toMatchObject({ dst: f.c, dport: 81 });
  });

  test("a NodePort of this node, dialled by its pod", () => {
    peopled(dp, dev);
    dp.endpoint(f.node, { identity: 1, flags: 9 });
    const any = f.name === "IPv4" ? "0.0.0.0" : "::";
    dp.service(7, { ip: any, port: 30080, proto: Proto.TCP }, [{ ip: f.b, port: 80 }], { flags: 2 });
    const sent = fromA(tcp({ src: f.a, dst: f.node, sport: 1, dport: 30080, flags: Tcp.SYN }));
    expect(dissect(sent.out)).toMatchObject({ dst: f.b, dport: 80, wrong: [] });
    const got = tcp({ src: f.b, dst: f.a, sport: 80, dport: 1, flags: Tcp.SYN | Tcp.ACK });
    expect(dissect(dp.run("pod_from", got, { ifindex: dev.b }).out)).toMatchObject({
      src: f.node,
      sport: 30080,
    });
  });

  test("a datagram without a backend: the pod hears it", () => {
    peopled(dp, dev);
    dp.service(7, { ip: f.service, port: 53, proto: Proto.UDP }, []);
    const told = fromA(udp({ src: f.a, dst: f.service, sport: 1, dport: 53 }));
    expect(told.verdict).toBe(Verdict.REDIRECT);
    expect(dissect(told.out)).toMatchObject({
      src: f.service,
      dst: f.a,
      wrong: [],
      quoted: { src: f.a, dst: f.service, dport: 53 },
    });
  });
});

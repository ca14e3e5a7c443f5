import { CtFlags, CtPath, DropReason, EventType } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { mapped } from "./dissect.ts";
import { arp, Proto, Tcp, tcp, udp } from "./packet.ts";
import { families, ID, peopled, v4 } from "./scene.ts";

/** A test run has no tunnel to read: who the sender is by its tunnel id is shown live, in live.test.ts. */
let dp: Datapath;
let pod: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("overlay");
  pod = new Datapath("pod");
});
afterAll(async () => {
  dp.close();
  pod.close();
  await dev.remove();
});
beforeEach(() => {
  for (const one of [dp, pod]) {
    one.reset();
    peopled(one, dev);
    one.configure({ flags: one.config.flags | 4 });
  }
});

const overlay = (name: string, data: Uint8Array, mark = 0) =>
  dp.run(name, data, { ifindex: dev.tunnel, mark });
const seconds = () => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

describe.each(families)("overlay, $name", (f) => {
  const fromC = { src: f.c, dst: f.b, sport: 1000, dport: 80 };

  test("a pod's packet to another node takes the tunnel, marked with its identity", () => {
    const sent = tcp({ src: f.a, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN });
    const { verdict, mark, out } = pod.run("pod_from", sent, { ifindex: dev.a });
    expect([verdict, mark]).toEqual([Verdict.REDIRECT, (ID.A << 16) | 0x0400]);
    expect(out).toEqual(sent);
    expect(pod.connections()[0]?.side.find((s) => s.epId === 0)).toMatchObject({
      path: CtPath.TUNNEL,
      ifindex: dev.tunnel,
      nexthop: mapped(f.otherNode),
    });
    expect(overlay("overlay_to", sent, mark)).toMatchObject({ verdict: Verdict.PASS, out: sent });
  });

  test("the host's packet to a remote pod gets its tunnel, one to nowhere is dropped", () => {
    const sent = tcp({ src: f.node, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN });
    const { verdict, mark } = overlay("overlay_to", sent);
    expect([verdict, mark & 0xf00]).toEqual([Verdict.PASS, 0x0400]);
    expect(overlay("overlay_to", tcp({ src: f.node, dst: f.world, sport: 1, dport: 80 })).verdict).toBe(
      Verdict.DROP,
    );
    expect(dp.events()[0]?.subtype).toBe(DropReason.NO_TUNNEL_ENDPOINT);
  });

  test("an established connection goes straight into the pod", () => {
    const side = {
      identity: 0,
      ruleId: 0,
      lastReportS: seconds(),
      nexthop: mapped(f.otherNode),
      tcpFlags: Tcp.SYN | Tcp.ACK,
      nexthopPort: 0,
      proxyRules: 0,
      process: 0,
    };
    const podSide = { ...side, ifindex: dev.b, epId: 2, path: CtPath.PEER };
    const remote = { ...side, ifindex: dev.tunnel, epId: 0, path: CtPath.TUNNEL };
    dp.putConnection({
      a: mapped(f.b),
      b: mapped(f.c),
      aport: 80,
      bport: 1000,
      proto: Proto.TCP,
      epoch: dp.config.epoch,
      expiresS: seconds() + 8000,
      flags: CtFlags.SEEN_REPLY | CtFlags.INITIATOR_B,
      frontend: new Uint8Array(16),
      frontendPort: 0,
      createdS: seconds(),
      side: [podSide, remote],
    });
    const packet = tcp({ ...fromC, flags: Tcp.ACK });
    expect(overlay("overlay_from", packet)).toMatchObject({ verdict: Verdict.REDIRECT, out: packet });
    expect(overlay("overlay_from", tcp({ ...fromC, flags: Tcp.FIN | Tcp.ACK })).verdict).toBe(
      Verdict.REDIRECT,
    );
    expect(dp.events()).toHaveLength(1);
  });

  test("what did not come through a tunnel is dropped", () => {
    expect(overlay("overlay_from", tcp({ ...fromC, flags: Tcp.SYN })).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]).toMatchObject({ type: EventType.DROP, subtype: DropReason.NO_TUNNEL_ENDPOINT });
  });

  test("who claims to be a pod of this node is dropped", () => {
    expect(overlay("overlay_from", udp({ ...fromC, src: f.a })).verdict).toBe(Verdict.DROP);
    expect(dp.events()[0]?.subtype).toBe(DropReason.INVALID_SOURCE_IP);
  });
});

describe("overlay chatter", () => {
  test.each(["overlay_from", "overlay_to"])("%s drops ARP and multicast in silence", (program) => {
    const group = udp({ src: v4.c, dst: "224.0.0.1", sport: 1, dport: 1 });
    for (const packet of [arp({ op: 1, sip: v4.c, tip: v4.b }), group])
      expect(overlay(program, packet).verdict).toBe(Verdict.DROP);
    expect(dp.events()).toEqual([]);
  });
});

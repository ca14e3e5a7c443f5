import { ConfigFlags } from "@axoneme/abi";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { u16 } from "./bytes.ts";
import { Datapath, type RunOptions, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { dissectIp, mapped } from "./dissect.ts";
import { arp, echo, ip, Proto, solicit, Tcp, tcp, tcpSegment, udp, unreachable } from "./packet.ts";
import { type Family, families, guardedBothWays, v4, v6 } from "./scene.ts";

/**
 * Whatever bytes a pod sends: the program ends, and a packet passes only as a plain reading of it allows. The
 * scene's policies let a reach b on TCP 80 and by echo (its own egress policy allows TCP 80 only).
 */
let pod: Datapath;
let node: Datapath;
let overlay: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  pod = new Datapath("pod");
  node = new Datapath("node");
  overlay = new Datapath("overlay");
  for (const dp of [pod, node, overlay]) guardedBothWays(dp, dev);
  for (const dp of [node, pod]) dp.configure({ flags: dp.config.flags | 8 | 16 });
  for (const dp of [node, overlay]) dp.configure({ flags: dp.config.flags | ConfigFlags.SERVICES });
  for (const [i, f] of families.entries()) {
    for (const dp of [node, overlay]) dp.endpoint(f.node, { identity: 1, flags: 9 });
    const any = f === v4 ? "0.0.0.0" : "::";
    const backends = [f.b, f.c, f.node].map((backend) => ({ ip: backend, port: 80 }));
    for (const [j, proto] of [Proto.TCP, Proto.UDP].entries())
      for (const dp of [pod, node, overlay])
        dp.service(10 + i * 4 + j, { ip: any, port: 30080, proto }, backends, { flags: 2, forwarding: j });
  }
});
afterAll(async () => {
  for (const dp of [pod, node, overlay]) dp.close();
  await dev.remove();
});

/** The kernel refuses test runs whose packet ends within the IP header. */
const SHORTEST = { 2048: 34, 34525: 54, 2054: 14 } as const;
type EtherType = keyof typeof SHORTEST;

function etherTypeOf(frame: Uint8Array): number {
  return ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
}

function canRun(frame: Uint8Array): boolean {
  return frame.length >= (SHORTEST[etherTypeOf(frame) as EtherType] ?? 14);
}

/** What a Service's client quotes in its errors, and what another node forwards. */
const answer = (f: Family) => ({ src: f.node, dst: f.world, sport: 30080, dport: 9 });
function told(f: Family) {
  const sent = { src: f.world, dst: f.b, sport: 9, dport: 80, flags: Tcp.SYN };
  const note = Uint8Array.of(0x9a, 8, 0x75, 0x80, ...mapped(f.otherNode).subarray(12));
  const header = Uint8Array.of(Proto.TCP, 2, 0x1b, 20, 0x75, 0x80, 0, 0, ...mapped(f.otherNode));
  return f === v4 ? { ...sent, options: note } : { ...sent, extensions: { next: 60, bytes: header } };
}

const seeds: Uint8Array[] = families.flatMap((f) => {
  const sent = { src: f.a, dst: f.b, sport: 40000, dport: 80 };
  const quoted = ip(sent, Proto.TCP, tcpSegment(sent));
  return [
    tcp({ ...sent, flags: Tcp.SYN }),
    tcp({ ...sent, flags: Tcp.ACK, payload: new Uint8Array(20) }),
    udp({ ...sent, moreFragments: true, payload: new Uint8Array(16) }),
    echo({ src: f.a, dst: f.b, id: 1 }),
    unreachable({ src: f.a, dst: f.b }, quoted),
    unreachable({ src: f.world, dst: f.node }, quoted),
    tcp({ src: f.world, dst: f.node, sport: 9, dport: 30080, flags: Tcp.SYN }),
    udp({ src: f.world, dst: f.node, sport: 9, dport: 30080 }),
    tcp({ src: f.c, dst: f.node, sport: 80, dport: 32768, flags: Tcp.ACK }),
    unreachable({ src: f.world, dst: f.node }, ip(answer(f), Proto.TCP, tcpSegment(answer(f)))),
    tcp(told(f)),
  ];
});
seeds.push(arp({ op: 1, sip: v4.a, tip: v4.b }), solicit({ src: v6.a, target: v6.b }));
const asAuthentication = tcp({
  src: v6.a,
  dst: v6.b,
  sport: 1,
  dport: 80,
  extensions: { next: 0, bytes: Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0) },
});
seeds.push(asAuthentication);

interface Ran {
  readonly program: string;
  readonly verdict: number;
  readonly out: Uint8Array;
}

/** Drops that programs said, by the object they are of. */
const said = new Map<Datapath, number>();

function run(dp: Datapath, program: string, bytes: Uint8Array, options: RunOptions): Ran {
  const { verdict, out } = dp.run(program, bytes, options);
  if (verdict === Verdict.DROP) said.set(dp, (said.get(dp) ?? 0) + 1);
  return { program, verdict, out };
}

/** Every program on these bytes. */
function runAll(bytes: Uint8Array): Ran[] {
  return [
    run(pod, "pod_from", bytes, { ifindex: dev.a }),
    run(pod, "pod_to", bytes, { ifindex: dev.b }),
    run(node, "node_from", bytes, { ifindex: dev.native }),
    run(node, "node_to", bytes, { ifindex: dev.native, mark: 0x0f00 }),
    run(overlay, "overlay_from", bytes, { ifindex: dev.tunnel }),
    run(overlay, "overlay_to", bytes, { ifindex: dev.tunnel }),
  ];
}

/** Packets that an object's programs have counted as dropped. */
function countedDrops(dp: Datapath): number {
  let sum = 0;
  for (let reason = 1; reason < 256; reason++)
    for (const dir of [0, 1, 2] as const) sum += Number(dp.counted(reason, dir));
  return sum;
}

/** What each test checks of every program: nothing that policy denies reaches b, and it ends in a verdict. */
function nothingGained(bytes: Uint8Array): void {
  for (const { program, verdict, out } of runAll(bytes)) {
    const why = `${program}: ${Buffer.from(bytes).toString("hex")}`;
    expect(verdicts, why).toContain(verdict);
    const delivers = verdict === (program === "pod_to" ? Verdict.PASS : Verdict.REDIRECT);
    if (!delivers || program === "node_to" || program === "overlay_to") continue;
    if (program.startsWith("pod_")) expect(trespasses(out), why).toBe(false);
    else expect(reachesB(out), why).toBe(false);
  }
}

/** The stack's, the pod's, or nobody's. */
const verdicts: number[] = [Verdict.PASS, Verdict.DROP, Verdict.REDIRECT];

afterEach(() => {
  for (const dp of [pod, node, overlay]) expect(countedDrops(dp)).toBe(said.get(dp) ?? 0);
});

const addressesOfA: readonly string[] = [v4.a, v6.a];
const addressesOfB: readonly string[] = [v4.b, v6.b];

/** As the wire has it, with an honest length; undefined when it is no IP. */
function dissected(frame: Uint8Array) {
  const type = etherTypeOf(frame);
  if (type !== 0x0800 && type !== 0x86dd) return undefined;
  const honest = Uint8Array.from(frame.subarray(14));
  honest.set(u16(type === 0x0800 ? honest.length : honest.length - 40), type === 0x0800 ? 2 : 4);
  return dissectIp(honest, false);
}

/** Is it for b? Its policy lets nobody in from outside of this node. */
function reachesB(frame: Uint8Array): boolean {
  const seen = dissected(frame);
  return seen !== undefined && seen.type !== 136 && addressesOfB.includes(seen.dst);
}

/** Did the packet reach b by anything but TCP 80, an allowed connection's ICMP error or a later fragment? */
function trespasses(frame: Uint8Array): boolean {
  const seen = dissected(frame);
  if (seen === undefined) return false;
  if (seen.type === 136 || !addressesOfB.includes(seen.dst)) return false;
  if (!addressesOfA.includes(seen.src)) return true;
  if (seen.quoted) return false;
  return !(seen.proto === Proto.TCP && (seen.dport === undefined || seen.dport === 80));
}

test("a packet cut short at any length is never let through as something else", () => {
  for (const seed of seeds) {
    for (let length = SHORTEST[etherTypeOf(seed) as EtherType]; length <= seed.length; length++) {
      nothingGained(seed.subarray(0, length));
    }
  }
});

test("random bytes end in a verdict", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 54, maxLength: 256 }),
      fc.constantFrom(0x0800, 0x86dd, 0x0806),
      (bytes, type) => {
        bytes.set([type >> 8, type & 255], 12);
        nothingGained(bytes);
      },
    ),
    { numRuns: 1000 },
  );
});

test("valid packets with changed bytes gain nothing", () => {
  const change = fc.array(fc.tuple(fc.nat({ max: 120 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), change, (seed, changes) => {
      const bytes = Uint8Array.from(seed);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      fc.pre(canRun(bytes));
      nothingGained(bytes);
    }),
    // An extension header that becomes an authentication header, whose length counts in other units.
    { numRuns: 3000, examples: [[asAuthentication, [[20, 51]]]] },
  );
});

import { execFileSync } from "node:child_process";
import { parseMac } from "@axoneme/base";
import { BpfObject, Link, type LoadedObject, type Program } from "@axoneme/bpf";
import { builtFile, Netlink, setOffloads } from "@axoneme/netlink";
import { Datapath } from "../../bpf/test/datapath.ts";
import { type Forwarded, forwardedOf, putFlow, serving } from "../../bpf/test/flows.ts";
import { Proto, udp } from "../../bpf/test/packet.ts";
import { v4 } from "../../bpf/test/scene.ts";
import { fromGateway, gatewayOf, macs, Wire } from "../../bpf/test/wire.ts";
import { median } from "../net/index.ts";
import { runIn } from "./commands.ts";
import type { IptablesBackend } from "./peers.ts";

/** Client ports, a flow each. */
const flows = 16;
const firstPort = 40_000;
/** Frames of one measurement of rates: a run costs some milliseconds beside. */
const frames = 400_000;
const rateRounds = 7;
/** Each run takes one hop from a packet that has 255 of them. */
const repeats = 200;
const rounds = 101;
/** NodePort of the iptables rules: one that our rows do not know. */
const peerPort = 30_081;
const ourPort = 30_080;

/** Nanoseconds a packet, the least of many rounds. */
export interface PacketCosts {
  readonly emptyXdp: number;
  readonly xdp: number;
  readonly emptyTc: number;
  readonly tc: number;
}

/** Packets a second that come back to the other end of the wire, medians over the rounds. */
export interface PacketRates {
  readonly xdp: number;
  readonly iptables: number;
  /** Frames a second that are sent when the node drops all of them: the sender runs on the node's CPU. */
  readonly sent: number;
  readonly ratio: number;
  /** The same with the sender's share of the time taken off: of what the node does itself. */
  readonly ownRatio: number;
}

/** What {@link measureEdge} measures. */
export interface EdgeFigures {
  readonly costs: PacketCosts;
  readonly rates: PacketRates;
}

function client(i: number): Forwarded {
  return {
    ...forwardedOf(v4, Proto.UDP),
    clientPort: firstPort + i,
    natPort: 50_000 + i,
    backendId: 700 + i,
    frontendPort: ourPort,
  };
}

/** A datagram from the world to a port of the node. */
function frame(dport: number): Uint8Array {
  const payload = new Uint8Array(18);
  return udp({ ...fromGateway, src: v4.world, dst: v4.node, sport: firstPort, dport, payload });
}

/**
 * Rows of two flows that lead into each other: a program that is run again on its own output then does the same work
 * each time, until the packet has no hops left.
 */
function putRing(dp: Datapath): Uint8Array {
  const there = "198.51.100.7";
  const back = "198.51.100.8";
  const [port, otherPort] = [50_000, 50_001];
  // The source of what is forwarded has to be the node's address: it is the client of both.
  const base = { ...forwardedOf(v4, Proto.UDP), client: v4.node };
  const first = { ...base, clientPort: port, frontend: there, frontendPort: 80, natPort: otherPort };
  const second = { ...base, clientPort: otherPort, frontend: back, frontendPort: 81, natPort: port };
  putFlow(dp, { ...first, backend: back, backendPort: 81, backendId: 800 });
  putFlow(dp, { ...second, backend: there, backendPort: 80, backendId: 801 });
  const payload = new Uint8Array(18);
  return udp({ ...fromGateway, src: v4.node, dst: there, sport: port, dport: 80, ttl: 255, payload });
}

function least(run: () => number): number {
  return Math.min(...Array.from({ length: rounds }, run));
}

/** @throws Error when the program did not do its work on every run: then the figure would be of something else. */
function checked({ out, ns }: { out: Uint8Array; ns: number }, name: string): number {
  const ttl = out[22];
  if (ttl !== 255 - repeats) throw new Error(`${name} forwarded ${255 - (ttl ?? 0)} of ${repeats} packets`);
  return ns;
}

function packetCosts(wire: Wire, xdp: Datapath, tc: Datapath, own: LoadedObject): PacketCosts {
  const data = putRing(xdp);
  putRing(tc);
  const empty = (name: string) =>
    least(() => own.program(name).testRun({ data, repeat: repeats, netnsFd: wire.netnsFd }).durationNs);
  return {
    emptyXdp: empty("empty_xdp"),
    xdp: least(() => checked(wire.xdp(xdp, data, repeats), "xdp_lb")),
    emptyTc: empty("empty_tc"),
    tc: least(() => checked(wire.tc(tc, "node_from", data, repeats), "node_from")),
  };
}

/** The chains a NodePort packet runs through, as kube-proxy writes them. */
function nodePortRules(): string[] {
  return [
    `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-BENCH - [0:0]
:KUBE-SVC-BENCH - [0:0]
:KUBE-SEP-BENCH - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p udp -m udp --dport ${peerPort} -j KUBE-EXT-BENCH
-A KUBE-EXT-BENCH -j KUBE-MARK-MASQ
-A KUBE-EXT-BENCH -j KUBE-SVC-BENCH
-A KUBE-SVC-BENCH -j KUBE-SEP-BENCH
-A KUBE-SEP-BENCH -s ${v4.c} -j KUBE-MARK-MASQ
-A KUBE-SEP-BENCH -p udp -m udp -j DNAT --to-destination ${v4.c}:8080
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`,
  ];
}

function taken(own: LoadedObject): number {
  const values = own.map("taken").getPerCpu(new Uint8Array(4)) ?? [];
  return values.reduce(
    (sum, value) => sum + Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true)),
    0,
  );
}

interface Side {
  readonly program: Program | undefined;
  readonly port: number;
  readonly rates: number[];
}

/**
 * The other end sends frames as fast as it can, of several flows; those that come back translated are counted. With a
 * program the node's device has it, without one frames go to the stack and its rules.
 */
function packetRates(wire: Wire, end: number, xdp: Datapath, own: LoadedObject): PacketRates {
  for (let i = 0; i < flows; i++) putFlow(xdp, client(i));
  const sides: readonly Side[] = [
    { program: xdp.object.program("xdp_lb"), port: ourPort, rates: [] },
    { program: undefined, port: peerPort, rates: [] },
    { program: own.program("empty_xdp"), port: 1, rates: [] },
  ];
  const generator = own.program("generate");
  const at = { netnsFd: wire.netnsFd };
  for (let round = 0; round < rateRounds; round++) {
    for (const { program, port, rates } of round % 2 === 0 ? sides : [...sides].reverse()) {
      const data = frame(port);
      // No checksum: frames differ in their ports.
      data.set([0, 0], 40);
      own.map("model").put(new Uint8Array(4), data);
      const link = program && Link.attachXdp(program, { ifindex: wire.ifindex, ...at });
      const before = taken(own);
      const begin = performance.now();
      generator.runLive(data, { ifindex: end, count: frames, ...at });
      const seconds = (performance.now() - begin) / 1000;
      const count = port === 1 ? frames : taken(own) - before;
      rates.push(count / seconds);
      link?.detach();
      link?.close();
    }
  }
  const of = (side: number) => sides[side]?.rates ?? [];
  const ratios = of(0).map((rate, i) => rate / (of(1)[i] ?? Number.NaN));
  const ownSeconds = (side: number, i: number) =>
    1 / (of(side)[i] ?? Number.NaN) - 1 / (of(2)[i] ?? Number.NaN);
  const ownRatios = of(0).map((_, i) => ownSeconds(1, i) / ownSeconds(0, i));
  return {
    xdp: median(of(0)),
    iptables: median(of(1)),
    sent: median(of(2)),
    ratio: median(ratios),
    ownRatio: median(ownRatios),
  };
}

/** Runs with real-time priority: other work of the machine does not come in between. */
function undisturbed<T>(run: () => T): T {
  const priority = (...args: string[]) =>
    execFileSync("chrt", [...args, "-p", args.includes("-r") ? "1" : "0", String(process.pid)]);
  priority("-r");
  try {
    return run();
  } finally {
    priority("-o");
  }
}

/** What is at the other end of the node's veth. */
async function endIndex(wire: Wire): Promise<number> {
  const netlink = Netlink.open({ netnsPath: wire.netns });
  try {
    return (await netlink.linkGet("end")).index;
  } finally {
    netlink.close();
  }
}

/**
 * The balancers of packets from outside: nanoseconds a packet of a known UDP flow to a NodePort whose backend is on
 * another node, and packets a second beside iptables rules on the same veth.
 */
export async function measureEdge(backend: IptablesBackend): Promise<EdgeFigures> {
  const wire = await Wire.create();
  const own = BpfObject.open(builtFile("bench/edge.bpf.o")).load();
  const xdp = new Datapath("xdp");
  const tc = new Datapath("node");
  let link: Link | undefined;
  try {
    for (const dp of [xdp, tc]) {
      dp.reset();
      serving(dp);
      dp.configure({ deviceMac: parseMac(macs.node) });
    }
    // What a ring's packet leaves as has to be for this node again.
    await wire.learn(gatewayOf(v4), macs.node);
    const costs = undisturbed(() => packetCosts(wire, xdp, tc, own));
    await runIn(wire.netns, [`iptables-${backend}-restore`], nodePortRules());
    const end = await endIndex(wire);
    link = Link.attachXdp(own.program("take"), { ifindex: end, netnsFd: wire.netnsFd });
    // Else a veth takes no frames that are no skb.
    setOffloads(wire.netns, "eth0", { gro: true });
    return { costs, rates: undisturbed(() => packetRates(wire, end, xdp, own)) };
  } finally {
    link?.detach();
    link?.close();
    for (const dp of [xdp, tc]) dp.close();
    own.close();
    await wire.remove();
  }
}

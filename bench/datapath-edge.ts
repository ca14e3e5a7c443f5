/**
 * What a packet of a Service from outside costs in xdp_lb and in node_from (tcx), by BPF_PROG_TEST_RUN: forwarded there
 * and back, a new flow, a packet that is none of ours, a denied source. Each beside an empty program of its type.
 * Both programs share one node's maps, and route through a device with known neighbours.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigFlags, SvcFlags } from "@axoneme/abi";
import { BpfObject } from "@axoneme/bpf";
import { Datapath, Verdict } from "../bpf/test/datapath.ts";
import { mapped } from "../bpf/test/dissect.ts";
import { forwardedOf, monotonicS, putFlow } from "../bpf/test/flows.ts";
import { Proto, Tcp, tcp, udp } from "../bpf/test/packet.ts";
import { type Family, families, v4 } from "../bpf/test/scene.ts";
import { fromGateway, Wire, XdpVerdict } from "../bpf/test/wire.ts";
import { compileBpf } from "../scripts/build-bpf.mjs";

const REPEAT = 200_000;
/** A packet that is forwarded has one hop less: so often one can be, from 255. */
const HOPS = 250;
const ROUNDS = 7;
const FLOWS = 3000;

/** A figure; `ns` of one packet. */
export interface EdgeFigure {
  readonly name: string;
  readonly ns: number;
}

interface Case {
  readonly name: string;
  readonly packet: Uint8Array;
  readonly xdp: number;
  readonly tc: number;
}

const EMPTY = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp.frags") int empty_xdp(struct xdp_md *ctx) { return ctx->data ? XDP_PASS : XDP_DROP; }
SEC("tc") int empty_tc(struct __sk_buff *skb) { return skb->len & 0; }
char LICENSE[] SEC("license") = "Dual BSD/GPL";
`;

/** The least of several rounds: what other work on the machine disturbs least. */
function least(run: () => number): number {
  return Math.min(...Array.from({ length: ROUNDS }, run));
}

function emptyFigures(): EdgeFigure[] {
  const source = join(process.cwd(), "build/bench/empty-edge.bpf.c");
  mkdirSync(join(source, ".."), { recursive: true });
  writeFileSync(source, EMPTY);
  compileBpf(source, source.replace(/c$/, "o"));
  const object = BpfObject.open(source.replace(/c$/, "o")).load();
  const data = new Uint8Array(64);
  try {
    return [
      ["xdp", "empty_xdp"],
      ["tcx", "empty_tc"],
    ].map(([at = "", program = ""]) => ({
      name: `${at}: empty program`,
      ns: least(() => object.program(program).testRun({ data, repeat: REPEAT }).durationNs),
    }));
  } finally {
    object.close();
  }
}

/** One node: a NodePort whose backend is on another, with and without a flow, and a source that is denied. */
function populate(dp: Datapath, wire: Wire): void {
  const families4and6 = ConfigFlags.IPV4 | ConfigFlags.IPV6;
  dp.configure({
    flags: families4and6 | ConfigFlags.SERVICES,
    deviceIfindex: wire.ifindex,
    natPortMin: 20_000,
  });
  for (const [i, f] of families.entries()) {
    dp.endpoint(f.node, { identity: 1, flags: 1 | 8 });
    dp.ipcache(`${f.c}/${f === v4 ? 32 : 128}`, 500, f.otherNode, 1);
    const frontend = { ip: f.node, port: 30080, proto: Proto.UDP };
    dp.service(10 + i, frontend, [{ ip: f.c, port: 8080 }], { flags: SvcFlags.NODEPORT });
    for (const [way, flow] of thereAndBack(f).entries())
      putFlow(dp, flow.rows(9000 + i * 2 + way), flow.change);
    dp.deny(f === v4 ? "203.0.113.0/24" : "2001:db8:dead::/48");
  }
}

/**
 * The kernel runs a program again on what the last run left: two flows, each of which makes the other's packet, so that
 * every run forwards. To an address that only Services have, as those of load balancers.
 */
function thereAndBack(f: Family) {
  const frontend = f === v4 ? "192.0.2.77" : "2001:db8::77";
  const there = { ...forwardedOf(f, Proto.TCP), frontend };
  const back = { ...there, client: f.node, clientPort: there.natPort, frontend: f.c, frontendPort: 8080 };
  const expiresS = monotonicS() + 100_000;
  return [
    { rows: (backendId: number) => ({ ...there, backendId }), change: { flow: { expiresS } } },
    {
      rows: (backendId: number) => ({
        ...back,
        backend: frontend,
        backendPort: 30080,
        natPort: 40000,
        backendId,
      }),
      change: { flow: { expiresS, natAddr: mapped(f.world) } },
    },
  ];
}

function cases(f: Family): Case[] {
  const client = {
    ...fromGateway,
    src: f.world,
    dst: f === v4 ? "192.0.2.77" : "2001:db8::77",
    sport: 40000,
    dport: 30080,
    ttl: 255,
  };
  const denied = { ...fromGateway, src: f === v4 ? "203.0.113.9" : "2001:db8:dead::9", dst: f.node };
  const sent = { xdp: XdpVerdict.TX, tc: Verdict.REDIRECT };
  const passed = { xdp: XdpVerdict.PASS, tc: Verdict.PASS };
  return [
    { name: "established", packet: tcp({ ...client, flags: Tcp.ACK }), ...sent },
    { name: "none of ours", packet: tcp({ ...client, dport: 22, flags: Tcp.ACK }), ...passed },
    {
      name: "denied",
      packet: udp({ ...denied, sport: 1, dport: 2 }),
      xdp: XdpVerdict.DROP,
      tc: Verdict.DROP,
    },
  ];
}

type Run = (packet: Uint8Array, repeat: number) => { verdict: number; ns: number };

/** Each packet opens a flow: one run each, so a system call's cold caches are in the figure. */
function opening(f: Family, run: Run, from: number): number {
  const times: number[] = [];
  for (let sport = from; sport < from + FLOWS; sport++) {
    const packet = udp({ ...fromGateway, src: f.world, dst: f.node, sport, dport: 30080 });
    times.push(run(packet, 1).ns);
  }
  times.sort((a, b) => a - b);
  return times[times.length >> 1] ?? 0;
}

/** The least of many short runs, all of which end with the packet forwarded. */
function forwarding(packet: Uint8Array, run: Run, expected: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 400; i++) {
    const { verdict, ns } = run(packet, HOPS);
    if (verdict !== expected)
      throw new Error(`forwarded ${HOPS} times, the packet ended with verdict ${verdict}`);
    best = Math.min(best, ns);
  }
  return best;
}

/** What stays as it is. Records of drops in tc fill the ring: short runs, or the figure is that of a full ring. */
function dropping(node: Datapath, packet: Uint8Array, run: Run): number {
  return least(() => {
    node.events();
    return run(packet, 5000).ns;
  });
}

/** All figures; needs root. Throws when a packet does not meet the verdict its name says. */
export async function edgeFigures(): Promise<EdgeFigure[]> {
  const pinDir = `/sys/fs/bpf/axedge-${process.pid}`;
  mkdirSync(join(pinDir, "maps"), { recursive: true });
  const wire = await Wire.create();
  const xdp = new Datapath("xdp", pinDir);
  const node = new Datapath("node", pinDir);
  const figures = emptyFigures();
  try {
    populate(node, wire);
    const runs = [
      ["xdp", (packet, repeat) => wire.xdp(xdp, packet, repeat)],
      ["tcx", (packet, repeat) => wire.tc(node, "node_from", packet, repeat)],
    ] as const satisfies [string, Run][];
    for (const f of families) {
      for (const [i, [at, run]] of runs.entries()) {
        for (const { name, packet, ...wanted } of cases(f)) {
          const expected = at === "xdp" ? wanted.xdp : wanted.tc;
          const { verdict } = run(packet, 1);
          if (verdict !== expected) throw new Error(`${at}, ${name}, ${f.name}: verdict ${verdict}`);
          const ns = name === "established" ? forwarding(packet, run, expected) : dropping(node, packet, run);
          figures.push({ name: `${at}: ${name}, ${f.name}`, ns });
        }
        figures.push({
          name: `${at}: new flow (median, cold), ${f.name}`,
          ns: opening(f, run, 1000 + i * 2 * FLOWS),
        });
        node.events();
      }
    }
    return figures;
  } finally {
    for (const dp of [xdp, node]) dp.close();
    rmSync(pinDir, { recursive: true, force: true });
    await wire.remove();
  }
}

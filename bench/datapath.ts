/**
 * What one packet costs in pod_from, and of a Service from outside in xdp_lb and node_from, by BPF_PROG_TEST_RUN: an empty program (the cost of the method), the fast
 * path, a packet that changes its connection's entry, a refused packet with its event.
 * Usage: node -e 'import("./scripts/import-ts.mjs").then((m) => m.importTs("bench/datapath.ts"))'
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BpfObject } from "@axoneme/bpf";
import { Datapath } from "../bpf/test/datapath.ts";
import { Tcp, tcp } from "../bpf/test/packet.ts";
import { guardedBothWays, v4, v6 } from "../bpf/test/scene.ts";
import { compileBpf } from "../scripts/build-bpf.mjs";
import { edgeFigures } from "./datapath-edge.ts";

const REPEAT = 300_000;
const ROUNDS = 7;
const root = process.cwd();
/** Devices a test run may name: any existing one will do for the sender, none is asked for the receiver. */
const LOOPBACK = 1;

const EMPTY = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int empty(struct __sk_buff *skb) { return skb->len & 0; }
char LICENSE[] SEC("license") = "Dual BSD/GPL";
`;

interface Result {
  name: string;
  ns: number;
}

/** The least of several rounds: what other work on the machine disturbs least. */
function least(run: () => number): number {
  return Math.min(...Array.from({ length: ROUNDS }, run));
}

function context(): Uint8Array {
  const ctx = new Uint8Array(192);
  new DataView(ctx.buffer).setUint32(40, LOOPBACK, true);
  return ctx;
}

function empty(): Result {
  const source = join(root, "build/bench/empty.bpf.c");
  mkdirSync(join(root, "build/bench"), { recursive: true });
  writeFileSync(source, EMPTY);
  compileBpf(source, source.replace(/c$/, "o"));
  const object = BpfObject.open(source.replace(/c$/, "o")).load();
  const data = new Uint8Array(64);
  const ns = least(
    () => object.program("empty").testRun({ data, ctx: context(), repeat: REPEAT }).durationNs,
  );
  object.close();
  return { name: "empty program", ns };
}

function measure(dp: Datapath, name: string, packet: Uint8Array, repeat = REPEAT): Result {
  const program = dp.object.program("pod_from");
  program.testRun({ data: packet, ctx: context(), repeat: 1 });
  const ns = least(() => {
    const result = program.testRun({ data: packet, ctx: context(), repeat });
    dp.events();
    return result.durationNs;
  });
  return { name, ns };
}

/** Each packet opens a connection: one run each, so a system call's cold caches are in the figure. */
function opening(dp: Datapath): Result {
  const program = dp.object.program("pod_from");
  const times: number[] = [];
  for (let sport = 1000; sport < 5000; sport++) {
    const data = tcp({ src: v4.a, dst: v4.b, sport, dport: 80, flags: Tcp.SYN });
    times.push(program.testRun({ data, ctx: context(), repeat: 1 }).durationNs);
  }
  dp.events();
  times.sort((a, b) => a - b);
  return { name: "new connection (median, cold)", ns: times[times.length >> 1] ?? 0 };
}

const dp = new Datapath("pod");
try {
  guardedBothWays(dp, { a: LOOPBACK, b: LOOPBACK + 1, native: 0, tunnel: 0, remove: async () => undefined });
  const results = [empty()];
  for (const f of [v4, v6]) {
    const flow = { src: f.a, dst: f.b, sport: 40000, dport: 80 };
    dp.run("pod_from", tcp({ ...flow, flags: Tcp.SYN }), { ifindex: LOOPBACK });
    results.push(measure(dp, `established, ${f.name}`, tcp({ ...flow, flags: Tcp.ACK })));
    results.push(measure(dp, `entry touched, ${f.name}`, tcp({ ...flow, flags: Tcp.FIN | Tcp.ACK })));
    results.push(measure(dp, `refused, ${f.name}`, tcp({ ...flow, dport: 81, flags: Tcp.SYN }), 5000));
  }
  dp.map("ax_ct").clear();
  results.push(opening(dp));
  // Entries that are over at once: every packet opens its connection again.
  dp.configure({ ctTimeoutTcpSynS: 0xffff_ffff });
  const syn = tcp({ src: v4.a, dst: v4.b, sport: 40000, dport: 80, flags: Tcp.SYN });
  results.push(measure(dp, "new connection (warm, entry replaced)", syn, 5000));
  results.push(...(await edgeFigures()));
  for (const { name, ns } of results) console.log(`${String(ns).padStart(6)} ns  ${name}`);
  writeFileSync(join(root, "build/bench/datapath.json"), `${JSON.stringify(results, null, 2)}\n`);
} finally {
  dp.close();
}

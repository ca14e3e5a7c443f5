/**
 * What it costs that flows name processes: the same two pods of a node, records on and drained, with and without the
 * program that notes the owners of sockets. Connections a second (tcp-crr) have a new socket at both ends and four
 * records each: the dearest case. The programs' own times come from the kernel (kernel.bpf_stats_enabled).
 * Usage: node -e 'import("./scripts/import-ts.mjs").then((m) => m.importTs("bench/datapath-processes.ts"))' [seconds] [rounds]
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigFlags } from "@axoneme/abi";
import { AttachType, findCgroup2, Link, type Program } from "@axoneme/bpf";
import { netnsCookie } from "@axoneme/netlink";
import { Datapath } from "../bpf/test/datapath.ts";
import { LiveCluster, type Node, type Pod } from "../bpf/test/live.ts";
import { putPod } from "../bpf/test/sockets.ts";
import { buildPerf, compare, comparisonTable, measureMode, type Subject, writeReport } from "./net/index.ts";

const root = process.cwd();
const [seconds = 1, rounds = 15] = process.argv.slice(1).map(Number).filter(Number.isFinite);
const DRAIN_MS = 50;
const statsSwitch = "/proc/sys/kernel/bpf_stats_enabled";

/** Nanoseconds of one run of each program since the last call. */
class Times {
  readonly #programs: ReadonlyMap<string, Program>;
  readonly #before = new Map<string, readonly [bigint, bigint]>();

  constructor(programs: ReadonlyMap<string, Program>) {
    this.#programs = programs;
    this.take();
  }

  take(): Record<string, number> {
    const times: Record<string, number> = {};
    for (const [name, program] of this.#programs) {
      const { runTimeNs, runCount } = program.info();
      const [ns, runs] = this.#before.get(name) ?? [0n, 0n];
      if (runCount > runs) times[name] = Number(runTimeNs - ns) / Number(runCount - runs);
      this.#before.set(name, [runTimeNs, runCount]);
    }
    return times;
  }
}

async function run(): Promise<void> {
  buildPerf(root);
  const cluster = await LiveCluster.create(false);
  const [node] = cluster.nodes as [Node];
  const [a, b] = [await cluster.pod("a", node, 11, 301), await cluster.pod("b", node, 12, 302)] as [Pod, Pod];
  const cgroup = join(findCgroup2(), `axon-bench-${process.pid}`);
  mkdirSync(cgroup);
  const { config } = node.dp;
  const owner = new Datapath("owner", node.pinDir);
  for (const pod of [a, b]) putPod(owner, netnsCookie(pod.netns), pod.addresses.v4, pod.addresses.v6);
  const drain = setInterval(() => node.dp.events(), DRAIN_MS);
  const stats = readFileSync(statsSwitch, "utf8");
  const ends = {
    clientNs: { netns: a.netns, cgroups: [cgroup] },
    serverNs: { netns: b.netns, cgroups: [cgroup] },
    ...{ serverIp: b.addresses.v4, seconds, cpu: 1, realtime: true },
  };
  const subject = (name: string, isOn: boolean): Subject => ({
    name,
    measure: async (mode) => {
      const flags = isOn ? config.flags | ConfigFlags.PROCESSES : config.flags;
      node.dp.configure({ ...config, flags });
      const program = owner.object.program("sock_owner");
      const link = isOn ? Link.attachCgroup(program, cgroup, AttachType.CGROUP_INET_SOCK_CREATE) : undefined;
      try {
        return await measureMode(mode, ends);
      } finally {
        link?.close();
      }
    },
  });
  const subjects = [subject("without", false), subject("with processes", true)];
  try {
    const comparison = await compare(subjects, { rounds, modes: ["tcp-crr", "udp-rr", "tcp-rr"] });
    console.log(comparisonTable(comparison));
    console.log(writeReport(root, "datapath-processes", comparison));
    writeFileSync(statsSwitch, "1");
    const programs = new Map([
      ["pod_from", node.dp.object.program("pod_from")],
      ["sock_owner", owner.object.program("sock_owner")],
    ]);
    const times = new Times(programs);
    for (let i = 0; i < 5; i++) {
      for (const one of subjects) {
        await one.measure("tcp-crr");
        console.log(one.name, JSON.stringify(times.take()));
      }
    }
  } finally {
    writeFileSync(statsSwitch, stats);
    clearInterval(drain);
    owner.close();
    await cluster.close();
    rmdirSync(cgroup);
  }
}

await run();

/**
 * The agent: what a CNI call costs beside ptp with host-local, how many pods a second it takes, its memory, and how
 * long after its start the first pod is there. Usage: node dist/bench-agent.mjs [pods] [rounds].
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { findCgroup2 } from "@axoneme/bpf";
import { cniTable, compareCni, ptpSubject, timePlugin } from "../cni/ptp.ts";
import { buildPerf, formatTable, median, writeReport } from "../net/index.ts";
import { BenchLab } from "../pods/lab.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { BenchNode } from "./node.ts";

const root = process.cwd();
const count = Number(process.argv[2] ?? 40);
const rounds = Number(process.argv[3] ?? 5);
/** As many as a node has addresses for, nearly. */
const manyPods = 200;
const startRounds = 5;

const say = (text: string) => console.error(text);

/** Milliseconds that a process of Node takes which does nothing: how busy the machine is just now. */
async function emptyStart(): Promise<number> {
  const begin = performance.now();
  await promisify(execFile)(process.execPath, ["-e", "0"]);
  return performance.now() - begin;
}

/** Medians of several starts anew, each beside an empty process; `prepare` runs while no agent does. */
async function startTimes(node: BenchNode, prepare: () => void) {
  const times: number[] = [];
  const empty: number[] = [];
  for (let round = 0; round < startRounds; round++) {
    await node.killAgent();
    prepare();
    empty.push(await emptyStart());
    times.push(await node.startToFirstAdd());
  }
  return { ms: median(times), least: Math.min(...times), emptyMs: median(empty) };
}

const startText = ({ ms, least, emptyMs }: { ms: number; least: number; emptyMs: number }) =>
  `${ms.toFixed(0)}, least ${least.toFixed(0)}, beside node -e 0: ${emptyMs.toFixed(0)}`;

/** Memory of an agent without pods, of the same with many, and of one that found them when it started. */
async function memory(node: BenchNode) {
  await node.killAgent();
  await node.startToFirstAdd();
  const idle = await node.agentMemory();
  say(
    "memory: the same pods once before, so that what is measured is pods and not code that runs for the first time",
  );
  await timePlugin(node.subject, { count: manyPods, parallel: 4 });
  await node.settled(0);
  const before = await node.agentMemory();
  let after = 0;
  await timePlugin(node.subject, {
    count: manyPods,
    parallel: 4,
    whileUp: async () => {
      await node.settled(manyPods);
      after = await node.agentMemory();
    },
  });
  return { idle, before, after, perPod: (after - before) / manyPods };
}

buildPerf(root);
const lab = await BenchLab.up(root, "bench-agent", ["--nodes", "1"]);
const peer = await ptpSubject();
try {
  const node = await BenchNode.join(lab.name, findCgroup2());
  try {
    await node.createPods(manyPods);
    say("first start");
    const first = await node.startToFirstAdd();
    say("starts with programs to verify");
    const cold = await startTimes(node, () => node.unpin());
    say("starts with programs taken over");
    const warm = await startTimes(node, () => undefined);
    const held = await memory(node);
    const cni = await compareCni([peer.subject, node.subject], { rounds, count, progress: say });
    const burst = await compareCni([peer.subject, node.subject], {
      rounds: 3,
      count: manyPods,
      parallel: 8,
      progress: (text) => say(`${text}, 8 at a time`),
    });
    const figures = { first, cold, warm, ...held };
    console.log(cniTable(cni));
    console.log(`\n${manyPods} pods, 8 calls at a time`);
    console.log(cniTable(burst));
    console.log(
      `\n${formatTable([
        ["what", "", "figure"],
        ["first start of a node to first ADD", "ms", figures.first.toFixed(0)],
        ["start to first ADD, programs verified", "ms", startText(cold)],
        ["start to first ADD, programs taken over", "ms", startText(warm)],
        ["memory without pods", "MB", (figures.idle / 1024).toFixed(1)],
        [
          `memory before and with ${manyPods} pods`,
          "MB",
          `${(held.before / 1024).toFixed(1)} ${(held.after / 1024).toFixed(1)}`,
        ],
        ["memory of a pod", "kB", figures.perPod.toFixed(1)],
      ])}`,
    );
    console.log(`written to ${writeReport(root, "agent", { figures, cni, burst })}`);
    writeSummary(root, "agent", measures());

    function measures(): Measure[] {
      const of = (from: typeof cni, subject: string, command: "ADD" | "DEL") => {
        const found = from.figures.find((f) => f.subject === subject && f.command === command);
        if (!found) throw new Error(`no figure of ${subject} ${command}`);
        return found;
      };
      const pair = (command: "ADD" | "DEL", atMost: number): Measure => {
        const [theirs, ours] = [of(cni, peer.subject.name, command), of(cni, node.subject.name, command)];
        return {
          measure: `CNI ${command}, p50 ms against ${peer.subject.name}`,
          ours: ours.p50Ms.toFixed(2),
          peer: theirs.p50Ms.toFixed(2),
          value: ours.ratio,
          bar: { atMost },
        };
      };
      const own = (measure: string, value: number, bar: Measure["bar"]): Measure => ({
        measure,
        ours: value.toFixed(1),
        peer: "",
        value,
        bar,
      });
      const start = (measure: string, { ms, emptyMs }: typeof cold): Measure => ({
        ...own(measure, ms, { atMost: 1000 }),
        peer: emptyMs.toFixed(0),
      });
      const rate = of(burst, node.subject.name, "ADD");
      return [
        pair("ADD", 1),
        pair("DEL", 0.5),
        {
          ...own("pods a second, 8 ADDs at a time", rate.perSecond, { atLeast: 100 }),
          peer: of(burst, peer.subject.name, "ADD").perSecond.toFixed(1),
        },
        start("start to first ADD, programs verified, ms against node -e 0", cold),
        start("start to first ADD, programs taken over, ms against node -e 0", warm),
        own("memory of the agent without pods, MB", figures.idle / 1024, { atMost: 110 }),
        own("memory of a pod, kB", figures.perPod, { atMost: 40 }),
      ];
    }
  } finally {
    await node.close();
  }
} finally {
  await peer.close();
  await lab.down();
}

/**
 * Flows: records from the kernel into the store, memory of a store of a million, first answer and stream out of it, and
 * a relay over ten nodes; what observation costs pods. Usage: node dist/bench-hubble.mjs [seconds] [records a second], as 10 1000000.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPerf, comparisonTable, formatTable, writeReport } from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { type CostFigures, cost } from "./cost.ts";
import { ingest } from "./ingest.ts";
import { runRole, start } from "./roles.ts";

const million = 1 << 20;
const relayNodes = 10;
const relaySeconds = 5;
const rounds = 3;
/** Rounds of traffic with observation and without. */
const costRounds = 9;

interface Read {
  readonly flows: number;
  readonly firstMs: number;
  readonly ms: number;
  readonly bytes: number;
}

const rateOf = ({ flows, firstMs, ms }: Read): number => flows / ((ms - firstMs) / 1000);
const best = <T>(all: readonly T[], by: (item: T) => number): T =>
  all.reduce((a, b) => (by(b) > by(a) ? b : a));

async function repeated(role: () => Promise<Read>): Promise<Read[]> {
  const all: Read[] = [];
  for (let i = 0; i < rounds; i++) all.push(await role());
  return all;
}

async function read(server: string, request: object, seconds = 0): Promise<Read> {
  const { child, told } = await start("read", server, JSON.stringify(request), seconds);
  child.disconnect();
  return told as Read;
}

async function main(): Promise<void> {
  const root = process.cwd();
  const seconds = Number(process.argv[2] ?? 10);
  const rate = Number(process.argv[3] ?? 1_000_000);
  const dir = mkdtempSync(join(tmpdir(), "axon-bench-"));
  buildPerf(root);
  try {
    const costs = await cost(root, costRounds, 0.5);
    const taken = await ingest(rate, seconds);
    const socket = join(dir, "store.sock");
    const { child: holder, told } = await start("store", socket, million);
    const held = told as { flows: number; bytes: number; rss: number };
    const last = await repeated(() => read(socket, { number: 20 }));
    const streams = await repeated(() => read(socket, {}));
    holder.disconnect();
    const prefix = join(dir, "node");
    const { child: nodes } = await start("nodes", relayNodes, prefix);
    const relaySocket = join(dir, "relay.sock");
    const { child: relay } = await start("relay", relaySocket, relayNodes, prefix);
    const merged = await repeated(() => read(relaySocket, { follow: true }, relaySeconds));
    relay.disconnect();
    nodes.disconnect();
    report(root, { costs, taken, held, last, streams, merged });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Figures {
  readonly costs: CostFigures;
  readonly taken: Awaited<ReturnType<typeof ingest>>;
  readonly held: { readonly flows: number; readonly bytes: number; readonly rss: number };
  readonly last: readonly Read[];
  readonly streams: readonly Read[];
  readonly merged: readonly Read[];
}

function report(root: string, { costs, taken, held, last, streams, merged }: Figures): void {
  const megabytes = held.bytes / 2 ** 20;
  const firstMs = Math.min(...last.map((one) => one.firstMs));
  const stream = rateOf(best(streams, rateOf));
  const relayed = rateOf(best(merged, rateOf));
  const share = taken.stored / (taken.written + taken.lost);
  const kilo = (value: number): string => `${(value / 1000).toFixed(0)}k/s`;
  console.log(
    formatTable([
      ["flows", "", "figure"],
      ["records written by the kernel", "", kilo(taken.rate)],
      ["of them without room in the ring buffer", "", String(taken.lost)],
      ["in the store", "", String(taken.stored)],
      ["CPU of taking them in", "", `${(taken.cpu * 100).toFixed(0)} %`],
      [
        `memory of a store of ${held.flows}`,
        "",
        `${megabytes.toFixed(0)} MB (resident ${(held.rss / 2 ** 20).toFixed(0)})`,
      ],
      ["first of the last 20", "", last.map((one) => `${one.firstMs.toFixed(1)} ms`).join(", ")],
      ["to one client", "", streams.map((one) => kilo(rateOf(one))).join(", ")],
      [`relay over ${relayNodes} nodes`, "", merged.map((one) => kilo(rateOf(one))).join(", ")],
    ]),
  );
  console.log(comparisonTable(costs.traffic));
  const micros = (value: number): string => `${value.toFixed(2)} us`;
  console.log(
    `agent's CPU for a connection: ${micros(costs.agent.on)}, without observation ${micros(costs.agent.off)}`,
  );
  const observed = costs.traffic.figures.filter(({ subject }) => subject === "with observation");
  const figure = (measure: string, value: number, ours: string, bar: Measure["bar"]): Measure => ({
    measure,
    ours,
    peer: "",
    value,
    bar,
  });
  writeReport(root, "hubble", { costs, taken, held, last, streams, merged });
  writeSummary(root, "hubble", [
    figure("records a second from the kernel", taken.rate, kilo(taken.rate), { atLeast: 1_000_000 * 0.99 }),
    figure("share of them in the store", share, share.toFixed(4), { atLeast: 1 }),
    figure(
      "every record stored or counted as lost",
      (taken.stored + taken.lost) / (taken.written + taken.lost),
      "",
      { atLeast: 1 },
    ),
    figure("memory of a store of 1M flows, MB", megabytes, megabytes.toFixed(0), { atMost: 160 }),
    figure("first of the last 20 of 1M, ms", firstMs, firstMs.toFixed(1), { atMost: 20 }),
    figure("flows a second to one client", stream, kilo(stream), { atLeast: 60_000 }),
    ...observed.map(({ mode, ratio }) =>
      figure(`${mode} with observation, against without`, ratio, ratio.toFixed(3), { atLeast: 0.97 }),
    ),
    figure("flows a second of a relay over 10 nodes", relayed, kilo(relayed), { atLeast: 100_000 }),
  ]);
}

if (!(await runRole())) await main();

/**
 * The DNS proxy: queries a second on one core, and what it adds to their latency, against the same queries without it.
 * Usage: node dist/bench-dns.mjs [rates] [rounds] [seconds], as 5000,20000,30000 25 0.2.
 */
import { formatTable, median, writeReport } from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { type Asking, askNames, buildLoad, type Latency } from "./programs.ts";
import { places, Scene } from "./scene.ts";

const root = process.cwd();
const rates = (process.argv[2] ?? "1000,5000,20000,25000,30000").split(",").map(Number);
const rounds = Number(process.argv[3] ?? 25);
/** Short turns: what the machine does meanwhile is in some of them, and the middle one is told. */
const seconds = Number(process.argv[4] ?? 0.2);
/** At which the bars are. */
const wanted = 20_000;
/** Names that clients ask for again and again, as those of a cluster do. */
const hotNames = 1000;
/** A rate at which every query is for a name nobody has asked for: each answer waits for the agent. */
const newNamesRate = 2000;

interface Figure {
  readonly rate: number;
  readonly direct: Latency;
  readonly proxied: Latency;
  /** Microseconds of the proxy's core for a query. */
  readonly cpuUs: number;
}

const say = (text: string) => console.error(text);
const us = (value: number) => `${value.toFixed(0)} us`;

function middle(all: readonly Latency[]): Latency {
  const of = (part: keyof Latency) => median(all.map((one) => one[part]));
  const sum = (part: keyof Latency) => all.reduce((total, one) => total + one[part], 0);
  const times = { p50: of("p50"), p90: of("p90"), p99: of("p99"), p999: of("p999"), max: of("max") };
  return { sent: sum("sent"), answered: sum("answered"), wrong: sum("wrong"), ...times };
}

async function measure(scene: Scene, rate: number, names: number): Promise<Figure> {
  const direct: Latency[] = [];
  const proxied: Latency[] = [];
  const cpu: number[] = [];
  const place = { netns: scene.asker.netns, ...places.clients };
  for (let round = 0; round < rounds; round++) {
    const asking: Asking = {
      address: scene.server.addresses.v4,
      rate,
      seconds,
      names,
      prefix: `r${rate}-${names === 0 ? round : ""}-`,
    };
    scene.through(false);
    direct.push(await askNames(place, asking));
    scene.through(true);
    const before = scene.proxyCpu;
    const one = await askNames(place, asking);
    proxied.push(one);
    cpu.push(((scene.proxyCpu - before) * 1e6) / one.sent);
    scene.rest();
  }
  return { rate, direct: middle(direct), proxied: middle(proxied), cpuUs: median(cpu) };
}

const lost = ({ sent, answered }: Latency) => 1 - answered / sent;
const added = ({ direct, proxied }: Figure) => proxied.p99 - direct.p99;

function row(name: string, figure: Figure): string[] {
  const { direct, proxied, cpuUs } = figure;
  return [
    name,
    us(direct.p50),
    us(direct.p99),
    us(proxied.p50),
    us(proxied.p99),
    us(added(figure)),
    us(proxied.p999),
    `${cpuUs.toFixed(1)} us`,
    `${(lost(proxied) * 100).toFixed(3)} %`,
  ];
}

buildLoad(root);
const scene = await Scene.create();
try {
  // Code that has run warm is what a node has after its first second.
  scene.through(true);
  await askNames(
    { netns: scene.asker.netns, ...places.clients },
    { address: scene.server.addresses.v4, rate: 10_000, seconds: 3, names: hotNames, prefix: "warm-" },
  );
  const figures: Figure[] = [];
  for (const rate of rates) {
    const figure = await measure(scene, rate, hotNames);
    figures.push(figure);
    say(row(`${rate}/s`, figure).join("  "));
  }
  const fresh = await measure(scene, newNamesRate, 0);
  const memory = scene.proxyMemory;
  const head = [
    "queries",
    "direct p50",
    "p99",
    "proxied p50",
    "p99",
    "added p99",
    "p99.9",
    "CPU a query",
    "lost",
  ];
  console.log(
    formatTable([
      head,
      ...figures.map((f) => row(`${f.rate}/s`, f)),
      row(`${newNamesRate}/s, new names`, fresh),
    ]),
  );
  console.log(`\nresident memory of the proxy: ${memory.toFixed(0)} MiB`);
  writeReport(root, "dns", { figures, fresh, memory });

  const carried = figures
    .filter((f) => lost(f.proxied) < 0.0005 && f.proxied.wrong === 0)
    .map(({ rate }) => rate);
  const at = figures.find(({ rate }) => rate === wanted) ?? figures.at(-1);
  const most = Math.max(0, ...carried);
  const measures: Measure[] = [
    {
      measure: "DNS proxy on one core: queries a second without loss",
      ours: `${most}/s`,
      peer: "",
      value: most,
      bar: { atLeast: wanted },
    },
  ];
  if (at !== undefined) {
    measures.push({
      measure: `DNS proxy at ${at.rate}/s: latency added at p99, ms`,
      ours: us(at.proxied.p99),
      peer: us(at.direct.p99),
      value: added(at) / 1000,
      bar: { atMost: 1 },
    });
  }
  measures.push({
    measure: `DNS proxy at ${newNamesRate}/s of new names, each let in by the agent first: added at p99, ms`,
    ours: us(fresh.proxied.p99),
    peer: us(fresh.direct.p99),
    value: added(fresh) / 1000,
    bar: { atMost: 5 },
  });
  writeSummary(root, "dns", measures);
} finally {
  await scene.close();
}

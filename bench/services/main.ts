/**
 * Services beside the rules kube-proxy writes for the same ones: connect rate and latency of the first packet at
 * several numbers of Services, how long a change takes, how long an agent takes to load all of them and what it needs.
 * Usage: node dist/bench-services.mjs [sizes] [rounds] [seconds] [changes], as 1,1000,20000 9 0.3 100.
 */

import { parseInterfaceAddress } from "@axoneme/base";
import { Netlink } from "@axoneme/netlink";
import { bareVethPair, buildPerf, formatTable, type Topology, writeReport } from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { changeTimes, quantile } from "./change.ts";
import { checkPeers } from "./commands.ts";
import { measureEdge } from "./edge.ts";
import { loadFigures } from "./load.ts";
import { writeTimes } from "./maps.ts";
import { backendPort, backendsEach, targetsOf } from "./model.ts";
import { OurNode } from "./ours.ts";
import { type IptablesBackend, iptablesPeer, nftablesPeer, type Peer } from "./peers.ts";
import {
  latencyRatio,
  measureRates,
  type RateFigure,
  type RateSubject,
  rateRatio,
  serviceTargets,
  startServers,
} from "./rates.ts";

const root = process.cwd();
const sizes = (process.argv[2] ?? "1,1000,10000,20000,30000").split(",").map(Number);
const rounds = Number(process.argv[3] ?? 11);
const seconds = Number(process.argv[4] ?? 0.25);
const changes = Number(process.argv[5] ?? 200);
/** At which changes and the load are measured. */
const fullSize = sizes.includes(20_000) ? 20_000 : Math.max(...sizes);
const loadRounds = 3;
/** Of a number of Services beside one: short turns, so that what the machine does meanwhile meets both. */
const pairRounds = 61;
const pairSeconds = 0.12;

const say = (text: string) => console.error(text);
const kilo = (value: number) => `${(value / 1000).toFixed(2)}k/s`;

/** As many addresses behind the bare pair as a Service has backends. */
async function bareTargets({ server }: Topology): Promise<string[]> {
  const netlink = Netlink.open({ netnsPath: server.netns });
  try {
    const { index } = await netlink.linkGet("eth0");
    const more = Array.from({ length: backendsEach - 1 }, (_, i) => `10.99.0.${3 + i}`);
    for (const ip of more)
      await netlink.addrAdd({ index, prefix: parseInterfaceAddress(`${ip}/24`), noDad: true });
    return [server.ipv4, ...more];
  } finally {
    netlink.close();
  }
}

const names = {
  bare: "bare veth",
  one: "ours, one Service",
  onePackets: "ours, one Service, packets",
  socket: "ours",
  among: "ours, always the same Service",
  packets: "ours, packets",
} as const;

/**
 * What is flat in the number of Services: a client that dials one over and over, as where it is alone; one that dials
 * another each time, whose rows the CPU has not at hand; and the same for packets.
 */
const againstOne = [
  [names.among, names.one],
  [names.socket, names.one],
  [names.packets, names.onePackets],
] as const;
const aspects = ["rate", "p50", "p99"] as const;
type Aspect = (typeof aspects)[number];

checkPeers();
buildPerf(root);
const backend = (process.env["AXON_BENCH_IPTABLES"] ?? "nft") as IptablesBackend;
const cleanUp: (() => Promise<void>)[] = [];
const closing = <T extends { close(): Promise<void> }>(it: T): T => {
  cleanUp.push(() => it.close());
  return it;
};
try {
  const bare = closing(await bareVethPair());
  const bareHosts = await bareTargets(bare);
  const iptables = await iptablesPeer(backend);
  closing(iptables.topology);
  const nftables = await nftablesPeer();
  closing(nftables.topology);
  const one = closing(await OurNode.up(root, "bench-one"));
  const many = closing(await OurNode.up(root, "bench-many"));
  const peers: readonly Peer[] = [iptables, nftables];
  cleanUp.push(
    await startServers([
      ...bareHosts.map((ip) => ({ netns: bare.server.netns, ip })),
      ...peers.flatMap(({ topology }) => topology.servers.map(({ netns, ipv4: ip }) => ({ netns, ip }))),
      ...[one, many].flatMap(({ servers }) => servers.map(({ netns, ipv4: ip }) => ({ netns, ip }))),
    ]),
  );
  await one.load(1);
  const edge = await measureEdge(backend);

  let size = 1;
  /** How far two labs with one Service each are apart: what that is, a number of Services did not do. */
  const apart = new Map<string, number>();
  const inPods = (name: string, node: OurNode, isSocket: boolean, count: () => number): RateSubject => ({
    name,
    clientNs: isSocket ? { netns: node.clientNs, cgroups: [node.cgroup] } : node.clientNs,
    targets: () => serviceTargets(targetsOf(count())),
  });
  const subjects: readonly RateSubject[] = [
    {
      name: names.bare,
      clientNs: bare.client.netns,
      targets: () => ({ hosts: bareHosts, port: backendPort }),
    },
    inPods(names.one, one, true, () => 1),
    inPods(names.socket, many, true, () => size),
    inPods(names.among, many, true, () => 1),
    inPods(names.onePackets, one, false, () => 1),
    inPods(names.packets, many, false, () => size),
    ...peers.map(({ name, topology }) => ({
      name,
      clientNs: topology.client.netns,
      targets: () => serviceTargets(targetsOf(size)),
    })),
  ];

  const measures: Measure[] = [];
  const report: Record<string, unknown> = { edge };
  measures.push(...edgeMeasures());
  const heading = ["Services", "subject", "connections", "connect p50 us", "p99 us", "to bare", "errors"];
  const rows: string[][] = [heading];
  for (size of sizes) {
    say(`${size} Services`);
    for (const peer of peers) say(`  ${peer.name} loaded in ${(await peer.load(size)).toFixed(0)} ms`);
    say(`  created through the API and loaded in ${(await many.load(size)).toFixed(0)} ms`);
    const figures = await measureRates(
      subjects.filter(({ name }) => name !== names.among),
      rounds,
      seconds,
    );
    const sockets = await measureRates(pairOf(names.one, names.among, names.socket), pairRounds, pairSeconds);
    const packets = await measureRates(pairOf(names.onePackets, names.packets), pairRounds, pairSeconds);
    report[`rates-${size}`] = { figures, sockets, packets };
    measures.push(...rateMeasures(figures), ...flatMeasures([...sockets, ...packets]));
    rows.push(...figures.map((figure) => rateRow(figure, figures)));
    if (size === fullSize) {
      measures.push(...(await changeMeasures()));
      measures.push(...(await loadMeasures()));
    }
  }
  console.log(formatTable(rows));
  console.log(`written to ${writeReport(root, "services", report)}`);
  writeSummary(root, "services", measures);

  function edgeMeasures(): Measure[] {
    const { costs, rates } = edge;
    const million = (value: number) => `${(value / 1e6).toFixed(2)}M/s`;
    console.log(
      `${formatTable([
        ["a packet of a known UDP flow to a NodePort, backend on another node", "", "ns"],
        ["empty XDP program", "", String(costs.emptyXdp)],
        ["xdp_lb", "", String(costs.xdp)],
        ["empty tcx program", "", String(costs.emptyTc)],
        ["node_from", "", String(costs.tc)],
      ])}\n\nframes a second that a sender beside the node can send: ${million(rates.sent)}\n`,
    );
    const pair = { ours: million(rates.xdp), peer: million(rates.iptables), bar: { atLeast: 4 } };
    const against = `XDP against ${iptables.name}`;
    return [
      { ...pair, measure: `NodePort packets a second, ${against}`, value: rates.ratio },
      {
        ...pair,
        measure: `the same without the sender's share of the CPU, ${against}`,
        value: rates.ownRatio,
      },
    ];
  }

  function rateRow(figure: RateFigure, all: readonly RateFigure[]): string[] {
    return [
      String(size),
      figure.subject,
      kilo(figure.rate),
      figure.p50.toFixed(1),
      figure.p99.toFixed(1),
      rateRatio(figure, figureOf(all, names.bare)).toFixed(3),
      String(figure.errors),
    ];
  }

  function figureOf(all: readonly RateFigure[], name: string): RateFigure {
    const found = all.find(({ subject }) => subject === name);
    if (found === undefined) throw new Error(`no figure of ${name}`);
    return found;
  }

  function rateMeasures(all: readonly RateFigure[]): Measure[] {
    const pair = (ours: string, theirs: string, atLeast: number): Measure => {
      const [own, other] = [figureOf(all, ours), figureOf(all, theirs)];
      return {
        measure: `${size} Services: connections a second, ${ours}, against ${theirs}`,
        ours: kilo(own.rate),
        peer: kilo(other.rate),
        value: rateRatio(own, other),
        bar: { atLeast },
      };
    };
    const latency = (ours: string, theirs: string, atMost: number): Measure => {
      const [own, other] = [figureOf(all, ours), figureOf(all, theirs)];
      return {
        measure: `${size} Services: connect() p50 us, ${ours}, against ${theirs}`,
        ours: own.p50.toFixed(1),
        peer: other.p50.toFixed(1),
        value: latencyRatio(own, other, "p50"),
        bar: { atMost },
      };
    };
    const all1 = size === 1 ? [pair(names.socket, names.bare, 0.8)] : [];
    const ahead = peers.flatMap(({ name }) => [
      pair(names.socket, name, 1),
      pair(names.packets, name, 1),
      latency(names.socket, name, 1),
    ]);
    return [...all1, ...ahead];
  }

  function pairOf(...wanted: string[]): RateSubject[] {
    return subjects.filter(({ name }) => wanted.includes(name));
  }

  /** Many Services against one: of either lab, less what the two are apart with one Service each. */
  function flatMeasures(all: readonly RateFigure[]): Measure[] {
    const measured = againstOne.flatMap(([many, one]) =>
      aspects.map((aspect) => flatMeasure(all, many, one, aspect)),
    );
    if (size > 1) return measured;
    const text = measured.map(({ measure, value }) => `\n    ${value.toFixed(3)} ${measure}`);
    say(`  two labs with one Service each are apart by${text.join("")}`);
    return [];
  }

  function flatMeasure(all: readonly RateFigure[], many: string, one: string, aspect: Aspect): Measure {
    const [own, other] = [figureOf(all, many), figureOf(all, one)];
    const ratio = aspect === "rate" ? rateRatio(own, other) : latencyRatio(own, other, aspect);
    const key = `${many} ${aspect}`;
    if (size === 1) apart.set(key, ratio);
    const show = (figure: RateFigure) => (aspect === "rate" ? kilo(figure.rate) : figure[aspect].toFixed(1));
    const what = aspect === "rate" ? "connections a second" : `connect() ${aspect} us`;
    return {
      measure: `${size} Services: ${what}, ${many}, against one Service`,
      ours: show(own),
      peer: show(other),
      value: size === 1 ? ratio : ratio / (apart.get(key) ?? 1),
      bar: aspect === "rate" ? { atLeast: 0.97 } : { atMost: 1.03 },
    };
  }

  async function changeMeasures(): Promise<Measure[]> {
    say(`  ${changes} changes of endpoints`);
    const times = await changeTimes(many, size, changes);
    const theirs = await peerChanges();
    const writes = ["ax_services", "ax_backends", "ax_slots"].map((name) => [
      name,
      writeTimes(many.bpffs, name),
    ]);
    report["changes"] = { times, theirs, writes };
    const show = (values: readonly number[]) =>
      [0.5, 0.9, 0.99, 1].map((share) => quantile(values, share).toFixed(2));
    console.log(
      `${formatTable([
        [`a change among ${size} Services`, "", "p50", "p90", "p99", "max"],
        ["from the API's answer to the first connection", "ms", ...show(times.sinceAnswer)],
        ["from the request to the first connection", "ms", ...show(times.sinceRequest)],
        ...theirs.map(({ name, ms }) => [`rules restored: ${name}`, "ms", ...show(ms)]),
      ])}\n`,
    );
    for (const [name, time] of writes) {
      if (typeof time === "object")
        console.log(
          `a write to ${String(name)}: ${time.one.toFixed(2)} us, in batches ${time.batched.toFixed(2)} us`,
        );
    }
    const peer = (share: number) =>
      theirs.map(({ name, ms }) => `${name} ${quantile(ms, share).toFixed(0)}`).join(", ");
    const bars = [
      [0.5, "p50", 10],
      [0.99, "p99", 50],
    ] as const;
    return bars.map(([share, text, atMost]) => ({
      measure: `${size} Services: a change, API's answer to first connection, ${text} ms`,
      ours: quantile(times.sinceAnswer, share).toFixed(2),
      peer: peer(share),
      value: quantile(times.sinceAnswer, share),
      bar: { atMost },
    }));
  }

  async function peerChanges(): Promise<{ name: string; ms: number[] }[]> {
    const result: { name: string; ms: number[] }[] = [];
    for (const peer of peers) {
      const ms = await peer.change(Math.floor(size / 2));
      result.push({ name: peer.name, ms: ms.sort((a, b) => a - b) });
    }
    return result;
  }

  async function loadMeasures(): Promise<Measure[]> {
    say("  agents on an empty node");
    const { ms, rounds: all, cpuMs, rssKb, maps } = await loadFigures(many.lab.name, size, loadRounds);
    const kernelMb = [...maps.values()].reduce((sum, bytes) => sum + bytes, 0) / 2 ** 20;
    report["load"] = { ms, rounds: all, cpuMs, rssKb, maps: Object.fromEntries(maps) };
    const largest = [...maps].sort((a, b) => b[1] - a[1]).slice(0, 8);
    console.log(
      `\nkernel memory of the maps: ${kernelMb.toFixed(1)} MB; ${largest.map(([name, bytes]) => `${name} ${(bytes / 2 ** 20).toFixed(1)}`).join(", ")}`,
    );
    console.log(
      `starts on an empty node: ${all.map((one, i) => `${one.toFixed(0)} ms (CPU ${cpuMs[i]})`).join(", ")}\n`,
    );
    const own = (measure: string, value: number, atMost: number): Measure => ({
      measure: `${size} Services x ${backendsEach}: ${measure}`,
      ours: value.toFixed(2),
      peer: "",
      value,
      bar: { atMost },
    });
    return [
      own("from an agent's start on an empty node until all are there, s", ms / 1000, 5),
      own("resident memory of the agent, MB", rssKb / 1024, 300),
    ];
  }
} finally {
  for (const close of cleanUp.reverse()) await close();
}

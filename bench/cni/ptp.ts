/**
 * What a CNI call costs: times any plugin over fresh namespaces, and Debian's `ptp` with `host-local` as the peer.
 *
 *     const peer = await ptpSubject();
 *     const ours = { name: "axoneme", plugin, config: { cniVersion: "1.1.0", name: "axon", type: "axoneme-cni", axonSocket } };
 *     const outcome = await compareCni([peer.subject, ours], { rounds: 5, count: 50 });
 *     console.log(cniTable(outcome));
 *     await peer.close();
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { builtFile, launch, Netns } from "@axoneme/netlink";
import { formatTable } from "../net/report.ts";
import { median } from "../net/rounds.ts";

const run = promisify(execFile);

/** The times of one command, as axon-cni-time prints them. */
export interface CniTimes {
  readonly count: number;
  readonly failed: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly meanMs: number;
  /** What the first failed call printed; empty if none failed. */
  readonly firstError: string;
}

/** A plugin with its configuration. */
export interface CniSubject {
  readonly name: string;
  /** Path of the binary. */
  readonly plugin: string;
  /** Network configuration, given on stdin. */
  readonly config: object;
  /** Namespace to call it in (a node's); default the caller's. */
  readonly nodeNetns?: string;
  /** CNI_ARGS; `{i}` is the number of the call, as in `K8S_POD_NAME=bench-{i};K8S_POD_NAMESPACE=default`. */
  readonly args?: string;
  /** Start of container ids and namespace names, default "bench". */
  readonly prefix?: string;
}

/** How to time a plugin. */
export interface CniOptions {
  /** Pods a round, default 50. */
  readonly count?: number;
  /** Calls at the same time, default 1. */
  readonly parallel?: number;
  /** Number of the first pod, default 0. */
  readonly first?: number;
  /** Called between ADD and DEL with the folder of the namespaces. */
  readonly whileUp?: (netnsDir: string) => Promise<void>;
}

/** Times of both commands. */
export interface CniResult {
  readonly add: CniTimes;
  readonly del: CniTimes;
}

function scratch(): string {
  mkdirSync("/run/axon-bench", { recursive: true });
  return mkdtempSync(`/run/axon-bench/cni-${process.pid}-`);
}

async function call(
  subject: CniSubject,
  command: string,
  dir: string,
  options: CniOptions,
): Promise<CniTimes> {
  const args = ["--plugin", subject.plugin, "--config", join(dir, "config.json"), "--command", command];
  args.push("--netns-dir", dir, "--prefix", subject.prefix ?? "bench", "--args", subject.args ?? "");
  args.push("--count", String(options.count ?? 50), "--parallel", String(options.parallel ?? 1));
  args.push("--first", String(options.first ?? 0));
  const inside = subject.nodeNetns === undefined ? {} : { netns: subject.nodeNetns };
  const { file, args: all } = launch(inside, [builtFile("bin/axon-cni-time"), ...args]);
  const { stdout } = await run(file, all, { timeout: 300_000 });
  return JSON.parse(stdout) as CniTimes;
}

/**
 * Makes `count` namespaces, times ADD for each, then DEL for each, and removes the namespaces. Making and removing
 * is not timed. Failed calls are counted in the result, not thrown.
 */
export async function timePlugin(subject: CniSubject, options: CniOptions = {}): Promise<CniResult> {
  const dir = scratch();
  const first = options.first ?? 0;
  const names = Array.from({ length: options.count ?? 50 }, (_, i) =>
    join(dir, `${subject.prefix ?? "bench"}${first + i}`),
  );
  writeFileSync(join(dir, "config.json"), JSON.stringify(subject.config));
  try {
    await Promise.all(names.map((name) => Netns.create(name)));
    const add = await call(subject, "ADD", dir, options);
    await options.whileUp?.(dir);
    const del = await call(subject, "DEL", dir, options);
    return { add, del };
  } finally {
    await Promise.allSettled(names.map((name) => Netns.delete(name)));
    rmSync(dir, { recursive: true });
  }
}

/** The peer, with a node namespace of its own so that nothing of it is left in the machine's. */
export async function ptpSubject(
  options: { readonly pluginDir?: string } = {},
): Promise<{ readonly subject: CniSubject; close(): Promise<void> }> {
  const dir = scratch();
  const nodeNetns = join(dir, "node");
  await Netns.create(nodeNetns, { sysctls: { "net.ipv4.ip_forward": 1 } });
  const subject: CniSubject = {
    name: "ptp + host-local",
    plugin: join(options.pluginDir ?? "/usr/lib/cni", "ptp"),
    nodeNetns,
    config: {
      cniVersion: "1.0.0",
      name: "bench",
      type: "ptp",
      ipam: { type: "host-local", dataDir: join(dir, "ipam"), ranges: [[{ subnet: "10.94.0.0/16" }]] },
    },
  };
  const close = async (): Promise<void> => {
    await Netns.delete(nodeNetns);
    rmSync(dir, { recursive: true });
  };
  return { subject, close };
}

/** One subject over all rounds: medians of the rounds, and the ratio to the first subject's. */
export interface CniFigure {
  readonly subject: string;
  readonly command: "ADD" | "DEL";
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly perSecond: number;
  /** Median over the rounds of the p50 against the first subject's: less is better. */
  readonly ratio: number;
  readonly failed: number;
  readonly firstError: string;
}

/** The outcome of {@link compareCni}. */
export interface CniComparison {
  readonly baseline: string;
  readonly figures: readonly CniFigure[];
  readonly results: Readonly<Record<string, readonly CniResult[]>>;
}

/** Times the subjects in turn, round after round; the first is the baseline. */
export async function compareCni(
  subjects: readonly CniSubject[],
  options: CniOptions & { readonly rounds: number; readonly progress?: (text: string) => void },
): Promise<CniComparison> {
  const results: Record<string, CniResult[]> = {};
  for (let round = 0; round < options.rounds; round++) {
    for (const subject of subjects) {
      options.progress?.(`CNI, round ${round + 1} of ${options.rounds}: ${subject.name}`);
      const own = results[subject.name] ?? [];
      own.push(await timePlugin(subject, options));
      results[subject.name] = own;
    }
  }
  const baseline = subjects[0]?.name ?? "";
  const figures = (["ADD", "DEL"] as const).flatMap((command) =>
    subjects.map(({ name }) => figure(name, command, results[name] ?? [], results[baseline] ?? [])),
  );
  return { baseline, figures, results };
}

function figure(subject: string, command: "ADD" | "DEL", own: CniResult[], base: CniResult[]): CniFigure {
  const of = (result: CniResult): CniTimes => (command === "ADD" ? result.add : result.del);
  const times = own.map(of);
  const ratios = base.map((result, round) => (times[round]?.p50Ms ?? Number.NaN) / of(result).p50Ms);
  return {
    subject,
    command,
    p50Ms: median(times.map((time) => time.p50Ms)),
    p99Ms: median(times.map((time) => time.p99Ms)),
    perSecond: median(times.map((time) => time.perSecond)),
    ratio: median(ratios),
    failed: times.reduce((sum, time) => sum + time.failed, 0),
    firstError: times.find((time) => time.firstError !== "")?.firstError ?? "",
  };
}

/** The figures as a table. */
export function cniTable(comparison: CniComparison): string {
  const heading = ["command", "subject", "p50 ms", "p99 ms", "a second", "ratio", "failed"];
  const rows = comparison.figures.map((figure) => [
    figure.command,
    figure.subject,
    figure.p50Ms.toFixed(2),
    figure.p99Ms.toFixed(2),
    figure.perSecond.toFixed(0),
    figure.ratio.toFixed(3),
    String(figure.failed),
  ]);
  return formatTable([heading, ...rows]);
}

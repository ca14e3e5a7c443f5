import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AxonError, waitFor } from "@axoneme/base";
import { launch } from "@axoneme/netlink";

/** What one run of the clients says; times in microseconds. */
export interface Latency {
  readonly sent: number;
  readonly answered: number;
  readonly wrong: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** How a program runs: on one CPU, with a real-time priority (0: none) before all that has none. */
export interface Place {
  readonly netns: string;
  readonly cpu: number;
  readonly priority: number;
}

let program = "";

/** Compiles bench/dns/load.c. */
export function buildLoad(root: string): void {
  program = join(root, "build/bench/dns-load");
  mkdirSync(join(root, "build/bench"), { recursive: true });
  execFileSync("gcc", ["-O2", "-o", program, join(root, "bench/dns/load.c")], { stdio: "inherit" });
}

/** Starts a program at its place. */
export function start({ netns, cpu, priority }: Place, command: readonly string[]): ChildProcess {
  const first = priority > 0 ? ["chrt", "-r", String(priority)] : [];
  const pinned = [...first, "taskset", "-c", String(cpu), ...command];
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, pinned);
  return spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
}

/** The name server; resolves when it serves. */
export async function serveNames(place: Place, address: string): Promise<ChildProcess> {
  const child = start(place, [program, "serve", address]);
  let text = "";
  child.stdout?.on("data", (bytes: Buffer) => {
    text += bytes.toString();
  });
  await waitFor(() => text.includes("serves"), { what: "the name server" });
  return child;
}

export interface Asking {
  readonly address: string;
  readonly rate: number;
  readonly seconds: number;
  /** Different names; 0: every query has a new one. */
  readonly names: number;
  readonly prefix: string;
}

/** Clients in a namespace. Rejects when they cannot run. */
export function askNames(place: Place, { address, rate, seconds, names, prefix }: Asking): Promise<Latency> {
  const child = start(place, [program, "ask", address, String(rate), String(seconds), String(names), prefix]);
  let text = "";
  child.stdout?.on("data", (bytes: Buffer) => {
    text += bytes.toString();
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(JSON.parse(text) as Latency);
      else reject(new AxonError("bench.dns", `the clients ended with ${code}`));
    });
  });
}

import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { AxonError, withDeadline } from "@axoneme/base";
import { builtFile, launch, sysctlSetAll } from "@axoneme/netlink";

const run = promisify(execFile);

/** What axon-perf measures; see axon-perf.c. */
export const modes = ["tcp-rr", "tcp-crr", "udp-rr", "tcp-stream"] as const;
export type Mode = (typeof modes)[number];

/** One run of axon-perf's client. */
export interface Measurement {
  readonly mode: Mode;
  readonly family: 4 | 6;
  readonly seconds: number;
  readonly operations: number;
  readonly opsPerSecond: number;
  readonly bitsPerSecond: number;
  /** Connections that failed (tcp-crr) and sends refused (udp-rr). */
  readonly errors: number;
  /** Requests without an answer (udp-rr). */
  readonly lost: number;
  /** Of one operation, in microseconds. */
  readonly latencyUs: Percentiles;
  /** Of connect() alone (tcp-crr). */
  readonly connectUs?: Percentiles;
}

/** Of a duration, in microseconds. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Where an end runs: a namespace, and cgroups where programs are attached to them (socket load balancing). */
export interface End {
  readonly netns: string;
  readonly cgroups?: readonly string[];
}

/** Options of {@link measurePair}. */
export interface PairOptions {
  readonly clientNs: string | End;
  readonly serverNs: string | End;
  /** The server binds to it and the client connects to it, unless `connectTo` says otherwise. */
  readonly serverIp: string;
  /** Default 17000; each mode takes one, counted on from it. */
  readonly port?: number;
  /** What the client connects to instead, as a Service in front of the server. */
  readonly connectTo?: (mode: Mode, port: number) => { readonly ip: string; readonly port: number };
  /** Default all four. */
  readonly modes?: readonly Mode[];
  /** Measured time of each mode, default 2. */
  readonly seconds?: number;
  /** Time before, default 0.3. */
  readonly warmup?: number;
  /** One CPU for both ends, or one for each; default: the scheduler's choice. */
  readonly cpu?: number | { readonly client: number; readonly server: number };
  /** Real-time priority for both ends: other work of a busy machine does not come between them. Default false. */
  readonly realtime?: boolean;
  /** Bytes of a request and its answer, default 1. */
  readonly size?: number;
}

/** What concerns the server alone. */
type ServerOptions = Pick<PairOptions, "serverNs" | "serverIp" | "cpu" | "realtime" | "size">;

/** Results by mode. */
export type PairResult = Partial<Record<Mode, Measurement>>;

function endOf(end: string | End): End {
  return typeof end === "string" ? { netns: end } : end;
}

function cpuArgs(
  { cpu, realtime }: Pick<PairOptions, "cpu" | "realtime">,
  side: "client" | "server",
): string[] {
  const own = typeof cpu === "object" ? cpu[side] : cpu;
  const args = own === undefined ? [] : ["--cpu", String(own)];
  return realtime === true ? [...args, "--realtime"] : args;
}

function command(end: End, args: string[]): { file: string; args: string[] } {
  return launch({ ...end, parentDeathSignal: "KILL" }, [builtFile("bin/axon-perf"), ...args]);
}

/** Starts the server and resolves once it listens. */
async function startServer(mode: Mode, port: number, options: ServerOptions): Promise<ChildProcess> {
  const args = ["server", "--mode", mode, "--host", options.serverIp, "--port", String(port)];
  if (options.size !== undefined) args.push("--size", String(options.size));
  const { file, args: all } = command(endOf(options.serverNs), [...args, ...cpuArgs(options, "server")]);
  const child = spawn(file, all, { stdio: ["ignore", "pipe", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (text: Buffer) => {
    complaint += text.toString();
  });
  const ended = once(child, "exit").then(() => {
    throw new AxonError("bench.server", `the ${mode} server ended: ${complaint.trim()}`);
  });
  await withDeadline(Promise.race([once(child.stdout, "data"), ended]), 5000, `start of the ${mode} server`);
  // From here on its end is expected; whoever runs the client hears of it there.
  ended.catch(() => undefined);
  return child;
}

async function runClient(
  mode: Mode,
  port: number,
  options: Omit<PairOptions, "serverNs">,
): Promise<Measurement> {
  const target = options.connectTo?.(mode, port) ?? { ip: options.serverIp, port };
  const seconds = options.seconds ?? 2;
  const warmup = options.warmup ?? 0.3;
  const args = ["client", "--mode", mode, "--host", target.ip, "--port", String(target.port)];
  args.push("--seconds", String(seconds), "--warmup", String(warmup), ...cpuArgs(options, "client"));
  if (options.size !== undefined) args.push("--size", String(options.size));
  const { file, args: all } = command(endOf(options.clientNs), args);
  try {
    const { stdout } = await run(file, all, { timeout: (seconds + warmup + 15) * 1000 });
    return JSON.parse(stdout) as Measurement;
  } catch (error) {
    const complaint = (error as { stderr?: string }).stderr?.trim() ?? "";
    throw new AxonError(
      "bench.client",
      `the ${mode} client to ${shortened(target.ip)}:${target.port} failed: ${complaint}`,
      {
        cause: error,
      },
    );
  }
}

function shortened(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

/**
 * Lets a namespace open 20,000 connections a second: the whole port range, and ports in TIME_WAIT are used again
 * after a second (the default, 28,000 ports for 60 s each, would last less than two). The same for both sides of a
 * comparison, so it favours neither.
 */
export async function tuneClient(netns: string): Promise<void> {
  await sysctlSetAll(netns, {
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.tcp_tw_reuse": 1,
  });
}

/**
 * Measures one mode between two namespaces, with a server of its own that ends with it. Throws AxonError
 * `bench.server` or `bench.client` with what axon-perf said.
 */
export async function measureMode(mode: Mode, options: PairOptions): Promise<Measurement> {
  await tuneClient(endOf(options.clientNs).netns);
  const port = (options.port ?? 17_000) + modes.indexOf(mode);
  const server = await serve(mode, port, options);
  try {
    return await runClient(mode, port, options);
  } finally {
    await server.stop();
  }
}

/** A server for many measurements by {@link measureClient}; it ends with `stop`, or with this process. */
export async function serve(
  mode: Mode,
  port: number,
  options: ServerOptions,
): Promise<{ stop(): Promise<void> }> {
  const server = await startServer(mode, port, options);
  return {
    stop: async () => {
      const gone = once(server, "exit");
      server.kill("SIGKILL");
      if (server.exitCode === null && server.signalCode === null) await gone;
    },
  };
}

/** Measures against servers that {@link serve} started; several hosts, separated by commas, take turns at random. */
export function measureClient(
  mode: Mode,
  hosts: readonly string[],
  port: number,
  options: Pick<PairOptions, "clientNs" | "seconds" | "warmup" | "cpu" | "realtime" | "size">,
): Promise<Measurement> {
  return runClient(mode, port, { ...options, serverIp: hosts.join(",") });
}

/** Measures the modes one after the other; see {@link measureMode}. */
export async function measurePair(options: PairOptions): Promise<PairResult> {
  const results: PairResult = {};
  for (const mode of options.modes ?? modes) results[mode] = await measureMode(mode, options);
  return results;
}

/** Compiles axon-perf if needed. */
export function buildPerf(root: string): void {
  execFileSync(process.execPath, [join(root, "bench/net/build.mjs")], { stdio: "inherit" });
}

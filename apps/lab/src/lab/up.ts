import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AxonError, delay, errorText } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { builtFile } from "@axoneme/netlink";
import { condition, nameOf, sameJson } from "../controllers/objects.ts";
import { bundle } from "./build.ts";
import { cgroupPids, createCgroup } from "./cgroup.ts";
import {
  type CniTemplate,
  freeNumber,
  hostRoots,
  type LabConfig,
  type LabRbac,
  nodeNames,
  type RoutingMode,
  readConfig,
  writeConfig,
} from "./config.ts";
import { removeLab } from "./down.ts";
import { takeLock, waitForLock } from "./lock.ts";
import { type HostRoots, type LabPaths, labPaths } from "./paths.ts";
import { readReport } from "./progress.ts";
import { lastLines } from "./service.ts";

export const defaultLabName = "default";

export interface LabUpOptions {
  /** Default "default". */
  name?: string;
  /** How many (named node1, node2, ...) or their names; default 2. */
  nodes?: number | readonly string[];
  /** Default native. */
  routingMode?: RoutingMode;
  /**
   * Whether the nodes' links carry XDP (default false): as on a wire, packets then arrive one by one and with their
   * checksums made, which costs bulk transfers between nodes most of their rate.
   */
  xdp?: boolean;
  /** Options of the agent beyond what the lab sets; `{{node}}` and `{{nodeDir}}` are replaced in their texts. */
  agentConfig?: Readonly<Record<string, unknown>>;
  /** Default `node dist/agent.mjs --config {{config}}`; null: no agent. */
  agentCommand?: readonly string[] | null;
  /** Default `node dist/operator.mjs --config {{config}} --kubeconfig {{kubeconfig}}`; null: no operator. */
  operatorCommand?: readonly string[] | null;
  /** Default `node dist/relay.mjs --config {{config}}`, where there are agents; null: no relay. */
  relayCommand?: readonly string[] | null;
  /** Default: our plugin, which asks the node's agent. */
  cni?: CniTemplate;
  images?: Readonly<Record<string, string>>;
  rbac?: LabRbac;
  /** An API server that runs elsewhere, reached from this machine, in place of one of the lab's own. */
  kubeconfig?: string;
  /** Nodes whose pods the caller runs. */
  foreignNodes?: readonly string[];
  /** How long a silent node counts as alive, and its pods stay (default 40 s and 300 s). */
  nodeGraceMs?: number;
  evictAfterMs?: number;
  /** Default `node dist/lab.mjs`; gets `run --name X`. */
  supervisorCommand?: readonly string[];
  /** How long to wait until every node is ready (default 60 s). */
  timeoutMs?: number;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

/** A lab that is up. */
export interface LabHandle {
  name: string;
  stateDir: string;
  /** For kubectl. */
  kubeconfig: string;
  nodes: readonly string[];
}

/**
 * Brings a lab up and waits until its API answers and every node is ready. A lab that runs already with the
 * same make-up is left as it is; one whose supervisor has died is taken up where it stopped, pods included.
 * Throws `lab.exists` when it runs with another make-up, `lab.failed` and `lab.timeout` with the last lines of
 * the logs that matter.
 */
export async function labUp(options: LabUpOptions = {}): Promise<LabHandle> {
  const roots = hostRoots();
  const name = options.name ?? defaultLabName;
  const paths = labPaths(name, roots);
  const say = options.onProgress ?? (() => undefined);
  mkdirSync(roots.run, { recursive: true });
  const lock = takeLock(paths.lock, `lab up ${name}`);
  try {
    const config = await settleConfig(paths, roots, options, say);
    if (isSupervised(paths)) say(`the lab ${name} is running already`);
    else await startSupervisor(paths, options.supervisorCommand ?? defaultSupervisor());
    await waitUntilReady(paths, config, options);
    return { name, stateDir: paths.state, kubeconfig: paths.kubeconfig, nodes: config.nodes };
  } finally {
    lock.release();
  }
}

/** The configuration to run: the stored one when it is what is asked for, else a new one on cleared ground. */
async function settleConfig(
  paths: LabPaths,
  roots: HostRoots,
  options: LabUpOptions,
  say: (message: string) => void,
): Promise<LabConfig> {
  const stored = existsSync(paths.config) ? storedConfig(paths) : undefined;
  const wanted = labConfig(paths.lab, stored?.number ?? freeNumber(roots.run), options);
  if (stored !== undefined && sameJson(stored, wanted)) return stored;
  if (isSupervised(paths)) {
    throw new AxonError(
      "lab.exists",
      `the lab ${paths.lab} runs already with other settings (${differences(stored, wanted)}): take it down first`,
    );
  }
  if (existsSync(paths.state) || existsSync(paths.cgroup)) {
    say(`clearing what a former lab ${paths.lab} left`);
    await removeLab(paths, roots, () => undefined);
  }
  if (stored !== undefined) {
    writeConfig(paths.config, wanted);
    return wanted;
  }
  return await claimNumber(paths, roots, wanted);
}

/** Which settings differ, as "nodes is 2, not 3", for people. */
function differences(stored: LabConfig | undefined, wanted: LabConfig): string {
  if (stored === undefined) return "its lab.json is damaged";
  const told = (value: unknown): string => (Array.isArray(value) ? value.join(",") : JSON.stringify(value));
  const keys = Object.keys(wanted) as (keyof LabConfig)[];
  return keys
    .filter((key) => !sameJson(stored[key], wanted[key]))
    .map((key) =>
      key === "nodes" || key === "routingMode" || key === "xdp"
        ? `${key} ${told(stored[key])}, not ${told(wanted[key])}`
        : key,
    )
    .join("; ");
}

/** Two labs that come up at once must not choose the same number: choosing and writing it down are one step. */
async function claimNumber(paths: LabPaths, roots: HostRoots, wanted: LabConfig): Promise<LabConfig> {
  const lock = await waitForLock(join(roots.run, ".numbers.lock"), `choosing a number for ${paths.lab}`);
  try {
    const config = { ...wanted, number: freeNumber(roots.run) };
    writeConfig(paths.config, config);
    return config;
  } finally {
    lock.release();
  }
}

function storedConfig(paths: LabPaths): LabConfig | undefined {
  try {
    return readConfig(paths.config);
  } catch {
    // Damaged: as good as none, the ground is cleared.
    return undefined;
  }
}

function labConfig(name: string, number: number, options: LabUpOptions): LabConfig {
  const { agentCommand, operatorCommand, relayCommand } = options;
  return {
    version: 1,
    name,
    number,
    nodes: nodeNames(options.nodes ?? 2),
    routingMode: options.routingMode ?? "native",
    xdp: options.xdp ?? false,
    agentConfig: options.agentConfig ?? {},
    agentCommand:
      agentCommand === undefined
        ? nodeCommand("agent.mjs", ["--config", "{{config}}"], agentFlags)
        : agentCommand,
    operatorCommand:
      operatorCommand === undefined
        ? nodeCommand("operator.mjs", ["--config", "{{config}}", "--kubeconfig", "{{kubeconfig}}"])
        : operatorCommand,
    relayCommand:
      relayCommand === undefined && agentCommand !== null
        ? nodeCommand("relay.mjs", ["--config", "{{config}}"])
        : (relayCommand ?? null),
    cni: options.cni ?? axonCni(),
    ...(options.kubeconfig === undefined ? {} : { kubeconfig: resolve(options.kubeconfig) }),
    ...(options.foreignNodes === undefined ? {} : { foreignNodes: options.foreignNodes }),
    images: options.images ?? {},
    ...(options.rbac === undefined ? {} : { rbac: options.rbac }),
    node: { graceMs: options.nodeGraceMs ?? 40_000, evictAfterMs: options.evictAfterMs ?? 300_000 },
  };
}

/** Our own plugin: it forwards to the agent of its node. */
function axonCni(): CniTemplate {
  return {
    cniVersion: "1.1.0",
    name: "axoneme",
    plugins: [{ type: "axoneme-cni", axonSocket: "{{nodeDir}}/cni.sock" }],
    path: [dirname(builtFile("bin/axon-exec"))],
    runInNode: false,
  };
}

/** An agent lives on every node: a small nursery keeps its memory near to what it holds. */
const agentFlags = ["--max-semi-space-size=2"];

function nodeCommand(
  file: string,
  args: readonly string[],
  flags: readonly string[] = [],
): readonly string[] {
  return [process.execPath, ...flags, bundle(file), ...args];
}

function defaultSupervisor(): readonly string[] {
  return [process.execPath, bundle("lab.mjs")];
}

function controlGroup(paths: LabPaths): string {
  return join(paths.cgroup, "control");
}

/** Whether the lab's supervisor is alive. */
export function isSupervised(paths: LabPaths): boolean {
  return cgroupPids(controlGroup(paths)).some((pid) => !isEnding(pid));
}

/** A bit of field 9 of a process's stat (PF_EXITING), and of the pending signals in its status (SIGKILL). */
const exitingFlag = 0x4;
const killSignal = 0x100n;

/** Whether a process was killed: it stays in its cgroup until its last thread has ended. */
function isEnding(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X" || (Number(fields[6]) & exitingFlag) !== 0) return true;
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const pending = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)];
    return pending.some(([, mask = "0"]) => (BigInt(`0x${mask}`) & killSignal) !== 0n);
  } catch {
    return true;
  }
}

async function startSupervisor(paths: LabPaths, command: readonly string[]): Promise<void> {
  createCgroup(controlGroup(paths));
  const output = openSync(paths.supervisorLog, "a", 0o600);
  try {
    // The launcher puts it into its cgroup before its first instruction: `down` finds it whenever it comes.
    const argv = ["--cgroup", controlGroup(paths), "--", ...command, "run", "--name", paths.lab];
    const child = spawn(builtFile("bin/axon-exec"), argv, {
      stdio: ["ignore", output, output],
      detached: true,
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (cause) =>
        reject(new AxonError("lab.spawn", "the launcher cannot be started", { cause })),
      );
    });
    child.unref();
  } finally {
    closeSync(output);
  }
}

async function waitUntilReady(paths: LabPaths, config: LabConfig, options: LabUpOptions): Promise<void> {
  const { timeoutMs = 60_000, signal } = options;
  const say = options.onProgress ?? (() => undefined);
  const until = Date.now() + timeoutMs;
  const grace = Date.now() + 2_000;
  let said = "";
  let missing = "the supervisor has not reported yet";
  for (;;) {
    signal?.throwIfAborted();
    const report = readReport(paths.status);
    const isAlive = isSupervised(paths);
    if (isAlive && report !== undefined && cgroupPids(controlGroup(paths)).includes(report.pid)) {
      if (report.step !== said && report.state === "starting") say(report.step);
      said = report.step;
      missing =
        report.state === "running" ? await notReady(paths, config) : `the lab is still ${report.step}`;
      if (missing === "") return;
    } else if (!isAlive && Date.now() > grace) {
      const why = report?.error ?? "its supervisor ended";
      throw new AxonError(
        "lab.failed",
        `the lab ${paths.lab} did not come up: ${why}${logTail(paths, config)}`,
      );
    }
    if (Date.now() >= until) {
      const text = `the lab ${paths.lab} is not ready after ${Math.round(timeoutMs / 1000)} s: ${missing}`;
      throw new AxonError("lab.timeout", `${text}${logTail(paths, config)}`);
    }
    await delay(50);
  }
}

/** What is still missing, or "" when every node is ready. */
async function notReady(paths: LabPaths, config: LabConfig): Promise<string> {
  const client = new KubeClient(loadKubeconfig({ path: paths.kubeconfig }), { deadlineMs: 3_000 });
  try {
    const { items } = await client.resource(resources.nodes).list();
    const reasons = config.nodes.flatMap((name) => {
      const ready = condition(items.find((node) => nameOf(node) === name)?.status?.conditions, "Ready");
      return ready?.status === "True" ? [] : [`${name}: ${ready?.message ?? "not registered"}`];
    });
    return reasons.length === 0 ? "" : `nodes not ready: ${reasons.join("; ")}`;
  } catch (error) {
    return `the API does not answer: ${errorText(error)}`;
  } finally {
    await client.close();
  }
}

function logTail(paths: LabPaths, config: LabConfig): string {
  const files = [
    paths.supervisorLog,
    join(paths.state, "operator.log"),
    ...config.nodes.flatMap((node) =>
      ["kubelet.log", "agent.log"].map((file) => join(paths.nodeDir(node), file)),
    ),
  ];
  return files
    .map((file) => ({ file, lines: lastLines(file, 5) }))
    .filter(({ lines }) => lines !== "")
    .map(({ file, lines }) => `\n--- ${file}\n${lines}`)
    .join("");
}

/** The text of a pid file as a number, or undefined. */
export function readPid(file: string): number | undefined {
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, "utf8"));
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

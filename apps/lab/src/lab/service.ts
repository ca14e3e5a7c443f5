import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Backoff, backoff, type Clock, type Logger, type Timer } from "@axoneme/base";
import { cgroupPids, createCgroup, isPopulated, killCgroup } from "./cgroup.ts";

export interface ServiceOptions {
  name: string;
  argv: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** The process joins it by itself (the launcher does); all that lives in it belongs to the service. */
  cgroup: string;
  logFile: string;
  pidFile: string;
  clock: Clock;
  log: Logger;
}

/** How a service fares. */
export interface ServiceState {
  pid: number | undefined;
  restarts: number;
  lastExit: string | undefined;
}

const calmAfterMs = 20_000;
const largestLog = 16 * 1024 * 1024;

/**
 * A process that is kept running: an agent, the operator. It outlives the supervisor; the next one finds it
 * by its cgroup and goes on watching it.
 */
export class Service {
  readonly #options: ServiceOptions;
  readonly #retry: Backoff = backoff({ baseMs: 250, maxMs: 10_000 });
  #timer: Timer | undefined;
  #stopped = false;
  #startedAt = 0;
  #state: ServiceState = { pid: undefined, restarts: 0, lastExit: undefined };

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  get state(): ServiceState {
    return this.#state;
  }

  start(): void {
    createCgroup(this.#options.cgroup);
    const pid = this.#formerPid();
    if (pid === undefined) {
      killCgroup(this.#options.cgroup);
      this.#spawn();
    } else {
      this.#state = { ...this.#state, pid };
      this.#watchAdopted(pid);
    }
  }

  /** Stops watching; the process goes on. */
  release(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #formerPid(): number | undefined {
    const { pidFile, cgroup } = this.#options;
    if (!existsSync(pidFile) || !isPopulated(cgroup)) return undefined;
    const pid = Number(readFileSync(pidFile, "utf8"));
    return cgroupPids(cgroup).includes(pid) ? pid : undefined;
  }

  #watchAdopted(pid: number): void {
    if (this.#stopped) return;
    if (!cgroupPids(this.#options.cgroup).includes(pid)) {
      this.#ended("unknown (it was started by a former supervisor)");
      return;
    }
    this.#timer = this.#options.clock.setTimer(500, () => this.#watchAdopted(pid));
  }

  #spawn(): void {
    const { argv, env, logFile, pidFile, clock } = this.#options;
    const [program = "", ...args] = argv;
    mkdirSync(dirname(logFile), { recursive: true });
    if (existsSync(logFile) && statSync(logFile).size > largestLog) renameSync(logFile, `${logFile}.1`);
    const output = openSync(logFile, "a", 0o600);
    this.#startedAt = clock.now();
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        env: { ...process.env, ...env },
        stdio: ["ignore", output, output],
        detached: true,
      });
    } finally {
      closeSync(output);
    }
    child.on("error", (error) => this.#ended(error.message));
    child.on("exit", (code, signal) =>
      this.#ended(signal === null ? `exit status ${code}` : `signal ${signal}`),
    );
    if (child.pid !== undefined) writeFileSync(pidFile, String(child.pid));
    this.#state = { ...this.#state, pid: child.pid };
  }

  #ended(how: string): void {
    if (this.#stopped || (this.#timer !== undefined && this.#state.pid === undefined)) return;
    const { name, clock, log, cgroup } = this.#options;
    if (clock.now() - this.#startedAt >= calmAfterMs) this.#retry.reset();
    const wait = this.#retry.next();
    log.warn(
      { service: name, how, againInMs: Math.round(wait) },
      "a process of the lab ended and is started again",
    );
    this.#state = { pid: undefined, restarts: this.#state.restarts + 1, lastExit: how };
    killCgroup(cgroup);
    this.#timer = clock.setTimer(wait, () => {
      this.#timer = undefined;
      if (!this.#stopped) this.#spawn();
    });
  }
}

/** Of a log line of ours, what a person reads: time, level, message and the error's words. Others as they are. */
export function readableLine(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line.slice(0, longestLine);
  }
  if (typeof entry !== "object" || entry === null || typeof entry["msg"] !== "string") {
    return line.slice(0, longestLine);
  }
  const error = entry["err"] as { message?: unknown } | string | undefined;
  const why = typeof error === "string" ? error : error?.message;
  const subject = ["service", "module", "resource", "node", "pod"].flatMap((field) =>
    typeof entry[field] === "string" ? [`${field} ${entry[field]}`] : [],
  );
  const what = [entry["time"], entry["level"], entry["msg"]].filter((part) => typeof part === "string");
  const about = subject.length === 0 ? "" : ` (${subject.join(", ")})`;
  return `${what.join(" ")}${about}${typeof why === "string" ? `: ${why}` : ""}`.slice(0, longestLine);
}

const longestLine = 400;

/** The last lines of a log, for error messages; "" when there is none. */
export function lastLines(file: string, count: number): string {
  if (!existsSync(file)) return "";
  const text = readFileSync(file, "utf8").slice(-64 * 1024);
  if (text.trim() === "") return "";
  return text.trimEnd().split("\n").slice(-count).map(readableLine).join("\n");
}

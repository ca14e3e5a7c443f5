import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { AxonError, type Clock, errorText, type Logger, systemClock, type Timer } from "@axoneme/base";
import { parseTimestamp } from "@axoneme/flow";
import type { Registry } from "prom-client";
import type { Observer } from "../observer.ts";
import { type FlowLogConfig, parseFlowLogs } from "./config.ts";
import { FlowLog } from "./flow-log.ts";
import { FlowLogMetrics } from "./log-metrics.ts";

/** How often the configuration file is looked at: watches do not see what Kubernetes does to mounted files. */
const lookEveryMs = 5000;

export interface FlowLogsOptions {
  readonly observer: Observer;
  readonly registry: Registry;
  readonly log: Logger;
  /** Logs that are there whatever the file says. */
  readonly fixed?: readonly FlowLogConfig[];
  /** The configuration file; re-read while running. */
  readonly configPath?: string;
  readonly clock?: Clock;
  /** Told after every look what is wrong now; undefined: nothing. */
  readonly onState?: (problem: string | undefined, logs: number) => void;
}

/** The logs of flows of a node, as a configuration file wants them now. */
export class FlowLogs {
  readonly #options: FlowLogsOptions;
  readonly #clock: Clock;
  readonly #logs = new Map<string, FlowLog>();
  readonly #metrics: FlowLogMetrics;
  /** Text that is in force. */
  #text: string | undefined;
  #wanted: readonly FlowLogConfig[] = [];
  #problem: string | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  #looking: Promise<void> = Promise.resolve();

  private constructor(options: FlowLogsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#metrics = new FlowLogMetrics(options.registry, () => this.#logs.values());
  }

  /** Starts what is wanted now. A file that is wrong is logged and looked at again; nothing here throws for it. */
  static async start(options: FlowLogsOptions): Promise<FlowLogs> {
    const logs = new FlowLogs(options);
    await logs.look();
    logs.#again();
    return logs;
  }

  /** Looks at the file now. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  /** Stops all logs; what they have begun is written. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
    await Promise.all([...this.#logs.values()].map((log) => log.stop()));
  }

  #again(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.setTimer(lookEveryMs, () => void this.look().then(() => this.#again()));
  }

  async #look(): Promise<void> {
    if (this.#stopped) return;
    try {
      const fresh = await this.#read();
      if (fresh !== undefined) {
        this.#wanted = fresh.configs;
        this.#text = fresh.text;
        this.#metrics.applied(hashOf(fresh.text), this.#clock.now());
      }
      this.#problem = undefined;
    } catch (error) {
      this.#complain(errorText(error));
    }
    await this.#apply();
    const writing = [...this.#logs.values()].map(({ problem }) => problem).find((problem) => problem);
    this.#options.onState?.(this.#problem ?? writing, this.#logs.size);
  }

  /** What the file wants, if it differs from what is in force. */
  async #read(): Promise<{ text: string; configs: readonly FlowLogConfig[] } | undefined> {
    const { configPath, fixed = [] } = this.#options;
    const text = configPath === undefined ? "" : await readText(configPath);
    if (text === this.#text) return undefined;
    const configs = [...fixed, ...parseFlowLogs(text)];
    for (const own of fixed) {
      const clash = configs.find((c) => c !== own && (c.name === own.name || c.filePath === own.filePath));
      if (clash === undefined) continue;
      throw new AxonError(
        "observe.flow_logs_invalid",
        `flow logs: log "${clash.name}" has the name or the file of one the agent's options make`,
      );
    }
    return { text, configs };
  }

  /** Starts, changes and ends logs. One that is changed goes on where it was: no flow is lost or told twice. */
  async #apply(): Promise<void> {
    const wanted = this.#wanted.filter((config) => !this.#isOver(config));
    const byName = new Map(wanted.map((config) => [config.name, config]));
    // First all that end: a file may go from one log to another.
    const positions = new Map<string, FlowLog["position"]>();
    for (const [name, log] of this.#logs) {
      const config = byName.get(name);
      if (config !== undefined && sameConfig(config, log.config) && log.running) continue;
      await log.stop();
      this.#logs.delete(name);
      this.#metrics.ended(name, log);
      if (config === undefined) this.#metrics.reconfigured("remove");
      else positions.set(name, log.position);
    }
    for (const config of wanted) {
      if (this.#logs.has(config.name)) continue;
      const position = positions.get(config.name);
      this.#metrics.reconfigured(position === undefined ? "add" : "update");
      this.#logs.set(config.name, new FlowLog(config, this.#options.observer, this.#options.log, position));
    }
    this.#metrics.known(this.#wanted.map(({ name }) => name));
  }

  #isOver({ end }: FlowLogConfig): boolean {
    return end !== undefined && Number(parseTimestamp(end) / 1_000_000n) < this.#clock.now();
  }

  /** Said once for as long as it lasts. What was in force stays. */
  #complain(problem: string): void {
    if (problem !== this.#problem) {
      const { log, configPath } = this.#options;
      log.error({ problem, configPath }, "the configuration of flow logs is not used; the one before stays");
    }
    this.#problem = problem;
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new AxonError(
      "observe.flow_logs_invalid",
      `flow logs: "${path}" cannot be read: ${errorText(cause)}`,
      {
        cause,
      },
    );
  }
}

function sameConfig(a: FlowLogConfig, b: FlowLogConfig): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** 32 bits: what a gauge holds exactly. */
function hashOf(text: string): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0);
}

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
import { join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, formatIp, type Logger } from "@axoneme/base";
import { launch } from "@axoneme/netlink";
import { proxyAddresses } from "./proxy-options.ts";

declare const AXON_BUILD: string | undefined;
const ownBuild = typeof AXON_BUILD === "string" ? AXON_BUILD : undefined;

/** How often the proxy is looked after, milliseconds. */
const LOOK_MS = 1000;
/** One that ends sooner after its start than this is started again at the next look only, milliseconds. */
const SHORT_LIFE_MS = 2000;
/** A log of this size is put aside when a proxy is started, bytes. */
const MAX_LOG = 8 * 1024 * 1024;
const CGROUP = "axoneme-dnsproxy";
/**
 * Collecting threads beside the one that serves would make it wait for their turn on a busy node; with more room for young
 * objects it collects seldom. The room grows with the load.
 */
const nodeFlags = ["--single-threaded-gc", "--max-semi-space-size=64"];

/** The part of the configuration that the process needs. */
export interface ProxyProcessConfig {
  readonly dnsProxy: "start" | "external" | "off";
  readonly tofqdnsProxyPort: number;
  readonly dnsProxyTransparent: "auto" | "off";
  readonly dnsProxyMetricsAddress: string;
  readonly runDir: string;
  readonly bpffs: string;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
}

/** What a proxy says of itself in `dnsproxy.json`. */
interface ProxyRecord {
  readonly pid: number;
  readonly build: string;
}

/**
 * Sees to it that a DNS proxy of this build runs, from the agent's start on: the first policy with DNS rules finds it
 * serving. The process is not the agent's: it is in a cgroup of its own and goes on when the agent ends. A proxy of another
 * build is replaced by starting one of this build, which takes over its sockets; one that dies is replaced at once.
 */
export class ProxyProcess implements Module {
  readonly name = "dns-proxy-process";
  readonly #config: ProxyProcessConfig;
  readonly #cgroup: string;
  readonly #log: Logger;
  #health: HealthReporter | undefined;
  #timer: NodeJS.Timeout | undefined;
  #child: ChildProcess | undefined;
  #startedAt = 0;
  #isStopped = false;

  /** @param cgroup the cgroup below which the proxy has its own: that of the node. */
  constructor(config: ProxyProcessConfig, cgroup: string, log: Logger) {
    this.#config = config;
    this.#cgroup = join(cgroup, CGROUP);
    this.#log = log;
  }

  start(health: HealthReporter): void {
    this.#health = health;
    if (this.#config.dnsProxy !== "start") {
      health.ok(this.#config.dnsProxy);
      return;
    }
    health.ok("being started");
    this.look();
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  /** The proxy goes on. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  /** Starts a proxy if none runs: to be called when one seems to have gone. */
  look(): void {
    if (this.#isStopped || this.#config.dnsProxy !== "start") return;
    const running = this.#running();
    if (running !== undefined && (ownBuild === undefined || running.build === ownBuild)) {
      this.#health?.ok(`process ${running.pid}, build ${running.build}`);
      return;
    }
    // One that was started is on its way.
    if (this.#child !== undefined) return;
    try {
      this.#start();
    } catch (error) {
      this.#health?.failed(`the DNS proxy cannot be started: ${errorText(error)}`);
      this.#log.error({ err: error }, "the DNS proxy cannot be started: queries under DNS rules are refused");
    }
  }

  /** The proxy that runs here, whoever started it. */
  #running(): ProxyRecord | undefined {
    const path = join(this.#config.runDir, "dnsproxy.json");
    if (!existsSync(path)) return undefined;
    try {
      const record = JSON.parse(readFileSync(path, "utf8")) as ProxyRecord;
      const command = readFileSync(`/proc/${record.pid}/cmdline`, "utf8");
      return command.includes("dnsproxy") ? record : undefined;
    } catch {
      // The process is gone, or its record is just being written: the next look tells.
      return undefined;
    }
  }

  #start(): void {
    const { runDir } = this.#config;
    const config = join(runDir, "dnsproxy.config.json");
    writeFileSync(config, JSON.stringify(this.#proxyConfig(), null, 2), { mode: 0o600 });
    mkdirSync(this.#cgroup, { recursive: true });
    const bundle = join(import.meta.dirname, "dnsproxy.mjs");
    const command = [process.execPath, ...nodeFlags, bundle, "--config", config];
    const { file, args } = launch({ cgroups: [this.#cgroup], setsid: true }, command);
    const log = this.#openLog();
    const child = spawn(file, args, { stdio: ["ignore", log, log], detached: true, cwd: "/" });
    closeSync(log);
    this.#child = child;
    this.#startedAt = performance.now();
    child.unref();
    child.once("error", (error) => this.#ended(errorText(error)));
    child.once("exit", (code, signal) => this.#ended(signal ?? `exit code ${code}`));
    this.#log.info({ pid: child.pid, cgroup: this.#cgroup }, "started the DNS proxy");
  }

  #ended(why: string): void {
    this.#child = undefined;
    this.#health?.degraded(`the DNS proxy has ended: ${why}`);
    this.#log.warn({ why, log: join(this.#config.runDir, "dnsproxy.log") }, "the DNS proxy has ended");
    if (performance.now() - this.#startedAt > SHORT_LIFE_MS) this.look();
  }

  #proxyConfig(): object {
    const { runDir, bpffs, tofqdnsProxyPort, enableIPv4, enableIPv6 } = this.#config;
    const { v4, v6 } = proxyAddresses;
    return {
      runDir,
      bpffs: join(bpffs, "maps"),
      addresses: [...(enableIPv4 ? [formatIp(v4)] : []), ...(enableIPv6 ? [formatIp(v6)] : [])],
      port: tofqdnsProxyPort,
      transparent: this.#config.dnsProxyTransparent,
      metricsAddress: this.#config.dnsProxyMetricsAddress,
    };
  }

  #openLog(): number {
    const path = join(this.#config.runDir, "dnsproxy.log");
    if (existsSync(path) && statSync(path).size > MAX_LOG) renameSync(path, `${path}.1`);
    return openSync(path, "a", 0o600);
  }
}

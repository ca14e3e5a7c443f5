import { closeSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "@axoneme/base";
import { errorText, waitFor } from "@axoneme/base";
import { DatagramSet } from "@axoneme/netlink";
import { AgentLink, TICKS } from "./agent-link.ts";
import { AsPods } from "./as-pods.ts";
import { AwaitedRules } from "./awaited-rules.ts";
import { AnswerGate } from "./gate.ts";
import { InFlight } from "./in-flight.ts";
import { adoptListeners, describe, isUdp, type ListeningSocket, openListeners } from "./listeners.ts";
import { Metrics } from "./metrics.ts";
import { MetricsServer } from "./metrics-server.ts";
import type { ProxyConfig } from "./options.ts";
import { Origins } from "./origin.ts";
import { findPredecessor, Successor } from "./predecessor.ts";
import { Rules } from "./rules.ts";
import { TcpProxy } from "./tcp.ts";
import { UdpProxy } from "./udp.ts";

declare const AXON_BUILD: string | undefined;
/** Of the bundle this is; "dev" when it runs from sources. */
export const build = typeof AXON_BUILD === "string" ? AXON_BUILD : "dev";

const BATCH = 64;
/** How long a proxy that another one follows waits for its servers and for connections of pods. Milliseconds. */
const LAST_WORDS_MS = 8000;

/** What a proxy writes down about itself, for who starts proxies. */
export interface ProxyRecord {
  pid: number;
  build: string;
}

/** As Origins.open; says once what is in the way, since the proxy waits for it. */
const openOrigins = (() => {
  let said = "";
  return (bpffs: string, log: Logger): Origins => {
    try {
      return Origins.open(bpffs);
    } catch (error) {
      const reason = errorText(error);
      if (reason !== said) log.info({ bpffs, reason }, "waiting for the datapath's maps");
      said = reason;
      throw error;
    }
  };
})();

/** The DNS proxy of a node, composed. */
export class DnsProxy {
  readonly metrics = new Metrics();
  private readonly config: ProxyConfig;
  private readonly log: Logger;
  private readonly rules: Rules;
  private readonly gate: AnswerGate;
  private readonly link: AgentLink;
  private readonly set = new DatagramSet(BATCH);
  private readonly udp: UdpProxy;
  private readonly tcp: TcpProxy;
  private readonly origins: Origins;
  private readonly asPods: AsPods;
  private readonly metricsServer: MetricsServer;
  private readonly sockets: ListeningSocket[];
  private successor: Successor | undefined;
  private timers: NodeJS.Timeout[] = [];
  private deaf = false;
  /** Another proxy serves, and this one has nothing left to do. */
  onDone: () => void = () => undefined;

  private constructor(config: ProxyConfig, log: Logger, origins: Origins, sockets: ListeningSocket[]) {
    this.config = config;
    this.log = log;
    this.origins = origins;
    this.sockets = sockets;
    this.rules = new Rules(join(config.runDir, "dns-rules.json"), log);
    this.rules.load();
    const { metrics, rules, set } = this;
    this.gate = new AnswerGate(metrics, () => rules.config.budgetMs);
    this.asPods = AsPods.open(config.bpffs, config.transparent, log);
    this.link = new AgentLink({
      asPods: this.asPods,
      path: join(config.runDir, "dns.sock"),
      build,
      rules,
      gate: this.gate,
      metrics,
      log,
    });
    const inFlight = new InFlight(rules, metrics);
    const awaited = new AwaitedRules(rules, this.link);
    const shared = {
      origins,
      asPods: this.asPods,
      rules,
      awaited,
      gate: this.gate,
      link: this.link,
      inFlight,
      metrics,
    };
    const withV6 = config.addresses.some((address) => address.includes(":"));
    this.udp = new UdpProxy({ ...shared, set, upstreamSockets: config.upstreamSockets }, withV6);
    this.tcp = new TcpProxy(shared);
    this.metricsServer = new MetricsServer(metrics);
    metrics.gauges = () => ({
      in_flight: inFlight.total,
      held_answers: this.gate.sizes.held,
      kept_answers: this.gate.sizes.kept,
      tcp_sessions: this.tcp.size,
      rule_sets: rules.size,
      agent_connected: this.link.isOpen ? 1 : 0,
    });
  }

  /**
   * Starts in the place of the proxy that runs, if any does. Waits for the datapath's maps and for the addresses: a
   * proxy may be started before its agent. Throws NetlinkError.
   */
  static async start(config: ProxyConfig, log: Logger): Promise<DnsProxy> {
    mkdirSync(config.runDir, { recursive: true, mode: 0o700 });
    const origins = await waitFor(() => openOrigins(config.bpffs, log), {
      timeoutMs: 600_000,
      everyMs: 100,
      what: `the datapath's maps in ${config.bpffs}`,
    });
    const before = await findPredecessor(join(config.runDir, "dns-handover.sock"), log);
    const adopted = before && adoptListeners(before.fds, before.described, config.addresses, config.port);
    const sockets = adopted ?? (await openListeners(config.addresses, config.port));
    const proxy = new DnsProxy(config, log, origins, sockets);
    if (before !== undefined) before.onAnswer = (answer) => proxy.gate.adopt(answer);
    await proxy.serve();
    before?.ready();
    log.info(
      { build, addresses: config.addresses, port: config.port, tookOver: adopted !== undefined },
      "serving",
    );
    return proxy;
  }

  private async serve(): Promise<void> {
    const { runDir, metricsAddress, addresses, port } = this.config;
    for (const socket of this.sockets) {
      if (isUdp(socket)) this.udp.listen(socket);
      else await this.tcp.listen(socket);
    }
    this.set.watch(this.udp.ready);
    this.timers = [
      setInterval(() => this.udp.tick(performance.now()), 1000),
      setInterval(() => this.tick(), 1000 / TICKS),
    ];
    await this.link.listen();
    this.successor = new Successor(
      join(runDir, "dns-handover.sock"),
      describe(addresses, port),
      () => {
        this.rules.flush();
        return this.sockets.map(({ fd }) => fd);
      },
      () => this.follow(),
      this.log,
    );
    await this.metricsServer.listenUnix(join(runDir, "dns-metrics.sock"));
    if (metricsAddress !== "") await this.metricsServer.listenTcp(metricsAddress);
    const record: ProxyRecord = { pid: process.pid, build };
    writeFileSync(recordPath(runDir), JSON.stringify(record), { mode: 0o600 });
  }

  private tick(): void {
    this.link.tick();
    this.gate.tick();
  }

  /** Another proxy has the sockets: no new queries, the last answers, the end. */
  private follow(): void {
    if (this.deaf) return;
    this.deaf = true;
    this.log.info({}, "another proxy takes over");
    this.udp.deafen();
    this.tcp.deafen();
    this.rules.flush();
    this.metricsServer.close();
    void this.lastWords();
  }

  /** The agent stays connected for as long as answers may wait for it, then goes to the new one. */
  private async lastWords(): Promise<void> {
    const budget = this.rules.config.budgetMs;
    await waitFor(() => this.gate.held === 0, { timeoutMs: budget * 2 }).catch(() => undefined);
    this.link.close();
    const pass = setInterval(() => this.passOn(), 20);
    await waitFor(() => this.udp.size === 0 && this.tcp.size === 0, { timeoutMs: LAST_WORDS_MS }).catch(
      () => undefined,
    );
    clearInterval(pass);
    this.passOn();
    await this.successor?.close();
    this.release();
    this.onDone();
  }

  private passOn(): void {
    for (const answer of this.gate.take()) this.successor?.tell(answer);
  }

  /** Ends at once: what is in flight is lost. */
  stop(): void {
    this.rules.flush();
    this.link.close();
    this.metricsServer.close();
    void this.successor?.close();
    this.release();
    if (this.deaf || readRecord(this.config.runDir)?.pid !== process.pid) return;
    for (const file of ["dns.sock", "dns-handover.sock", "dns-metrics.sock", "dnsproxy.json"])
      rmSync(join(this.config.runDir, file), { force: true });
  }

  private release(): void {
    for (const timer of this.timers) clearInterval(timer);
    this.set.close();
    this.tcp.close();
    this.udp.close();
    for (const socket of this.sockets) if (isUdp(socket)) closeSync(socket.fd);
    this.origins.close();
    this.asPods.close();
  }
}

function recordPath(runDir: string): string {
  return join(runDir, "dnsproxy.json");
}

/** What the proxy of a run directory has written about itself; undefined when there was none. */
function readRecord(runDir: string): ProxyRecord | undefined {
  const path = recordPath(runDir);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as ProxyRecord) : undefined;
}

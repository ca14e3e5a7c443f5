import { Counter, Gauge, type Registry } from "prom-client";
import type { FlowLog, FlowLogFigures } from "./flow-log.ts";

const none: FlowLogFigures = { written: 0, overrun: 0, failed: 0 };

/** Figures of flow logs: the field's hubble_dynamic_exporter_*, and what was written and lost under our own names. */
export class FlowLogMetrics {
  readonly #hash: Gauge;
  readonly #appliedAt: Gauge;
  readonly #reconfigured: Counter;
  readonly #logs: () => Iterable<FlowLog>;
  /** Of logs that were changed or restarted: counters do not go back. */
  readonly #before = new Map<string, FlowLogFigures>();
  #names: readonly string[] = [];

  constructor(registry: Registry, logs: () => Iterable<FlowLog>) {
    this.#logs = logs;
    const registers = [registry];
    const prefix = "hubble_dynamic_exporter";
    this.#hash = new Gauge({
      name: `${prefix}_config_hash`,
      help: "Hash of the configuration in force",
      registers,
    });
    this.#appliedAt = new Gauge({
      name: `${prefix}_config_last_applied`,
      help: "When the configuration last changed, seconds since the epoch",
      registers,
    });
    this.#reconfigured = new Counter({
      name: `${prefix}_reconfigurations_total`,
      help: "Flow logs added, updated and removed",
      labelNames: ["op"],
      registers,
    });
    this.#gauges(registry, prefix);
    this.#counters(registry);
  }

  /** A configuration is in force. */
  applied(hash: number, nowMs: number): void {
    this.#hash.set(hash);
    this.#appliedAt.set(Math.floor(nowMs / 1000));
  }

  reconfigured(op: "add" | "update" | "remove"): void {
    this.#reconfigured.inc({ op });
  }

  /** A log has stopped; another may take its name. */
  ended(name: string, { figures }: FlowLog): void {
    this.#before.set(name, this.#total(name, figures));
  }

  /** Names of the logs that are configured: the figures of others go. */
  known(names: readonly string[]): void {
    this.#names = names;
    for (const name of this.#before.keys()) if (!names.includes(name)) this.#before.delete(name);
  }

  #total(name: string, { written, overrun, failed }: FlowLogFigures): FlowLogFigures {
    const before = this.#before.get(name) ?? none;
    return {
      written: before.written + written,
      overrun: before.overrun + overrun,
      failed: before.failed + failed,
    };
  }

  #running(): Map<string, FlowLog> {
    return new Map([...this.#logs()].filter(({ running }) => running).map((log) => [log.config.name, log]));
  }

  #gauges(registry: Registry, prefix: string): void {
    const names = () => this.#names;
    const running = () => this.#running();
    new Gauge({
      name: `${prefix}_exporters_total`,
      help: "Flow logs by whether they run",
      labelNames: ["status"],
      registers: [registry],
      collect() {
        const active = running().size;
        this.set({ status: "active" }, active);
        this.set({ status: "inactive" }, Math.max(0, names().length - active));
      },
    });
    new Gauge({
      name: `${prefix}_up`,
      help: "Whether a flow log runs",
      labelNames: ["name"],
      registers: [registry],
      collect() {
        this.reset();
        const logs = running();
        for (const name of names()) this.set({ name }, logs.has(name) ? 1 : 0);
      },
    });
  }

  #counters(registry: Registry): void {
    const figures = (): [string, FlowLogFigures][] => {
      const logs = new Map([...this.#logs()].map((log) => [log.config.name, log.figures]));
      return this.#names.map((name) => [name, this.#total(name, logs.get(name) ?? none)]);
    };
    new Counter({
      name: "axoneme_flow_log_flows_total",
      help: "Flows written to a flow log",
      labelNames: ["name"],
      registers: [registry],
      collect() {
        this.reset();
        for (const [name, { written }] of figures()) this.inc({ name }, written);
      },
    });
    new Counter({
      name: "axoneme_flow_log_lost_total",
      help: "What a flow log missed: records the store overwrote first (overrun), flows the file refused (write)",
      labelNames: ["name", "reason"],
      registers: [registry],
      collect() {
        this.reset();
        for (const [name, { overrun, failed }] of figures()) {
          this.inc({ name, reason: "overrun" }, overrun);
          this.inc({ name, reason: "write" }, failed);
        }
      },
    });
  }
}

import { MetricIndex } from "@axoneme/abi";
import type { Health } from "@axoneme/app";
import { type Kernel, readMetrics } from "@axoneme/datapath";
import { dropReasonText } from "@axoneme/flow";
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** Figures the agent's own state gives at scrape time. */
export interface AgentFigures {
  readonly endpoints: () => number;
  readonly identities: () => number;
  readonly policies: () => number;
  readonly policyProblem: () => boolean;
  readonly nodes: () => number;
  readonly conntrack: () => { entries: number; capacity: number };
  readonly services: () => ServiceFigures;
  /** Pod addresses in use, the node's own gateway addresses included. */
  readonly addresses: () => readonly { family: 4 | 6; used: number }[];
  readonly version: string;
}

/** What Services give. */
export interface ServiceFigures {
  /** Services seen, by what happened to them. */
  readonly seen: Readonly<Record<"add" | "update" | "delete", number>>;
  readonly services: number;
  readonly frontends: number;
  readonly backends: number;
  /** Objects that are not programmed as they ask. */
  readonly problems: number;
  /** Service ports whose rows the kernel refuses now, and writes it refused so far. */
  readonly refused: number;
  readonly failures: number;
  readonly rows: number;
  /** Maps by kernel name: how many of how many. */
  readonly maps: readonly { readonly name: string; readonly entries: number; readonly capacity: number }[];
}

/** The registry with the field's `cilium_*` names; values are read when somebody scrapes. */
export function createRegistry(kernel: Kernel, health: Health, figures: AgentFigures): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "cilium_" });
  datapathCounters(registry, kernel);
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  gauge("cilium_endpoint", "Endpoints of this node", figures.endpoints);
  gauge("cilium_identity", "Identities known", figures.identities);
  gauge("cilium_policy", "Policies in force", figures.policies);
  gauge("cilium_nodes_all_num", "Nodes of the cluster, this one included", figures.nodes);
  gauge("cilium_policy_import_errors_total", "1 while policy rows cannot be written", () =>
    figures.policyProblem() ? 1 : 0,
  );
  gauge(
    "cilium_controllers_failing",
    "Modules that do not work",
    () => health.modules().filter((m) => m.state === "failed" || m.state === "degraded").length,
  );
  endpointStates(registry, figures);
  serviceMetrics(registry, figures);
  mapPressure(registry, figures);
  addressesInUse(registry, figures);
  new Gauge({
    name: "cilium_version",
    help: "The agent's version",
    labelNames: ["version"],
    registers: [registry],
  })
    .labels(figures.version)
    .set(1);
  return registry;
}

function endpointStates(registry: Registry, figures: AgentFigures): void {
  new Gauge({
    name: "cilium_endpoint_state",
    help: "Endpoints by state",
    labelNames: ["endpoint_state"],
    registers: [registry],
    collect() {
      this.labels("ready").set(figures.endpoints());
    },
  });
}

function addressesInUse(registry: Registry, figures: AgentFigures): void {
  new Gauge({
    name: "cilium_ip_addresses",
    help: "Addresses in use in the node's pool",
    labelNames: ["family"],
    registers: [registry],
    collect() {
      for (const { family, used } of figures.addresses()) this.labels(`ipv${family}`).set(used);
    },
  });
}

/** Names that the field has not are ours: `axoneme_*`. */
function serviceMetrics(registry: Registry, figures: AgentFigures): void {
  const counter = (name: string, help: string, value: (figures: ServiceFigures) => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value(figures.services()));
      },
    });
  const gauge = (name: string, help: string, value: (figures: ServiceFigures) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value(figures.services()));
      },
    });
  new Counter({
    name: "cilium_services_events_total",
    help: "Services added, updated and deleted",
    labelNames: ["action"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [action, count] of Object.entries(figures.services().seen)) this.inc({ action }, count);
    },
  });
  gauge("axoneme_services", "Services that are balanced", ({ services }) => services);
  gauge("axoneme_service_frontends", "Frontends of Services", ({ frontends }) => frontends);
  gauge("axoneme_service_backends", "Backends of Services", ({ backends }) => backends);
  gauge("axoneme_service_problems", "Objects not programmed as they ask", ({ problems }) => problems);
  gauge("axoneme_service_ports_refused", "Service ports whose rows the kernel refuses", (s) => s.refused);
  counter("axoneme_service_write_failures_total", "Writes of Services the kernel refused", (s) => s.failures);
  counter("axoneme_service_rows_written_total", "Rows of Services written", ({ rows }) => rows);
}

function mapPressure(registry: Registry, figures: AgentFigures): void {
  new Gauge({
    name: "cilium_bpf_map_pressure",
    help: "Share of a map's capacity in use",
    labelNames: ["map_name"],
    registers: [registry],
    collect() {
      const { entries, capacity } = figures.conntrack();
      this.labels("ax_ct").set(entries / capacity);
      for (const map of figures.services().maps) this.labels(map.name).set(map.entries / map.capacity);
    },
  });
}

/**
 * Packets and bytes counted by the programs, by reason and direction. The kernel's figures are absolute, so the counters
 * are set anew at each scrape; the first of them reads for all, since a registry collects in order.
 */
function datapathCounters(registry: Registry, kernel: Kernel): void {
  const make = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name, help, labelNames, registers: [] });
  const forwardBytes = make("cilium_forward_bytes_total", "Bytes forwarded", ["direction"]);
  const drop = make("cilium_drop_count_total", "Packets dropped", ["reason", "direction"]);
  const dropBytes = make("cilium_drop_bytes_total", "Bytes dropped", ["reason", "direction"]);
  const lost = make("cilium_bpf_events_lost_total", "Events the full ring buffer refused", []);
  const forward: Counter = new Counter({
    name: "cilium_forward_count_total",
    help: "Packets forwarded",
    labelNames: ["direction"],
    registers: [registry],
    collect() {
      for (const counter of [forward, forwardBytes, drop, dropBytes, lost]) counter.reset();
      for (const { reason, direction, packets, bytes } of readMetrics(kernel.maps.metrics)) {
        if (reason === MetricIndex.EVENTS_LOST >> 2) {
          lost.inc(Number(packets));
        } else if (reason === 0) {
          forward.inc({ direction }, Number(packets));
          forwardBytes.inc({ direction }, Number(bytes));
        } else {
          drop.inc({ reason: dropReasonText(reason), direction }, Number(packets));
          dropBytes.inc({ reason: dropReasonText(reason), direction }, Number(bytes));
        }
      }
    },
  });
  for (const counter of [forwardBytes, drop, dropBytes, lost]) registry.registerMetric(counter);
}

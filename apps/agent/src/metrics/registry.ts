import type { Health } from "@axoneme/app";
import type { Kernel, SweepResult } from "@axoneme/datapath";
import type { PoolUsage } from "@axoneme/ipam";
import type { Enforcement } from "@axoneme/observe";
import { Counter, collectDefaultMetrics, Gauge, type Registry } from "prom-client";
import { datapathCounters } from "./datapath.ts";
import { type MapFill, mapMetrics, sweptFills } from "./maps.ts";
import { type ServiceFigures, serviceMetrics } from "./services.ts";

/** Figures the agent's own state gives at scrape time. */
export interface AgentFigures {
  readonly endpoints: () => number;
  /** Identities of pods, known to the cluster; and of this node's own: prefixes that policies name. */
  readonly identities: () => number;
  readonly localIdentities: () => number;
  readonly policies: () => number;
  readonly policyProblem: () => boolean;
  readonly policyMaps: () => readonly MapFill[];
  /** What is enforced for each endpoint. */
  readonly enforcement: () => readonly Enforcement[];
  readonly nodes: () => number;
  readonly sweep: () => SweepResult;
  readonly capacities: { readonly conntrackMax: number; readonly natMax: number; readonly lbFlowMax: number };
  readonly services: () => ServiceFigures;
  /** The pools of pod addresses; the node's own gateway addresses are in use, too. */
  readonly addresses: () => readonly PoolUsage[];
  readonly version: string;
}

/** What is read from the agent's state when somebody scrapes, under the field's `cilium_*` names. */
export function registerState(
  registry: Registry,
  kernel: Kernel,
  health: Health,
  figures: AgentFigures,
): void {
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
  labelled(registry, "cilium_identity", "Identities known", "type", () => [
    ["cluster_local", figures.identities()],
    ["node_local", figures.localIdentities()],
  ]);
  labelled(registry, "cilium_endpoint_state", "Endpoints by state", "endpoint_state", () => [
    ["ready", figures.endpoints()],
  ]);
  enforcementStates(registry, figures);
  moduleStates(registry, health);
  serviceMetrics(registry, figures.services);
  mapMetrics(registry, kernel, () => [
    ...sweptFills(figures.sweep(), figures.capacities),
    ...figures.services().maps,
    ...figures.policyMaps(),
  ]);
  conntrackEntries(registry, figures);
  podAddresses(registry, figures);
  labelled(registry, "cilium_version", "The agent's version", "version", () => [[figures.version, 1]]);
}

/** A gauge with one label; values that are no longer there go. */
function labelled(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  values: () => readonly (readonly [string, number])[],
): void {
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [of, value] of values()) this.labels(of).set(value);
    },
  });
}

function enforcementStates(registry: Registry, figures: AgentFigures): void {
  const help = "Endpoints by the directions in which policy is enforced";
  labelled(registry, "cilium_policy_endpoint_enforcement_status", help, "enforcement", () => {
    const counts = new Map<Enforcement, number>([
      ["none", 0],
      ["ingress", 0],
      ["egress", 0],
      ["both", 0],
    ]);
    for (const state of figures.enforcement()) counts.set(state, (counts.get(state) ?? 0) + 1);
    return [...counts];
  });
}

function moduleStates(registry: Registry, health: Health): void {
  new Gauge({
    name: "axoneme_module_state",
    help: "1 for the state that a module of the agent is in",
    labelNames: ["module", "state"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, state } of health.modules()) this.labels(name, state).set(1);
    },
  });
}

/** One table holds both families and all protocols. */
function conntrackEntries(registry: Registry, figures: AgentFigures): void {
  new Gauge({
    name: "cilium_datapath_conntrack_gc_entries",
    help: "Entries that the last sweep left and removed",
    labelNames: ["family", "protocol", "status"],
    registers: [registry],
    collect() {
      const { ctSeen, ctDeleted } = figures.sweep();
      this.labels("all", "all", "alive").set(ctSeen - ctDeleted);
      this.labels("all", "all", "deleted").set(ctDeleted);
    },
  });
}

function podAddresses(registry: Registry, figures: AgentFigures): void {
  labelled(registry, "cilium_ip_addresses", "Addresses in use in the node's pool", "family", () =>
    figures.addresses().map(({ family, used }) => [`ipv${family}`, used]),
  );
  new Gauge({
    name: "cilium_ipam_capacity",
    help: "Addresses that the node's pool has",
    labelNames: ["family", "cidr"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { family, cidrs, capacity } of figures.addresses())
        this.labels(`ipv${family}`, cidrs.join(",")).set(Number(capacity));
    },
  });
  new Counter({
    name: "cilium_ipam_events_total",
    help: "Pod addresses given out and taken back",
    labelNames: ["action", "family"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { family, allocated, released } of figures.addresses()) {
        this.inc({ action: "allocate", family: `ipv${family}` }, allocated);
        this.inc({ action: "release", family: `ipv${family}` }, released);
      }
    },
  });
}

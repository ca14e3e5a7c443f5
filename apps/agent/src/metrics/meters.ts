import type { CallReport } from "@axoneme/kube";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** Bucket bounds in seconds. */
const seconds = {
  api: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  /** From the event of a policy until it is in the kernel. */
  policy: [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
  sweep: [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
} as const;

/** What became of an object that the API server told of. */
export type KubernetesAction = "create" | "update" | "delete";

/**
 * What is counted where it happens, under the field's `cilium_*` names. The rest is read from the agent's state when
 * somebody scrapes: see registry.ts. Both share this registry.
 */
export class Meters {
  readonly registry = new Registry();
  readonly #apiCalls = new Counter({
    name: "cilium_k8s_client_api_calls_total",
    help: "Calls to the API server; a watch counts once it ends",
    labelNames: ["host", "method", "return_code"],
    registers: [this.registry],
  });
  readonly #apiLatency = new Histogram({
    name: "cilium_k8s_client_api_latency_time_seconds",
    help: "How long the API server took to answer, watches excepted",
    labelNames: ["path", "method"],
    buckets: [...seconds.api],
    registers: [this.registry],
  });
  readonly #events = new Counter({
    name: "cilium_kubernetes_events_total",
    help: "Changes of Kubernetes objects taken in",
    labelNames: ["scope", "action", "status"],
    registers: [this.registry],
  });
  readonly #received = new Counter({
    name: "cilium_kubernetes_events_received_total",
    help: "Changes of Kubernetes objects as they came",
    labelNames: ["scope", "action", "valid", "equal"],
    registers: [this.registry],
  });
  readonly #eventTime = new Gauge({
    name: "cilium_event_ts",
    help: "Unix time of the last event",
    labelNames: ["source", "scope", "action"],
    registers: [this.registry],
  });
  readonly #own = new Histogram({
    name: "cilium_agent_api_process_time_seconds",
    help: "How long requests to the agent's own API took",
    labelNames: ["path", "method", "return_code"],
    buckets: [...seconds.api],
    registers: [this.registry],
  });
  readonly #lines = new Counter({
    name: "cilium_errors_warnings_total",
    help: "Log lines of warnings and errors",
    labelNames: ["level", "subsystem"],
    registers: [this.registry],
  });
  readonly #policyChanges = new Counter({
    name: "cilium_policy_change_total",
    help: "Policies added, changed and removed",
    labelNames: ["source", "operation", "outcome"],
    registers: [this.registry],
  });
  readonly #policyDelay = new Histogram({
    name: "cilium_policy_implementation_delay",
    help: "Seconds from the event of a policy until the kernel enforces it",
    labelNames: ["source"],
    buckets: [...seconds.policy],
    registers: [this.registry],
  });
  readonly #sweeps = new Counter({
    name: "cilium_datapath_conntrack_gc_runs_total",
    help: "Sweeps of the connection tables",
    labelNames: ["family", "protocol", "status"],
    registers: [this.registry],
  });
  readonly #sweepTime = new Histogram({
    name: "cilium_datapath_conntrack_gc_duration_seconds",
    help: "How long sweeps of the connection tables took",
    labelNames: ["family", "protocol", "status"],
    buckets: [...seconds.sweep],
    registers: [this.registry],
  });

  /** A call to the API server ended. For KubeClient's `onCall`. */
  readonly apiCall = ({ host, method, path, status, seconds: took, stream }: CallReport): void => {
    this.#apiCalls.inc({ host, method, return_code: status === 0 ? "<error>" : String(status) });
    if (!stream) this.#apiLatency.observe({ path: pathTemplate(path), method }, took);
  };

  /** An object of the API server changed; `scope` is its plural. */
  kubernetesEvent(scope: string, action: KubernetesAction, ok: boolean): void {
    this.#events.inc({ scope, action, status: ok ? "success" : "failed" });
    this.#received.inc({ scope, action, valid: String(ok), equal: "false" });
    this.#eventTime.set({ source: "k8s", scope, action }, Date.now() / 1000);
  }

  /** The agent's own API answered. `route` is bounded: the path as it is registered. */
  ownCall(route: string, method: string, status: number, took: number): void {
    this.#own.observe({ path: route, method, return_code: String(status) }, took);
  }

  /** A line was logged. For createLogger's `onProblem`. */
  readonly problemLogged = (level: "warning" | "error", subsystem: string): void => {
    this.#lines.inc({ level, subsystem });
  };

  /** A policy's event was worked on; `took`: seconds until its rows were written. */
  policyChange(source: "k8s" | "custom-resource", operation: "update" | "delete", ok: boolean, took: number) {
    this.#policyChanges.inc({ source, operation, outcome: ok ? "success" : "failure" });
    if (ok) this.#policyDelay.observe({ source }, took);
  }

  /** The connection tables were swept. */
  swept(ok: boolean, took: number): void {
    // One table holds both families and all protocols.
    const labels = { family: "all", protocol: "all", status: ok ? "completed" : "uncompleted" };
    this.#sweeps.inc(labels);
    this.#sweepTime.observe(labels, took);
  }
}

/** Kinds that have namespaces of their own in a path, as in /api/v1/namespaces/{namespace}/pods/{name}/status. */
const collections = /^\/(api\/v1|apis\/[^/]+\/[^/]+)\/(.*)$/;

/** A path of the Kubernetes API without the names in it: the label has as many values as there are kinds. */
export function pathTemplate(path: string): string {
  const bare = path.split("?", 1)[0] ?? "";
  const [, group, rest] = collections.exec(bare) ?? [];
  if (group === undefined || rest === undefined) return bare.split("/").slice(0, 3).join("/") || "/";
  const parts = rest.split("/");
  const scoped = parts[0] === "namespaces" && parts.length > 2 ? ["namespaces", "{namespace}"] : [];
  const [plural = "", name, subresource] = scoped.length > 0 ? parts.slice(2) : parts;
  const words = [...scoped, plural];
  if (name !== undefined) words.push("{name}");
  if (subresource !== undefined) words.push(subresource);
  return `/${group}/${words.join("/")}`;
}

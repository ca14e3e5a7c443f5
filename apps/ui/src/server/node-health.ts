import type { NodeHealth } from "../shared/model.ts";

/** From this share on a map counts as full. */
const fullFrom = 0.9;

/** What of `/v1/status` is used here. */
export interface AgentStatus {
  readonly node: string;
  readonly version: string;
  readonly started: string;
  readonly modules: readonly { readonly name: string; readonly state: string; readonly message: string }[];
  readonly dnsProxy: { readonly mode: string; readonly serving: boolean };
  readonly loadBalancing: {
    readonly acceleration: readonly {
      readonly device: string;
      readonly at: string;
      readonly reason?: string;
    }[];
  };
  readonly flows: { readonly flows_rate: number };
}

/** What of `/v1/endpoints` is used here. */
export interface AgentEndpoint {
  readonly namespace: string;
  readonly pod: string;
  readonly state: string;
  readonly message?: string;
}

/** Values of the metrics (Prometheus text, version 0.0.4) that have this name, by their labels as they are written. */
export function valuesOf(metrics: string, name: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const [, labels = "", value] of metrics.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)`, "gm")))
    values.set(labels, Number(value));
  return values;
}

function fullestMap(metrics: string): NodeHealth["fullest"] {
  let fullest: NodeHealth["fullest"];
  for (const [labels, share] of valuesOf(metrics, "cilium_bpf_map_pressure")) {
    const map = /map_name="([^"]*)"/.exec(labels)?.[1] ?? "";
    if (fullest === undefined || share > fullest.share) fullest = { map, share };
  }
  return fullest;
}

const sum = (values: Iterable<number>): number => [...values].reduce((all, one) => all + one, 0);

function dnsState({ mode, serving }: AgentStatus["dnsProxy"]): NonNullable<NodeHealth["dnsProxy"]> {
  if (mode === "off") return "off";
  return serving ? "serving" : "not serving";
}

/** How a node is, by what its agent tells. */
export function healthOfAgent(
  status: AgentStatus,
  endpoints: readonly AgentEndpoint[],
  metrics: string,
  nowMs: number,
): NodeHealth {
  const unwell = status.modules.filter(({ state }) => state === "degraded" || state === "failed");
  const waiting = endpoints.filter(({ state }) => state !== "ready" && state !== "disconnecting");
  const fullest = fullestMap(metrics);
  const isFull = fullest !== undefined && fullest.share >= fullFrom;
  const problems = [
    ...unwell.map(({ name, state, message }) => `${name} ${state}: ${message}`),
    ...waiting.map(({ namespace, pod, state, message }) =>
      [`endpoint ${namespace}/${pod} is ${state}`, message].filter((part) => part !== undefined).join(": "),
    ),
    ...(isFull ? [`map ${fullest.map} is ${Math.round(fullest.share * 100)} % full`] : []),
  ];
  const isFailed = unwell.some(({ state }) => state === "failed");
  return {
    name: status.node,
    state: isFailed ? "failed" : problems.length > 0 ? "degraded" : "ok",
    problems,
    toldBy: "agent",
    version: status.version,
    uptimeSeconds: Math.max(0, Math.round((nowMs - Date.parse(status.started)) / 1000)),
    flowsPerSecond: Math.round(status.flows.flows_rate * 10) / 10,
    lost: sum(valuesOf(metrics, "cilium_bpf_events_lost_total").values()),
    ...(fullest === undefined ? {} : { fullest }),
    endpoints: { total: endpoints.length, ready: endpoints.filter(({ state }) => state === "ready").length },
    programs: status.loadBalancing.acceleration.map(({ device, at, reason }) =>
      reason === undefined ? `${device}: ${at}` : `${device}: ${at} (${reason})`,
    ),
    dnsProxy: dnsState(status.dnsProxy),
  };
}

/** What is known of a node whose agent does not answer. */
export function silentNode(name: string, problem: string): NodeHealth {
  return { name, state: "silent", problems: [problem], toldBy: "agent" };
}

/**
 * Each node once, by name. Its own agent knows most; a relay that does not reach a node whose agent answers is a
 * problem of that node all the same.
 */
export function mergedNodes(agents: readonly NodeHealth[], relays: readonly NodeHealth[]): NodeHealth[] {
  const nodes = new Map(relays.map((node) => [node.name, node]));
  for (const node of agents) {
    const told = nodes.get(node.name);
    const isCutOff = told?.state === "silent" && node.state !== "silent";
    nodes.set(
      node.name,
      isCutOff
        ? {
            ...node,
            state: node.state === "failed" ? "failed" : "degraded",
            problems: [...node.problems, ...told.problems],
          }
        : { ...told, ...node },
    );
  }
  return [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

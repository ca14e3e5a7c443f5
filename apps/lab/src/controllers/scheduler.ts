import type { Node, Pod, PodAffinityTerm } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import { selectsNode, untolerated } from "./fit.ts";
import {
  condition,
  isDeleting,
  isTerminal,
  meta,
  nameOf,
  type StatusCondition,
  selectorMatches,
  withCondition,
} from "./objects.ts";

export interface SchedulerView {
  /** Pods that wait for a node, oldest first. */
  pending: readonly Pod[];
  nodes: readonly Node[];
  /** Pods that have a node, finished ones included. */
  placed: readonly Pod[];
  now: number;
}

interface Load {
  node: Node;
  pods: Pod[];
}

/**
 * Gives every pending pod the fitting node with the fewest pods (the first by name among equals). What
 * fits nowhere gets the condition PodScheduled=False with a count per reason, as users know it.
 */
export function schedule({ pending, nodes, placed, now }: SchedulerView): Action[] {
  const loads = new Map(nodes.map((node) => [nameOf(node), { node, pods: [] as Pod[] }]));
  for (const pod of placed) {
    if (!isTerminal(pod)) loads.get(pod.spec?.nodeName ?? "")?.pods.push(pod);
  }
  const order = [...loads.values()].sort((a, b) => (nameOf(a.node) < nameOf(b.node) ? -1 : 1));
  return pending.filter((pod) => isSchedulable(pod)).flatMap((pod) => place(pod, order, now));
}

function isSchedulable(pod: Pod): boolean {
  const scheduler = pod.spec?.schedulerName ?? "default-scheduler";
  return (
    !isDeleting(pod) &&
    !isTerminal(pod) &&
    scheduler === "default-scheduler" &&
    (pod.spec?.schedulingGates ?? []).length === 0
  );
}

function place(pod: Pod, order: readonly Load[], now: number): Action[] {
  const reasons = new Map<string, number>();
  let best: Load | undefined;
  for (const load of order) {
    const reason = refusal(pod, load, order);
    if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    else if (best === undefined || load.pods.length < best.pods.length) best = load;
  }
  if (best === undefined) return unschedulable(pod, reasons, order.length, now);
  best.pods.push(pod);
  const node = nameOf(best.node);
  const message = `Successfully assigned ${meta(pod).namespace}/${nameOf(pod)} to ${node}`;
  return [
    { verb: "bind", ref: refOf(pod, "v1", "Pod"), node },
    { verb: "event", about: pod, type: "Normal", reason: "Scheduled", message },
  ];
}

/** Why a pod cannot go to a node, in the scheduler's words; undefined when it can. */
function refusal(pod: Pod, load: Load, all: readonly Load[]): string | undefined {
  const { node } = load;
  if (node.spec?.unschedulable === true && untolerated(pod, node, ["NoSchedule"]) !== undefined) {
    return "node(s) were unschedulable";
  }
  if (!selectsNode(pod, node)) return "node(s) didn't match Pod's node affinity/selector";
  const taint = untolerated(pod, node, ["NoSchedule", "NoExecute"]);
  if (taint !== undefined) return `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ""}}`;
  const ready = condition(node.status?.conditions, "Ready")?.status === "True";
  if (!ready && pod.spec?.hostNetwork !== true) return "node(s) were not ready";
  if (load.pods.length >= Number(node.status?.allocatable?.["pods"] ?? Number.POSITIVE_INFINITY)) {
    return "Too many pods";
  }
  if (hostPortTaken(pod, load)) return "node(s) didn't have free ports for the requested pod ports";
  return affinityRefusal(pod, load, all);
}

function hostPorts(pod: Pod): string[] {
  return (pod.spec?.containers ?? []).flatMap((container) =>
    (container.ports ?? []).flatMap((port) =>
      port.hostPort === undefined || port.hostPort === 0
        ? []
        : [`${port.protocol ?? "TCP"}:${port.hostPort}`],
    ),
  );
}

function hostPortTaken(pod: Pod, load: Load): boolean {
  const wanted = hostPorts(pod);
  return (
    wanted.length > 0 && load.pods.some((other) => hostPorts(other).some((port) => wanted.includes(port)))
  );
}

function affinityRefusal(pod: Pod, load: Load, all: readonly Load[]): string | undefined {
  const affinity = pod.spec?.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const anti = pod.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const inDomain = (term: PodAffinityTerm): Pod[] => domainPods(term, load, all);
  const attracted = affinity.every(
    (term) =>
      inDomain(term).some((other) => isMeant(term, pod, other)) ||
      // The first pod of a group that is attracted to itself may go anywhere.
      (isMeant(term, pod, pod) && !all.some(({ pods }) => pods.some((other) => isMeant(term, pod, other)))),
  );
  if (!attracted) return "node(s) didn't match pod affinity rules";
  if (anti.some((term) => inDomain(term).some((other) => isMeant(term, pod, other)))) {
    return "node(s) didn't match pod anti-affinity rules";
  }
  return undefined;
}

function domainPods(term: PodAffinityTerm, load: Load, all: readonly Load[]): Pod[] {
  const domain = meta(load.node).labels?.[term.topologyKey];
  if (domain === undefined) return [];
  return all
    .filter(({ node }) => meta(node).labels?.[term.topologyKey] === domain)
    .flatMap(({ pods }) => pods);
}

function isMeant(term: PodAffinityTerm, pod: Pod, other: Pod): boolean {
  const namespaces = term.namespaces ?? [meta(pod).namespace ?? ""];
  const anywhere = term.namespaceSelector !== undefined && term.namespaces === undefined;
  return (
    (anywhere || namespaces.includes(meta(other).namespace ?? "")) &&
    selectorMatches(term.labelSelector, meta(other).labels)
  );
}

function unschedulable(pod: Pod, reasons: ReadonlyMap<string, number>, nodes: number, now: number): Action[] {
  const parts = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort();
  const message = `0/${nodes} nodes are available${parts.length === 0 ? "" : `: ${parts.join(", ")}`}.`;
  const next: StatusCondition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message };
  const conditions = withCondition(pod.status?.conditions, next, now);
  if (conditions === pod.status?.conditions) return [];
  return [
    patchStatus(refOf(pod, "v1", "Pod"), { conditions }),
    { verb: "event", about: pod, type: "Warning", reason: "FailedScheduling", message },
  ];
}

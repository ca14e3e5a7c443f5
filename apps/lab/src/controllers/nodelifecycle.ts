import type { Lease } from "kubernetes-types/coordination/v1";
import type { Node, Pod, Taint } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import { tolerates } from "./fit.ts";
import {
  condition,
  isDeleting,
  isTerminal,
  nameOf,
  type StatusCondition,
  sameJson,
  timestamp,
  withCondition,
} from "./objects.ts";

export interface NodeView {
  node: Node;
  lease: Lease | undefined;
  /** Pods placed on the node. */
  pods: readonly Pod[];
  now: number;
  /** How long a lease stays fresh, and how long pods stay on a node that is away (milliseconds). */
  graceMs: number;
  evictAfterMs: number;
}

const unreachable = "node.kubernetes.io/unreachable";
const notReady = "node.kubernetes.io/not-ready";

/** Marks a node whose lease went stale, taints it, and after a while evicts its pods. */
export function reconcileNode(view: NodeView): Action[] {
  const { node, now } = view;
  const freshFor = freshness(view);
  const conditions = freshFor > 0 ? node.status?.conditions : unknownConditions(node, now);
  const actions: Action[] = [];
  if (conditions !== node.status?.conditions) {
    actions.push(patchStatus(refOf(node, "v1", "Node"), { conditions }));
    const message = `Node ${nameOf(node)} status is now: NodeNotReady`;
    actions.push({ verb: "event", about: node, type: "Normal", reason: "NodeNotReady", message });
  }
  const ready = condition(conditions, "Ready")?.status ?? "Unknown";
  actions.push(...taintActions(node, ready, now));
  if (ready !== "True") actions.push(...podActions(view));
  if (freshFor > 0) actions.push({ verb: "again", afterMs: freshFor });
  return actions;
}

/** Milliseconds the lease (or, before the first, the node's creation) still counts as a sign of life. */
function freshness({ node, lease, now, graceMs }: NodeView): number {
  const seen = Date.parse(lease?.spec?.renewTime ?? node.metadata?.creationTimestamp ?? "");
  return Number.isNaN(seen) ? graceMs : seen + graceMs - now;
}

function unknownConditions(node: Node, now: number): readonly StatusCondition[] | undefined {
  const stored = node.status?.conditions;
  return withCondition<StatusCondition>(
    stored,
    {
      type: "Ready",
      status: "Unknown",
      reason: "NodeStatusUnknown",
      message: "Kubelet stopped posting node status.",
    },
    now,
  );
}

function taintActions(node: Node, ready: string, now: number): Action[] {
  const stored = node.spec?.taints ?? [];
  const kept = stored.filter((taint) => taint.key !== unreachable && taint.key !== notReady);
  const key = ready === "True" ? undefined : ready === "False" ? notReady : unreachable;
  const since = stored.find((taint) => taint.key === key && taint.timeAdded !== undefined)?.timeAdded;
  const timeAdded = since ?? timestamp(now);
  const ours: Taint[] =
    key === undefined
      ? []
      : [
          { key, effect: "NoSchedule", timeAdded },
          { key, effect: "NoExecute", timeAdded },
        ];
  const taints = [...kept, ...ours];
  if (sameJson(stored, taints)) return [];
  return [{ verb: "patch", ref: refOf(node, "v1", "Node"), patch: { spec: { taints } } }];
}

function podActions(view: NodeView): Action[] {
  return view.pods
    .filter((pod) => !isDeleting(pod) && !isTerminal(pod))
    .flatMap((pod) => [...unreadyPod(pod, view.now), ...evict(pod, view)]);
}

/** A pod on a node that is away is not ready, so that no service sends to it. */
function unreadyPod(pod: Pod, now: number): Action[] {
  const ready = condition(pod.status?.conditions, "Ready");
  if (ready?.status !== "True") return [];
  const next: StatusCondition = {
    ...ready,
    status: "False",
    reason: "NodeNotReady",
    message: "Node is not ready",
  };
  const conditions = withCondition<StatusCondition>(pod.status?.conditions, next, now);
  return [patchStatus(refOf(pod, "v1", "Pod"), { conditions })];
}

function evict(pod: Pod, { node, now, evictAfterMs }: NodeView): Action[] {
  const taint = (node.spec?.taints ?? []).find(
    (entry) => entry.effect === "NoExecute" && (entry.key === unreachable || entry.key === notReady),
  );
  if (taint === undefined) return [];
  const matching = (pod.spec?.tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
  const limits = matching.map(
    (toleration) => (toleration.tolerationSeconds ?? Number.POSITIVE_INFINITY) * 1000,
  );
  const allowed = matching.length === 0 ? evictAfterMs : Math.min(...limits);
  if (!Number.isFinite(allowed)) return [];
  const left = Date.parse(taint.timeAdded ?? timestamp(now)) + allowed - now;
  if (left > 0) return [{ verb: "again", afterMs: left }];
  const message = `Deleting pod ${pod.metadata?.namespace}/${nameOf(pod)}: node ${nameOf(node)} is away`;
  return [
    { verb: "event", about: pod, type: "Normal", reason: "TaintManagerEviction", message },
    { verb: "delete", ref: refOf(pod, "v1", "Pod") },
  ];
}

/** Pods bound to a node that no longer exists: nobody is left to end them, so they go at once. */
export function reconcileOrphanedPods(pods: readonly Pod[], nodes: ReadonlySet<string>): Action[] {
  return pods
    .filter((pod) => {
      const node = pod.spec?.nodeName;
      return node !== undefined && node !== "" && !nodes.has(node);
    })
    .map((pod) => ({ verb: "delete", ref: refOf(pod, "v1", "Pod"), gracePeriodSeconds: 0 }));
}

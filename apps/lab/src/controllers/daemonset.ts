import type { ControllerRevision, DaemonSet, DaemonSetStatus } from "kubernetes-types/apps/v1";
import type { Node, Pod, Toleration } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import { fitsNode, mayStay } from "./fit.ts";
import {
  controllerRef,
  groupBy,
  isAvailable,
  isControlledBy,
  isDeleting,
  isReady,
  isTerminal,
  meta,
  nameOf,
  resolveIntOrPercent,
  sameJson,
  untilAvailable,
} from "./objects.ts";
import { claimPods, controlledPod, deletePod } from "./pods.ts";
import { nextRevision, revisionName } from "./revisions.ts";
import { revisionLabel } from "./statefulset.ts";

export interface DaemonSetView {
  daemonSet: DaemonSet;
  pods: readonly Pod[];
  nodes: readonly Node[];
  revisions: readonly ControllerRevision[];
  now: number;
}

/** What every daemon tolerates, whatever its template says. */
const daemonTolerations: Toleration[] = [
  { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/disk-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/pid-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
];

/** One pod on every node that the template fits. */
export function reconcileDaemonSet(view: DaemonSetView): Action[] {
  const { daemonSet, nodes, now } = view;
  const reference = controllerRef(daemonSet, "apps/v1", "DaemonSet");
  const claim = claimPods(daemonSet, reference, daemonSet.spec?.selector, view.pods);
  const probe = daemonPod(daemonSet, "");
  const byNode = groupBy(claim.owned, (pod) => pod.spec?.nodeName ?? "");
  // A pod stays where a taint only keeps new ones away, as on a node that is not ready for a moment.
  const eligible = new Set(
    nodes
      .filter((node) => fitsNode(probe, node) || (byNode.has(nameOf(node)) && mayStay(probe, node)))
      .map(nameOf),
  );
  const actions = [...claim.actions];
  if (!isDeleting(daemonSet)) {
    const own = view.revisions.filter((revision) => isControlledBy(revision, daemonSet));
    actions.push(...nextRevision(daemonSet, reference, daemonSet.spec?.template, own));
    for (const node of eligible) actions.push(...keepOne(daemonSet, node, byNode.get(node) ?? []));
    for (const [node, pods] of byNode) if (!eligible.has(node)) actions.push(...living(pods).map(deletePod));
    actions.push(...rollingUpdate(daemonSet, eligible, byNode, now));
  }
  actions.push(...statusActions(view, eligible, byNode));
  return actions;
}

function living(pods: readonly Pod[]): Pod[] {
  return pods.filter((pod) => !isDeleting(pod));
}

function daemonPod(daemonSet: DaemonSet, node: string): Pod {
  const reference = controllerRef(daemonSet, "apps/v1", "DaemonSet");
  const pod = controlledPod(daemonSet, reference, daemonSet.spec?.template);
  const labels = { ...meta(pod).labels, [revisionLabel]: revisionName(daemonSet, daemonSet.spec?.template) };
  pod.metadata = { ...pod.metadata, labels };
  const own = pod.spec ?? { containers: [] };
  const network: Toleration[] =
    own.hostNetwork === true
      ? [{ key: "node.kubernetes.io/network-unavailable", operator: "Exists", effect: "NoSchedule" }]
      : [];
  pod.spec = {
    ...own,
    tolerations: [...(own.tolerations ?? []), ...daemonTolerations, ...network],
    ...(node === "" ? {} : { nodeName: node }),
  };
  return pod;
}

function keepOne(daemonSet: DaemonSet, node: string, pods: readonly Pod[]): Action[] {
  const failed = living(pods).filter(isTerminal);
  if (failed.length > 0) return failed.map(deletePod);
  const [first, ...rest] = [...living(pods)].sort((a, b) =>
    (meta(a).creationTimestamp ?? "") < (meta(b).creationTimestamp ?? "") ? -1 : 1,
  );
  // A pod that is still going away keeps its ports: its successor waits.
  if (first === undefined)
    return pods.length > 0 ? [] : [{ verb: "create", object: daemonPod(daemonSet, node) }];
  return rest.map(deletePod);
}

/** Deletes outdated pods, the unavailable ones at once, the others within `maxUnavailable`. */
function rollingUpdate(
  daemonSet: DaemonSet,
  eligible: ReadonlySet<string>,
  byNode: ReadonlyMap<string, Pod[]>,
  now: number,
): Action[] {
  if (daemonSet.spec?.updateStrategy?.type === "OnDelete") return [];
  const update = revisionName(daemonSet, daemonSet.spec?.template);
  const minReady = daemonSet.spec?.minReadySeconds ?? 0;
  const allowed = Math.max(
    1,
    resolveIntOrPercent(
      daemonSet.spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1,
      eligible.size,
      "up",
    ),
  );
  const pods = [...eligible].map((node) => living(byNode.get(node) ?? [])[0]);
  const unavailable = pods.filter((pod) => pod === undefined || !isAvailable(pod, minReady, now)).length;
  const outdated = pods.filter((pod) => pod !== undefined && meta(pod).labels?.[revisionLabel] !== update);
  const actions: Action[] = [];
  let budget = allowed - unavailable;
  for (const pod of outdated) {
    if (pod === undefined || isTerminal(pod)) continue;
    if (!isAvailable(pod, minReady, now)) actions.push(deletePod(pod));
    else if (budget-- > 0) actions.push(deletePod(pod));
  }
  return actions;
}

function statusActions(
  { daemonSet, now }: DaemonSetView,
  eligible: ReadonlySet<string>,
  byNode: ReadonlyMap<string, Pod[]>,
): Action[] {
  const update = revisionName(daemonSet, daemonSet.spec?.template);
  const placed = [...eligible].flatMap((node) =>
    (byNode.get(node) ?? []).filter((pod) => !isTerminal(pod)).slice(0, 1),
  );
  const waits = placed.map((pod) => untilAvailable(pod, daemonSet.spec?.minReadySeconds ?? 0, now));
  const available = waits.filter((wait) => wait === 0).length;
  const generation = meta(daemonSet).generation;
  const status: DaemonSetStatus = {
    currentNumberScheduled: placed.length,
    desiredNumberScheduled: eligible.size,
    numberMisscheduled: [...byNode].filter(([node, pods]) => !eligible.has(node) && living(pods).length > 0)
      .length,
    numberReady: placed.filter(isReady).length,
    updatedNumberScheduled: placed.filter((pod) => meta(pod).labels?.[revisionLabel] === update).length,
    numberAvailable: available,
    numberUnavailable: eligible.size - available,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
  const actions: Action[] = [];
  const zero = { updatedNumberScheduled: 0, numberAvailable: 0, numberUnavailable: 0 };
  if (!sameJson({ ...zero, ...daemonSet.status }, status)) {
    actions.push(patchStatus(refOf(daemonSet, "apps/v1", "DaemonSet"), status));
  }
  const pending = waits.filter((wait) => wait > 0 && Number.isFinite(wait));
  if (pending.length > 0) actions.push({ verb: "again", afterMs: Math.min(...pending) });
  return actions;
}

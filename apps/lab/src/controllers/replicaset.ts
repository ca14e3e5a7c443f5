import type { ReplicaSet, ReplicaSetStatus } from "kubernetes-types/apps/v1";
import type { Pod } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import {
  controllerRef,
  isActive,
  isDeleting,
  isReady,
  mapMatches,
  meta,
  sameJson,
  untilAvailable,
} from "./objects.ts";
import { claimPods, controlledPod, deletePod, deletionOrder } from "./pods.ts";

export interface ReplicaSetView {
  replicaSet: ReplicaSet;
  /** The pods of its namespace. */
  pods: readonly Pod[];
  now: number;
}

/** No reconcile creates or deletes more pods than this, so that one key cannot hold the queue for long. */
const burst = 500;

/** Keeps as many active pods as `spec.replicas` says. */
export function reconcileReplicaSet({ replicaSet, pods, now }: ReplicaSetView): Action[] {
  const reference = controllerRef(replicaSet, "apps/v1", "ReplicaSet");
  const claim = claimPods(replicaSet, reference, replicaSet.spec?.selector, pods);
  const active = claim.owned.filter(isActive);
  const wanted = replicaSet.spec?.replicas ?? 1;
  const actions = claim.actions;
  const surplus = new Set<Pod>();
  if (!isDeleting(replicaSet)) {
    for (let i = active.length; i < Math.min(wanted, active.length + burst); i++) {
      actions.push({
        verb: "create",
        object: controlledPod(replicaSet, reference, replicaSet.spec?.template),
      });
    }
    if (active.length > wanted) {
      const chosen = [...active].sort(deletionOrder).slice(0, Math.min(burst, active.length - wanted));
      for (const pod of chosen) surplus.add(pod);
      actions.push(...chosen.map(deletePod));
    }
  }
  // Pods that go are not counted: a deployment that took them for available would take others away.
  const staying = active.filter((pod) => !surplus.has(pod));
  actions.push(...statusActions(replicaSet, staying, now));
  return actions;
}

function statusActions(replicaSet: ReplicaSet, active: readonly Pod[], now: number): Action[] {
  const minReady = replicaSet.spec?.minReadySeconds ?? 0;
  const waits = active.map((pod) => untilAvailable(pod, minReady, now));
  const generation = meta(replicaSet).generation;
  const status: ReplicaSetStatus = {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) =>
      mapMatches(replicaSet.spec?.template?.metadata?.labels, meta(pod).labels),
    ).length,
    readyReplicas: active.filter(isReady).length,
    availableReplicas: waits.filter((wait) => wait === 0).length,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
  const actions: Action[] = [];
  const { conditions: _conditions, ...old } = replicaSet.status ?? { replicas: -1 };
  if (!sameJson(withZeros(old), status)) {
    actions.push(patchStatus(refOf(replicaSet, "apps/v1", "ReplicaSet"), status));
  }
  const pending = waits.filter((wait) => wait > 0 && Number.isFinite(wait));
  if (pending.length > 0) actions.push({ verb: "again", afterMs: Math.min(...pending) });
  return actions;
}

/** An absent count in a stored status is a zero. */
function withZeros(status: Partial<ReplicaSetStatus>): Partial<ReplicaSetStatus> {
  return { fullyLabeledReplicas: 0, readyReplicas: 0, availableReplicas: 0, ...status };
}

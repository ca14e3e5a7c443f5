import type { Deployment, DeploymentCondition, DeploymentStatus } from "kubernetes-types/apps/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import { condition, meta, nameOf, sameJson, timestamp, withCondition } from "./objects.ts";
import { availableOf, type Rollout, replicasOf, rolloutBounds, sum } from "./rollout.ts";

/** The status as the replica sets have it, and a look later when the progress deadline runs. */
export function statusActions(rollout: Rollout): Action[] {
  const { deployment, current, old, now } = rollout;
  const sets = current === undefined ? old : [current, ...old];
  const wanted = replicasOf(deployment);
  const available = sum(sets, availableOf);
  const generation = meta(deployment).generation;
  const counts: DeploymentStatus = {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    replicas: sum(sets, (set) => set.status?.replicas ?? 0),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: sum(sets, (set) => set.status?.readyReplicas ?? 0),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, Math.max(wanted, sum(sets, replicasOf)) - available),
  };
  const isAvailable = available >= wanted - rolloutBounds(deployment).maxUnavailable;
  let conditions = withCondition<DeploymentCondition>(
    deployment.status?.conditions,
    {
      type: "Available",
      status: isAvailable ? "True" : "False",
      reason: isAvailable ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
      message: isAvailable
        ? "Deployment has minimum availability."
        : "Deployment does not have minimum availability.",
    },
    now,
  );
  const progressing = progressCondition(rollout, counts);
  conditions = withCondition(conditions, progressing, now);
  const moved = !sameCounts(deployment.status, counts);
  const touched = conditions.map((entry) => touch(entry, rollout, moved));
  const status = { ...counts, conditions: touched };
  const actions: Action[] = [];
  const { collisionCount: _collisions, ...old_ } = deployment.status ?? {};
  if (!sameJson({ ...zeroStatus, ...old_ }, status)) {
    actions.push(patchStatus(refOf(deployment, "apps/v1", "Deployment"), status));
  }
  const deadline = progressDeadline(deployment);
  if (progressing.status === "True" && progressing.reason !== "NewReplicaSetAvailable" && deadline > 0) {
    actions.push({ verb: "again", afterMs: deadline });
  }
  return actions;
}

const zeroStatus = {
  replicas: 0,
  updatedReplicas: 0,
  readyReplicas: 0,
  availableReplicas: 0,
  unavailableReplicas: 0,
};

/** `lastUpdateTime` moves when a condition changes, and on Progressing whenever the counts moved. */
function touch(
  entry: DeploymentCondition,
  { deployment, now }: Rollout,
  moved: boolean,
): DeploymentCondition {
  const stored = condition(deployment.status?.conditions, entry.type);
  if (stored === entry && !(moved && entry.type === "Progressing")) return entry;
  return { ...entry, lastUpdateTime: timestamp(now) };
}

function progressDeadline(deployment: Deployment): number {
  return (deployment.spec?.progressDeadlineSeconds ?? 600) * 1000;
}

function isComplete({ deployment, current }: Rollout, counts: DeploymentStatus): boolean {
  const wanted = replicasOf(deployment);
  return (
    current !== undefined &&
    replicasOf(current) === wanted &&
    counts.updatedReplicas === wanted &&
    counts.replicas === wanted &&
    counts.availableReplicas === wanted
  );
}

/** Progressing: complete, moving, or stuck for longer than the deadline since the counts last moved. */
function progressCondition(rollout: Rollout, counts: DeploymentStatus): DeploymentCondition {
  const { deployment, current, now } = rollout;
  const name = current === undefined ? "" : nameOf(current);
  const stored = condition(deployment.status?.conditions, "Progressing");
  const of = (status: string, reason: string, message: string): DeploymentCondition => ({
    type: "Progressing",
    status,
    reason,
    message,
    ...(stored?.lastUpdateTime === undefined ? {} : { lastUpdateTime: stored.lastUpdateTime }),
  });
  if (isComplete(rollout, counts)) {
    return of("True", "NewReplicaSetAvailable", `ReplicaSet "${name}" has successfully progressed.`);
  }
  if (current === undefined) return of("True", "NewReplicaSetCreated", "Creating the new replica set");
  const moved = !sameCounts(deployment.status, counts);
  const since = Date.parse(stored?.lastUpdateTime ?? "");
  if (!moved && stored?.status === "False") return stored;
  if (!moved && !Number.isNaN(since) && stored?.reason !== "NewReplicaSetAvailable") {
    if (now - since >= progressDeadline(deployment)) {
      return of("False", "ProgressDeadlineExceeded", `ReplicaSet "${name}" has timed out progressing.`);
    }
    return stored ?? of("True", "ReplicaSetUpdated", `ReplicaSet "${name}" is progressing.`);
  }
  return of("True", "ReplicaSetUpdated", `ReplicaSet "${name}" is progressing.`);
}

function sameCounts(stored: DeploymentStatus | undefined, counts: DeploymentStatus): boolean {
  const old = { ...zeroStatus, ...stored };
  return (
    old.updatedReplicas === counts.updatedReplicas &&
    old.readyReplicas === counts.readyReplicas &&
    old.availableReplicas === counts.availableReplicas &&
    old.replicas === counts.replicas
  );
}

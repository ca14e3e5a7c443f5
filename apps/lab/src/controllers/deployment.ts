import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from "kubernetes-types/apps/v1";
import type { Pod, PodTemplateSpec } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import {
  condition,
  controllerRef,
  hashJson,
  isControlledBy,
  isDeleting,
  isTerminal,
  meta,
  nameOf,
  resolveIntOrPercent,
  sameJson,
  timestamp,
  withCondition,
} from "./objects.ts";

export interface DeploymentView {
  deployment: Deployment;
  /** The replica sets of its namespace. */
  replicaSets: readonly ReplicaSet[];
  /** The pods of its namespace; read by the Recreate strategy only. */
  pods: readonly Pod[];
  now: number;
}

const revisionKey = "deployment.kubernetes.io/revision";
const desiredKey = "deployment.kubernetes.io/desired-replicas";
const maxKey = "deployment.kubernetes.io/max-replicas";
const hashLabel = "pod-template-hash";

interface Rollout {
  deployment: Deployment;
  current: ReplicaSet | undefined;
  old: ReplicaSet[];
  pods: readonly Pod[];
  now: number;
}

/** Bounds of a rolling update in pods. */
export interface Bounds {
  maxSurge: number;
  maxUnavailable: number;
}

/** How far a rollout may go above and below `spec.replicas`; never both zero. */
export function rolloutBounds(deployment: Deployment): Bounds {
  if (deployment.spec?.strategy?.type === "Recreate")
    return { maxSurge: 0, maxUnavailable: replicasOf(deployment) };
  const rolling = deployment.spec?.strategy?.rollingUpdate;
  const total = replicasOf(deployment);
  const maxSurge = resolveIntOrPercent(rolling?.maxSurge ?? "25%", total, "up");
  const maxUnavailable = resolveIntOrPercent(rolling?.maxUnavailable ?? "25%", total, "down");
  return {
    maxSurge,
    maxUnavailable: maxSurge === 0 && maxUnavailable === 0 ? 1 : Math.min(maxUnavailable, total),
  };
}

/** Moves the replica sets of a deployment one step towards its template and replica count. */
export function reconcileDeployment({ deployment, replicaSets, pods, now }: DeploymentView): Action[] {
  const owned = replicaSets.filter((set) => isControlledBy(set, deployment));
  const current = findCurrent(deployment, owned);
  const rollout: Rollout = { deployment, current, old: owned.filter((set) => set !== current), pods, now };
  if (isDeleting(deployment)) return statusActions(rollout);
  const scaling = scalingActions(rollout);
  if (deployment.spec?.paused === true || scaling.length > 0) {
    return [...scaling, ...statusActions(rollout)];
  }
  const revised = revisionActions(rollout);
  const steps = deployment.spec?.strategy?.type === "Recreate" ? recreate(rollout) : rollingUpdate(rollout);
  const cleaning = steps.length === 0 ? historyActions(rollout) : [];
  return [...revised, ...steps, ...cleaning, ...statusActions(rollout)];
}

function replicasOf(object: Deployment | ReplicaSet): number {
  return object.spec?.replicas ?? 1;
}

function availableOf(set: ReplicaSet): number {
  return set.status?.availableReplicas ?? 0;
}

function sum(sets: readonly ReplicaSet[], count: (set: ReplicaSet) => number): number {
  return sets.reduce((total, set) => total + count(set), 0);
}

/** The hash that names the replica set of a template. */
export function templateHash(deployment: Deployment): string {
  return hashJson(deployment.spec?.template, deployment.status?.collisionCount ?? 0);
}

function findCurrent(deployment: Deployment, owned: readonly ReplicaSet[]): ReplicaSet | undefined {
  const wanted = withoutHash(deployment.spec?.template);
  // The oldest, should two ever match: every look then agrees.
  return [...owned]
    .sort((a, b) => ((meta(a).creationTimestamp ?? "") < (meta(b).creationTimestamp ?? "") ? -1 : 1))
    .find(
      (set) =>
        meta(set).labels?.[hashLabel] === templateHash(deployment) ||
        sameJson(withoutHash(set.spec?.template), wanted),
    );
}

function withoutHash(template: PodTemplateSpec | undefined): unknown {
  const { [hashLabel]: _hash, ...labels } = template?.metadata?.labels ?? {};
  const { creationTimestamp: _time, ...rest } = template?.metadata ?? {};
  return { ...template, metadata: { ...rest, labels } };
}

function revisionOf(set: ReplicaSet): number {
  return Number(meta(set).annotations?.[revisionKey] ?? 0) || 0;
}

function setAnnotations(rollout: Rollout, revision: number): Record<string, string> {
  const { deployment } = rollout;
  const replicas = replicasOf(deployment);
  const { "kubectl.kubernetes.io/last-applied-configuration": _applied, ...own } =
    meta(deployment).annotations ?? {};
  return {
    ...own,
    [revisionKey]: String(revision),
    [desiredKey]: String(replicas),
    [maxKey]: String(replicas + rolloutBounds(deployment).maxSurge),
  };
}

/** The current set carries the highest revision, and the deployment shows it. */
function revisionActions(rollout: Rollout): Action[] {
  const { deployment, current, old } = rollout;
  const highestOld = Math.max(0, ...old.map(revisionOf));
  const revision =
    current !== undefined && revisionOf(current) > highestOld ? revisionOf(current) : highestOld + 1;
  const actions: Action[] = [];
  if (current !== undefined) {
    const annotations = setAnnotations(rollout, revision);
    const stored = meta(current).annotations ?? {};
    if (Object.entries(annotations).some(([key, value]) => stored[key] !== value)) {
      actions.push(patchSet(current, { metadata: { annotations } }));
    }
  }
  if (meta(deployment).annotations?.[revisionKey] !== String(revision)) {
    const patch = { metadata: { annotations: { [revisionKey]: String(revision) } } };
    actions.push({ verb: "patch", ref: refOf(deployment, "apps/v1", "Deployment"), patch });
  }
  return actions;
}

function patchSet(set: ReplicaSet, patch: object): Action {
  return { verb: "patch", ref: refOf(set, "apps/v1", "ReplicaSet"), patch };
}

function scaleSet(rollout: Rollout, set: ReplicaSet, replicas: number): Action[] {
  const desired = replicasOf(rollout.deployment);
  const annotations = {
    [desiredKey]: String(desired),
    [maxKey]: String(desired + rolloutBounds(rollout.deployment).maxSurge),
  };
  const annotated = meta(set).annotations?.[desiredKey] === annotations[desiredKey];
  if (replicasOf(set) === replicas && annotated) return [];
  if (replicasOf(set) === replicas) return [patchSet(set, { metadata: { annotations } })];
  const direction = replicas > replicasOf(set) ? "up" : "down";
  const message = `Scaled ${direction} replica set ${nameOf(set)} from ${replicasOf(set)} to ${replicas}`;
  return [
    patchSet(set, { metadata: { annotations }, spec: { replicas } }),
    { verb: "event", about: rollout.deployment, type: "Normal", reason: "ScalingReplicaSet", message },
  ];
}

function createSet(rollout: Rollout, replicas: number): Action[] {
  const { deployment, old } = rollout;
  const hash = templateHash(deployment);
  const template = structuredClone(deployment.spec?.template);
  const labels = { ...template?.metadata?.labels, [hashLabel]: hash };
  const namespace = meta(deployment).namespace;
  const set: ReplicaSet = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name: `${nameOf(deployment)}-${hash}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels,
      annotations: setAnnotations(rollout, Math.max(0, ...old.map(revisionOf)) + 1),
      ownerReferences: [controllerRef(deployment, "apps/v1", "Deployment")],
    },
    spec: {
      replicas,
      minReadySeconds: deployment.spec?.minReadySeconds ?? 0,
      selector: {
        ...deployment.spec?.selector,
        matchLabels: { ...deployment.spec?.selector?.matchLabels, [hashLabel]: hash },
      },
      template: { ...template, metadata: { ...template?.metadata, labels } },
    },
  };
  const message = `Scaled up replica set ${nameOf(set)} from 0 to ${replicas}`;
  return [
    { verb: "create", object: set },
    { verb: "event", about: deployment, type: "Normal", reason: "ScalingReplicaSet", message },
  ];
}

/** When `spec.replicas` changed, the sets that have pods are resized in proportion, outside the rollout. */
function scalingActions(rollout: Rollout): Action[] {
  const { deployment, current, old } = rollout;
  const active = [...(current === undefined ? [] : [current]), ...old].filter((set) => replicasOf(set) > 0);
  const desired = String(replicasOf(deployment));
  const resized = active.some((set) => (meta(set).annotations?.[desiredKey] ?? desired) !== desired);
  if (!resized) return deployment.spec?.paused === true ? pausedScaling(rollout, active) : [];
  const only = active[0];
  if (active.length === 1 && only !== undefined) return scaleSet(rollout, only, replicasOf(deployment));
  const target =
    replicasOf(deployment) === 0 ? 0 : replicasOf(deployment) + rolloutBounds(deployment).maxSurge;
  return proportionally(active, target).flatMap(({ set, replicas }) => scaleSet(rollout, set, replicas));
}

function pausedScaling(rollout: Rollout, active: readonly ReplicaSet[]): Action[] {
  const only = active[0];
  return active.length === 1 && only !== undefined
    ? scaleSet(rollout, only, replicasOf(rollout.deployment))
    : [];
}

/** Splits `target` over sets by their present size, the remainder to the largest. */
export function proportionally(
  sets: readonly ReplicaSet[],
  target: number,
): { set: ReplicaSet; replicas: number }[] {
  const total = sum(sets, replicasOf);
  const bySize = [...sets].sort((a, b) => replicasOf(b) - replicasOf(a));
  const shares = bySize.map((set) => ({
    set,
    replicas: total === 0 ? 0 : Math.floor((replicasOf(set) * target) / total),
  }));
  const first = shares[0];
  if (first !== undefined)
    first.replicas += target - shares.reduce((done, share) => done + share.replicas, 0);
  return shares;
}

function rollingUpdate(rollout: Rollout): Action[] {
  const { deployment, current, old } = rollout;
  const replicas = replicasOf(deployment);
  const { maxSurge, maxUnavailable } = rolloutBounds(deployment);
  const oldTotal = sum(old, replicasOf);
  const now = current === undefined ? 0 : replicasOf(current);
  const room = Math.max(0, replicas + maxSurge - oldTotal - now);
  const grown = now > replicas ? replicas : Math.min(replicas, now + room);
  if (current === undefined) return createSet(rollout, grown);
  const up = scaleSet(rollout, current, grown);
  if (up.length > 0 || oldTotal === 0) return up;
  return shrinkOld(rollout, current, replicas - maxUnavailable);
}

/** Takes old pods away: first those that serve nobody, then as many as availability allows. */
function shrinkOld(rollout: Rollout, current: ReplicaSet, minAvailable: number): Action[] {
  const { old } = rollout;
  const oldest = [...old].sort((a, b) => revisionOf(a) - revisionOf(b));
  const total = sum(old, replicasOf) + replicasOf(current);
  const currentUnavailable = Math.max(0, replicasOf(current) - availableOf(current));
  const sizes = new Map(oldest.map((set) => [set, replicasOf(set)]));
  const take = (set: ReplicaSet, count: number): void => {
    sizes.set(set, (sizes.get(set) ?? 0) - count);
  };
  let removable = Math.max(0, total - minAvailable - currentUnavailable);
  for (const set of oldest) {
    // A set's status may lag behind its spec: never count more available pods than it should have.
    const unhealthy = Math.max(0, replicasOf(set) - Math.min(availableOf(set), replicasOf(set)));
    const count = Math.min(unhealthy, removable);
    take(set, count);
    removable -= count;
  }
  const available = sum([...old, current], (set) => Math.min(availableOf(set), replicasOf(set)));
  let spare = Math.min(removable, Math.max(0, available - minAvailable));
  for (const set of oldest) {
    const count = Math.min(sizes.get(set) ?? 0, spare);
    take(set, count);
    spare -= count;
  }
  return oldest.flatMap((set) => {
    const size = sizes.get(set) ?? 0;
    return size === replicasOf(set) ? [] : scaleSet(rollout, set, size);
  });
}

function recreate(rollout: Rollout): Action[] {
  const { deployment, current, old, pods } = rollout;
  const down = old.filter((set) => replicasOf(set) > 0).flatMap((set) => scaleSet(rollout, set, 0));
  if (down.length > 0) return down;
  const lingering = pods.some((pod) => !isTerminal(pod) && old.some((set) => isControlledBy(pod, set)));
  if (lingering) return [];
  if (current === undefined) return createSet(rollout, replicasOf(deployment));
  return scaleSet(rollout, current, replicasOf(deployment));
}

/** Deletes the oldest empty sets beyond `revisionHistoryLimit`. */
function historyActions({ deployment, old }: Rollout): Action[] {
  const limit = deployment.spec?.revisionHistoryLimit ?? 10;
  const empty = old.filter(
    (set) => replicasOf(set) === 0 && (set.status?.replicas ?? 0) === 0 && !isDeleting(set),
  );
  empty.sort((a, b) => revisionOf(a) - revisionOf(b));
  const surplus = empty.slice(0, Math.max(0, empty.length - limit));
  return surplus.map((set) => ({ verb: "delete", ref: refOf(set, "apps/v1", "ReplicaSet") }));
}

function statusActions(rollout: Rollout): Action[] {
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

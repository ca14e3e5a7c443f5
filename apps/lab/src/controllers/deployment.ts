import type { Deployment, ReplicaSet } from "kubernetes-types/apps/v1";
import type { Pod, PodTemplateSpec } from "kubernetes-types/core/v1";
import { type Action, refOf } from "./action.ts";
import { statusActions } from "./deploymentstatus.ts";
import {
  controllerRef,
  hashJson,
  isControlledBy,
  isDeleting,
  isTerminal,
  meta,
  nameOf,
  sameJson,
} from "./objects.ts";
import { availableOf, type Rollout, replicasOf, rolloutBounds, sum } from "./rollout.ts";

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

/** The hash that names the replica set of a template. */
function templateHash(deployment: Deployment): string {
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

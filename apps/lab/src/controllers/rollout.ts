import type { Deployment, ReplicaSet } from "kubernetes-types/apps/v1";
import type { Pod } from "kubernetes-types/core/v1";
import { resolveIntOrPercent } from "./objects.ts";

/** A deployment with its replica sets told apart. */
export interface Rollout {
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

export function replicasOf(object: Deployment | ReplicaSet): number {
  return object.spec?.replicas ?? 1;
}

export function availableOf(set: ReplicaSet): number {
  return set.status?.availableReplicas ?? 0;
}

export function sum(sets: readonly ReplicaSet[], count: (set: ReplicaSet) => number): number {
  return sets.reduce((total, set) => total + count(set), 0);
}

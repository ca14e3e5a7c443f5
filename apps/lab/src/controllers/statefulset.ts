import type { ControllerRevision, StatefulSet, StatefulSetStatus } from "kubernetes-types/apps/v1";
import type { Pod, PodTemplateSpec } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import {
  controllerRef,
  isAvailable,
  isControlledBy,
  isDeleting,
  isReady,
  isTerminal,
  meta,
  nameOf,
  sameJson,
  untilAvailable,
} from "./objects.ts";
import { claimPods, controlledPod, deletePod } from "./pods.ts";
import { nextRevision, revisionName, templateOf } from "./revisions.ts";

export interface StatefulSetView {
  statefulSet: StatefulSet;
  /** The pods of its namespace. */
  pods: readonly Pod[];
  /** The controller revisions of its namespace. */
  revisions: readonly ControllerRevision[];
  now: number;
}

export const revisionLabel = "controller-revision-hash";

interface Ordinals {
  set: StatefulSet;
  byOrdinal: Map<number, Pod>;
  start: number;
  replicas: number;
  /** The revision new pods get, and the one pods below the partition keep. */
  update: string;
  current: string;
  template(ordinal: number): { template: PodTemplateSpec | undefined; revision: string };
  now: number;
}

/** Pods with stable names 0..n-1: created, updated and removed one after the other unless Parallel. */
export function reconcileStatefulSet(view: StatefulSetView): Action[] {
  const { statefulSet, pods, now } = view;
  const reference = controllerRef(statefulSet, "apps/v1", "StatefulSet");
  const claim = claimPods(statefulSet, reference, statefulSet.spec?.selector, pods);
  const state = ordinals(view, claim.owned);
  const own = view.revisions.filter((revision) => isControlledBy(revision, statefulSet));
  const actions = [...claim.actions];
  if (!isDeleting(statefulSet)) {
    actions.push(...nextRevision(statefulSet, reference, statefulSet.spec?.template, own));
    actions.push(
      ...(statefulSet.spec?.podManagementPolicy === "Parallel" ? parallel(state) : ordered(state)),
    );
  }
  actions.push(...statusActions(state, now));
  return actions;
}

function ordinals(view: StatefulSetView, owned: readonly Pod[]): Ordinals {
  const { statefulSet, revisions, now } = view;
  const start = statefulSet.spec?.ordinals?.start ?? 0;
  const update = revisionName(statefulSet, statefulSet.spec?.template);
  const stored = statefulSet.status?.currentRevision;
  const current = stored === undefined || stored === "" ? update : stored;
  const partition = statefulSet.spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
  const currentTemplate = templateOf(revisions.find((revision) => nameOf(revision) === current));
  const byOrdinal = new Map<number, Pod>();
  for (const pod of owned) {
    const ordinal = ordinalOf(statefulSet, pod);
    if (ordinal !== undefined) byOrdinal.set(ordinal, pod);
  }
  return {
    set: statefulSet,
    byOrdinal,
    start,
    replicas: statefulSet.spec?.replicas ?? 1,
    update,
    current,
    now,
    template: (ordinal) =>
      ordinal - start < partition && currentTemplate !== undefined
        ? { template: currentTemplate, revision: current }
        : { template: statefulSet.spec?.template, revision: update },
  };
}

function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const prefix = `${nameOf(set)}-`;
  const rest = nameOf(pod).startsWith(prefix) ? nameOf(pod).slice(prefix.length) : "";
  return /^\d+$/.test(rest) ? Number(rest) : undefined;
}

function createPod(state: Ordinals, ordinal: number): Action {
  const { set } = state;
  const name = `${nameOf(set)}-${ordinal}`;
  const { template, revision } = state.template(ordinal);
  const pod = controlledPod(set, controllerRef(set, "apps/v1", "StatefulSet"), template, name);
  pod.metadata = {
    ...pod.metadata,
    labels: {
      ...pod.metadata?.labels,
      "statefulset.kubernetes.io/pod-name": name,
      "apps.kubernetes.io/pod-index": String(ordinal),
      [revisionLabel]: revision,
    },
  };
  pod.spec = {
    ...(pod.spec ?? { containers: [] }),
    hostname: name,
    ...(set.spec?.serviceName === undefined ? {} : { subdomain: set.spec.serviceName }),
  };
  return { verb: "create", object: pod };
}

function wantedOrdinals(state: Ordinals): number[] {
  return Array.from({ length: state.replicas }, (_, i) => state.start + i);
}

/** Pods outside the wanted range, the highest first. */
function condemned(state: Ordinals): Pod[] {
  return [...state.byOrdinal]
    .filter(([ordinal]) => ordinal < state.start || ordinal >= state.start + state.replicas)
    .sort(([a], [b]) => b - a)
    .map(([, pod]) => pod);
}

function minReady(state: Ordinals): number {
  return state.set.spec?.minReadySeconds ?? 0;
}

function parallel(state: Ordinals): Action[] {
  const actions: Action[] = [];
  for (const ordinal of wantedOrdinals(state)) {
    const pod = state.byOrdinal.get(ordinal);
    if (pod === undefined) actions.push(createPod(state, ordinal));
    else if (isTerminal(pod) && !isDeleting(pod)) actions.push(deletePod(pod));
  }
  actions.push(
    ...condemned(state)
      .filter((pod) => !isDeleting(pod))
      .map(deletePod),
  );
  return actions.length > 0 ? actions : rollingUpdate(state);
}

/** One step at a time: the first pod that is missing or not available holds all later ones. */
function ordered(state: Ordinals): Action[] {
  for (const ordinal of wantedOrdinals(state)) {
    const pod = state.byOrdinal.get(ordinal);
    if (pod === undefined) return [createPod(state, ordinal)];
    if (isDeleting(pod)) return [];
    if (isTerminal(pod)) return [deletePod(pod)];
    if (!isAvailable(pod, minReady(state), state.now)) {
      // A pod that never became ready must not block the update that may mend it.
      return isReady(pod) || state.template(ordinal).revision === meta(pod).labels?.[revisionLabel]
        ? []
        : updateStep(state, [ordinal]);
    }
  }
  const surplus = condemned(state);
  const last = surplus[0];
  if (last !== undefined) return surplus.some(isDeleting) ? [] : [deletePod(last)];
  return rollingUpdate(state);
}

function rollingUpdate(state: Ordinals): Action[] {
  return updateStep(state, wantedOrdinals(state).reverse());
}

/** Replaces the highest pod of an old revision, once every later one is available. */
function updateStep(state: Ordinals, highestFirst: readonly number[]): Action[] {
  if (state.set.spec?.updateStrategy?.type === "OnDelete") return [];
  for (const ordinal of highestFirst) {
    const pod = state.byOrdinal.get(ordinal);
    if (pod === undefined || isDeleting(pod)) return [];
    if (meta(pod).labels?.[revisionLabel] !== state.template(ordinal).revision) return [deletePod(pod)];
    if (!isAvailable(pod, minReady(state), state.now)) return [];
  }
  return [];
}

function statusActions(state: Ordinals, now: number): Action[] {
  const { set } = state;
  const pods = [...state.byOrdinal.values()].filter((pod) => !isTerminal(pod));
  const live = pods.filter((pod) => !isDeleting(pod));
  const ofRevision = (revision: string): number =>
    live.filter((pod) => meta(pod).labels?.[revisionLabel] === revision).length;
  const waits = live.map((pod) => untilAvailable(pod, minReady(state), now));
  const ready = live.filter(isReady).length;
  const partition = set.spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
  const updated = ofRevision(state.update);
  const rolledOut = partition === 0 && updated === state.replicas && ready === state.replicas;
  const current = rolledOut ? state.update : state.current;
  const generation = meta(set).generation;
  const status: StatefulSetStatus = {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    replicas: pods.length,
    readyReplicas: ready,
    availableReplicas: waits.filter((wait) => wait === 0).length,
    currentReplicas: ofRevision(current),
    updatedReplicas: updated,
    currentRevision: current,
    updateRevision: state.update,
    collisionCount: set.status?.collisionCount ?? 0,
  };
  const actions: Action[] = [];
  if (!sameJson(set.status, status)) actions.push(patchStatus(refOf(set, "apps/v1", "StatefulSet"), status));
  const pending = waits.filter((wait) => wait > 0 && Number.isFinite(wait));
  if (pending.length > 0) actions.push({ verb: "again", afterMs: Math.min(...pending) });
  return actions;
}

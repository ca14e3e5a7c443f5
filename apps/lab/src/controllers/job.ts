import type { Job, JobCondition, JobStatus } from "kubernetes-types/batch/v1";
import type { Pod } from "kubernetes-types/core/v1";
import { type Action, patchStatus, refOf } from "./action.ts";
import {
  condition,
  controllerRef,
  isActive,
  isDeleting,
  isReady,
  meta,
  nameOf,
  randomSuffix,
  sameJson,
  timestamp,
  withCondition,
} from "./objects.ts";
import { claimPods, controlledPod, deletePod, deletionOrder } from "./pods.ts";

export interface JobView {
  job: Job;
  pods: readonly Pod[];
  now: number;
}

const indexAnnotation = "batch.kubernetes.io/job-completion-index";

interface Tally {
  job: Job;
  active: Pod[];
  succeeded: number;
  failed: number;
  doneIndexes: Set<number>;
  now: number;
}

/** Runs pods until enough of them have succeeded, too many failed, or the deadline passed. */
export function reconcileJob({ job, pods, now }: JobView): Action[] {
  const reference = controllerRef(job, "batch/v1", "Job");
  const claim = claimPods(job, reference, job.spec?.selector, pods);
  const tally = count(job, claim.owned, now);
  const finished = finishedCondition(job);
  if (finished !== undefined) return [...claim.actions, ...expiry(job, finished, now)];
  if (isDeleting(job)) return claim.actions;
  const outcome = outcomeOf(tally);
  const stopping = outcome !== undefined || job.spec?.suspend === true;
  const steps = stopping ? tally.active.map(deletePod) : scale(tally);
  return [...claim.actions, ...steps, ...statusActions(tally, outcome), ...deadlineTimer(tally, outcome)];
}

function count(job: Job, owned: readonly Pod[], now: number): Tally {
  const succeeded = owned.filter((pod) => pod.status?.phase === "Succeeded");
  const indexes = new Set(succeeded.map(indexOf));
  const completed = isIndexed(job) ? indexes.size : succeeded.length;
  const failed = owned.filter((pod) => pod.status?.phase === "Failed").length;
  return {
    job,
    active: owned.filter(isActive),
    // Finished pods may have been deleted since: what was counted once stays counted.
    succeeded: Math.max(completed, job.status?.succeeded ?? 0),
    failed: Math.max(failed, job.status?.failed ?? 0),
    doneIndexes: indexes,
    now,
  };
}

function isIndexed(job: Job): boolean {
  return job.spec?.completionMode === "Indexed";
}

function indexOf(pod: Pod): number {
  return Number(meta(pod).annotations?.[indexAnnotation] ?? -1);
}

function finishedCondition(job: Job): JobCondition | undefined {
  return job.status?.conditions?.find(
    (entry) => (entry.type === "Complete" || entry.type === "Failed") && entry.status === "True",
  );
}

type Outcome = { type: "Complete" | "Failed"; reason: string; message: string };

function outcomeOf({ job, active, succeeded, failed, now }: Tally): Outcome | undefined {
  const started = Date.parse(job.status?.startTime ?? "");
  const limit = job.spec?.activeDeadlineSeconds;
  if (limit !== undefined && now - started >= limit * 1000) {
    return {
      type: "Failed",
      reason: "DeadlineExceeded",
      message: "Job was active longer than specified deadline",
    };
  }
  if (failed > (job.spec?.backoffLimit ?? 6)) {
    const message = "Job has reached the specified backoff limit";
    return { type: "Failed", reason: "BackoffLimitExceeded", message };
  }
  const wanted = job.spec?.completions;
  const complete = wanted === undefined ? succeeded > 0 && active.length === 0 : succeeded >= wanted;
  if (!complete) return undefined;
  return {
    type: "Complete",
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
  };
}

function scale(tally: Tally): Action[] {
  const { job, active, succeeded } = tally;
  const completions = job.spec?.completions;
  const parallelism = job.spec?.parallelism ?? 1;
  const left =
    completions === undefined ? (succeeded > 0 ? active.length : parallelism) : completions - succeeded;
  const wanted = Math.min(parallelism, left);
  if (active.length > wanted) {
    return [...active]
      .sort(deletionOrder)
      .slice(0, active.length - wanted)
      .map(deletePod);
  }
  const wait = backoffLeft(tally);
  if (active.length < wanted && wait > 0) return [{ verb: "again", afterMs: wait }];
  const indexes = freeIndexes(tally, wanted - active.length);
  return Array.from({ length: wanted - active.length }, (_, i) => createPod(job, indexes[i]));
}

/** After the n-th failure new pods wait 10 s x 2^(n-1), six minutes at most, since the last one ended. */
function backoffLeft({ job, failed, now }: Tally): number {
  if (failed === 0) return 0;
  const isNew = failed > (job.status?.failed ?? 0);
  const last = isNew ? now : Date.parse(meta(job).annotations?.["lab.axoneme.io/last-failure"] ?? "");
  if (Number.isNaN(last)) return 0;
  return last + Math.min(10_000 * 2 ** (failed - 1), 360_000) - now;
}

function freeIndexes({ job, active, doneIndexes }: Tally, wanted: number): number[] {
  if (!isIndexed(job)) return [];
  const taken = new Set([...doneIndexes, ...active.map(indexOf)]);
  const free: number[] = [];
  for (let i = 0; i < (job.spec?.completions ?? 0) && free.length < wanted; i++)
    if (!taken.has(i)) free.push(i);
  return free;
}

function createPod(job: Job, index: number | undefined): Action {
  const reference = controllerRef(job, "batch/v1", "Job");
  const name = index === undefined ? undefined : `${nameOf(job)}-${index}-${randomSuffix()}`;
  const pod = controlledPod(job, reference, job.spec?.template, name);
  if (index === undefined) return { verb: "create", object: pod };
  const env = { name: "JOB_COMPLETION_INDEX", value: String(index) };
  const spec = pod.spec ?? { containers: [] };
  pod.metadata = {
    ...pod.metadata,
    annotations: { ...pod.metadata?.annotations, [indexAnnotation]: String(index) },
    labels: { ...pod.metadata?.labels, [indexAnnotation]: String(index) },
  };
  pod.spec = {
    ...spec,
    hostname: spec.hostname ?? `${nameOf(job)}-${index}`,
    containers: spec.containers.map((container) => ({ ...container, env: [...(container.env ?? []), env] })),
  };
  return { verb: "create", object: pod };
}

function statusActions(tally: Tally, outcome: Outcome | undefined): Action[] {
  const { job, active, now } = tally;
  const suspended = job.spec?.suspend === true;
  const running = outcome === undefined && !suspended ? active : [];
  let conditions = job.status?.conditions ?? [];
  if (outcome !== undefined) {
    const next: JobCondition = { ...outcome, status: "True", lastProbeTime: timestamp(now) };
    conditions = [...withCondition(conditions, next, now)];
  }
  if (suspended || condition(conditions, "Suspended") !== undefined) {
    const status = suspended ? "True" : "False";
    const reason = suspended ? "JobSuspended" : "JobResumed";
    const message = suspended ? "Job suspended" : "Job resumed";
    conditions = [...withCondition(conditions, { type: "Suspended", status, reason, message }, now)];
  }
  const status: JobStatus = {
    active: running.length,
    ready: running.filter(isReady).length,
    succeeded: tally.succeeded,
    failed: tally.failed,
    ...(suspended ? {} : { startTime: job.status?.startTime ?? timestamp(now) }),
    ...(conditions.length === 0 ? {} : { conditions }),
    ...(outcome?.type === "Complete" ? { completionTime: timestamp(now) } : {}),
  };
  const actions: Action[] = [];
  if (tally.failed > (job.status?.failed ?? 0)) {
    const annotations = { "lab.axoneme.io/last-failure": timestamp(now) };
    actions.push({ verb: "patch", ref: refOf(job, "batch/v1", "Job"), patch: { metadata: { annotations } } });
  }
  const { uncountedTerminatedPods: _uncounted, terminating: _terminating, ...old } = job.status ?? {};
  if (!sameJson({ active: 0, ready: 0, succeeded: 0, failed: 0, ...old }, status)) {
    actions.push(patchStatus(refOf(job, "batch/v1", "Job"), status));
  }
  return actions;
}

function deadlineTimer({ job, now }: Tally, outcome: Outcome | undefined): Action[] {
  const limit = job.spec?.activeDeadlineSeconds;
  if (limit === undefined || outcome !== undefined) return [];
  const started = Date.parse(job.status?.startTime ?? timestamp(now));
  return [{ verb: "again", afterMs: Math.max(0, started + limit * 1000 - now) }];
}

/** Deletes a finished job once `ttlSecondsAfterFinished` has passed. */
function expiry(job: Job, finished: JobCondition, now: number): Action[] {
  const ttl = job.spec?.ttlSecondsAfterFinished;
  if (ttl === undefined || isDeleting(job)) return [];
  const left = Date.parse(finished.lastTransitionTime ?? "") + ttl * 1000 - now;
  if (left > 0) return [{ verb: "again", afterMs: left }];
  return [{ verb: "delete", ref: refOf(job, "batch/v1", "Job"), propagationPolicy: "Background" }];
}

/** How a container ended. */
export interface Termination {
  exitCode: number;
  signal?: number;
  reason: string;
  message?: string;
  startedAt: string;
  finishedAt: string;
  containerId: string;
}

/** What the runner knows about one container of a pod; kept on disk so that a new runner re-adopts it. */
export interface ContainerRecord {
  name: string;
  /** Init containers run once; those that restart always (sidecars) count as ordinary ones afterwards. */
  kind: "init" | "sidecar" | "main";
  restartCount: number;
  state:
    | { is: "waiting"; reason: string; message?: string }
    | { is: "running"; pid: number; startedAt: string; containerId: string }
    | ({ is: "terminated" } & Termination);
  last?: Termination;
  /** Failures in a row, for the crash-loop backoff. */
  crashes: number;
  started: boolean;
  ready: boolean;
  image: string;
}

export type RestartPolicy = "Always" | "OnFailure" | "Never";

export function newContainer(name: string, kind: ContainerRecord["kind"], image: string): ContainerRecord {
  const reason = kind === "main" ? "PodInitializing" : "PodInitializing";
  return {
    name,
    kind,
    image,
    restartCount: 0,
    state: { is: "waiting", reason },
    crashes: 0,
    started: false,
    ready: false,
  };
}

/** What to do next with a container. */
export type NextStep = { do: "start" } | { do: "wait"; ms: number } | { do: "nothing" };

const firstDelayMs = 10_000;
const longestDelayMs = 300_000;
/** Having run for so long, a container is no longer thought to be in a crash loop. */
const calmAfterMs = 600_000;

/**
 * Whether a container is to be started now, later or never. The first restart is immediate, later ones
 * wait 10 s doubling up to 5 minutes after the end of the last run.
 */
export function nextStep(record: ContainerRecord, policy: RestartPolicy, now: number): NextStep {
  const { state } = record;
  if (state.is === "running") return { do: "nothing" };
  const ended = state.is === "terminated" ? state : record.last;
  if (ended === undefined) return { do: "start" };
  if (!restarts(record, ended.exitCode, policy)) return { do: "nothing" };
  const wait = Date.parse(ended.finishedAt) + crashDelay(record.crashes) - now;
  return wait <= 0 ? { do: "start" } : { do: "wait", ms: wait };
}

function restarts(record: ContainerRecord, exitCode: number, policy: RestartPolicy): boolean {
  if (record.kind === "sidecar") return true;
  if (record.kind === "init") return exitCode !== 0 && policy !== "Never";
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

/** Milliseconds between the end of the n-th run in a row and the next start. */
export function crashDelay(crashes: number): number {
  return crashes <= 1 ? 0 : Math.min(longestDelayMs, firstDelayMs * 2 ** (crashes - 2));
}

/** The record after its process ended. */
export function terminated(record: ContainerRecord, end: Termination): ContainerRecord {
  const ran = Date.parse(end.finishedAt) - Date.parse(end.startedAt);
  const crashes = ran >= calmAfterMs ? 1 : record.crashes + 1;
  return { ...record, crashes, started: false, ready: false, state: { is: "terminated", ...end } };
}

/** The record while it waits out its backoff: kubelet shows the end under lastState. */
export function backingOff(record: ContainerRecord, ms: number): ContainerRecord {
  if (record.state.is !== "terminated") return record;
  const { is: _is, ...last } = record.state;
  const message = `back-off ${Math.ceil(ms / 1000)}s restarting failed container=${record.name}`;
  return { ...record, last, state: { is: "waiting", reason: "CrashLoopBackOff", message } };
}

/** The record of a container that has just been started. */
export function running(
  record: ContainerRecord,
  run: { pid: number; startedAt: string; containerId: string },
  isStarted: boolean,
  isReady: boolean,
): ContainerRecord {
  const before = record.state.is === "terminated" ? terminationOf(record.state) : record.last;
  return {
    ...record,
    restartCount: before === undefined ? record.restartCount : record.restartCount + 1,
    ...(before === undefined ? {} : { last: before }),
    started: isStarted,
    ready: isReady,
    state: { is: "running", ...run },
  };
}

function terminationOf({ is: _is, ...end }: { is: "terminated" } & Termination): Termination {
  return end;
}

/** A finished container that will not run again. */
export function isDone(record: ContainerRecord, policy: RestartPolicy): boolean {
  return record.state.is === "terminated" && !restarts(record, record.state.exitCode, policy);
}

export function succeeded(record: ContainerRecord): boolean {
  return record.state.is === "terminated" && record.state.exitCode === 0;
}

import type { ContainerState, ContainerStatus, Pod, PodCondition, PodStatus } from "kubernetes-types/core/v1";
import { condition, withCondition } from "../controllers/objects.ts";
import {
  type ContainerRecord,
  isDone,
  type RestartPolicy,
  succeeded,
  type Termination,
} from "./container.ts";

/** Everything a pod's status is made from. */
export interface PodFacts {
  pod: Pod;
  containers: readonly ContainerRecord[];
  podIps: readonly string[];
  hostIps: readonly string[];
  startedAt: string;
  /** Whether the pod has its network. */
  hasSandbox: boolean;
  now: number;
}

/** The status a kubelet would report. */
export function podStatus(facts: PodFacts): PodStatus {
  const { pod, containers, podIps, hostIps } = facts;
  const policy = (pod.spec?.restartPolicy ?? "Always") as RestartPolicy;
  const init = containers.filter((record) => record.kind !== "main");
  const main = containers.filter((record) => record.kind === "main");
  const phase = phaseOf(facts, init, main, policy);
  const [hostIp] = hostIps;
  const [podIp] = podIps;
  return {
    phase,
    conditions: conditionsOf(facts, phase, init, main),
    ...(hostIp === undefined ? {} : { hostIP: hostIp, hostIPs: hostIps.map((ip) => ({ ip })) }),
    ...(podIp === undefined ? {} : { podIP: podIp, podIPs: podIps.map((ip) => ({ ip })) }),
    startTime: facts.startedAt,
    ...(init.length === 0
      ? {}
      : { initContainerStatuses: init.map((record) => containerStatus(record, phase)) }),
    containerStatuses: main.map((record) => containerStatus(record, phase)),
    qosClass: pod.status?.qosClass ?? "BestEffort",
  };
}

function phaseOf(
  facts: PodFacts,
  init: readonly ContainerRecord[],
  main: readonly ContainerRecord[],
  policy: RestartPolicy,
): string {
  if (init.some((record) => record.kind === "init" && isDone(record, policy) && !succeeded(record)))
    return "Failed";
  // A finished pod has given its network back and is still finished.
  if (main.every((record) => isDone(record, policy))) return main.every(succeeded) ? "Succeeded" : "Failed";
  if (!facts.hasSandbox || !isInitialized(init)) return "Pending";
  return main.some((record) => record.state.is !== "waiting" || record.last !== undefined)
    ? "Running"
    : "Pending";
}

/** Every init container has succeeded, and every sidecar has started. */
export function isInitialized(init: readonly ContainerRecord[]): boolean {
  return init.every((record) => (record.kind === "sidecar" ? record.started : succeeded(record)));
}

function conditionsOf(
  facts: PodFacts,
  phase: string,
  init: readonly ContainerRecord[],
  main: readonly ContainerRecord[],
): PodCondition[] {
  const { pod, now } = facts;
  const isOver = phase === "Succeeded" || phase === "Failed";
  const initialized = (facts.hasSandbox || isOver) && isInitialized(init);
  const serving = [...main, ...init.filter((record) => record.kind === "sidecar")];
  const unready = serving.filter((record) => !record.ready).map(({ name }) => name);
  const containersReady = initialized && !isOver && unready.length === 0;
  const whyNot = isOver
    ? { reason: phase === "Succeeded" ? "PodCompleted" : "PodFailed" }
    : { reason: "ContainersNotReady", message: `containers with unready status: [${unready.join(" ")}]` };
  const gates = (pod.spec?.readinessGates ?? []).map((gate) => gate.conditionType);
  const open = gates.filter((type) => condition(pod.status?.conditions, type)?.status !== "True");
  const gateReason = { reason: "ReadinessGatesNotReady", message: `conditions not true: ${open.join(", ")}` };
  const yes = (type: string): PodCondition => ({ type, status: "True" });
  const wanted: PodCondition[] = [
    yes("PodScheduled"),
    facts.hasSandbox
      ? yes("PodReadyToStartContainers")
      : { type: "PodReadyToStartContainers", status: "False" },
    initialized
      ? yes("Initialized")
      : { type: "Initialized", status: "False", reason: "ContainersNotInitialized" },
    containersReady ? yes("ContainersReady") : { type: "ContainersReady", status: "False", ...whyNot },
    containersReady && open.length === 0
      ? yes("Ready")
      : { type: "Ready", status: "False", ...(containersReady ? gateReason : whyNot) },
  ];
  // Others (gates, the scheduler's) stay as they are.
  return [
    ...wanted.reduce<readonly PodCondition[]>(
      (all, next) => withCondition(all, next, now),
      pod.status?.conditions ?? [],
    ),
  ];
}

function containerStatus(record: ContainerRecord, phase: string): ContainerStatus {
  const id = record.state.is === "waiting" ? record.last?.containerId : record.state.containerId;
  return {
    name: record.name,
    image: record.image,
    imageID: `axon-rootfs://${record.image}`,
    ...(id === undefined ? {} : { containerID: id }),
    ready: record.kind === "init" ? succeeded(record) : record.ready && phase !== "Failed",
    started: record.started,
    restartCount: record.restartCount,
    state: stateOf(record),
    ...(record.last === undefined
      ? { lastState: {} }
      : { lastState: { terminated: terminatedState(record.last) } }),
  };
}

function stateOf({ state }: ContainerRecord): ContainerState {
  switch (state.is) {
    case "waiting":
      return {
        waiting: { reason: state.reason, ...(state.message === undefined ? {} : { message: state.message }) },
      };
    case "running":
      return { running: { startedAt: state.startedAt } };
    case "terminated":
      return { terminated: terminatedState(state) };
  }
}

function terminatedState(end: Termination): NonNullable<ContainerState["terminated"]> {
  return {
    exitCode: end.exitCode,
    ...(end.signal === undefined ? {} : { signal: end.signal }),
    reason: end.reason,
    ...(end.message === undefined ? {} : { message: end.message }),
    startedAt: end.startedAt,
    finishedAt: end.finishedAt,
    containerID: end.containerId,
  };
}

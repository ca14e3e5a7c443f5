import { arrayOf, at, type KubeObject, stringOf } from "../object.ts";
import { age, ageColumn, type Column, nameColumn } from "./columns.ts";

function conditionStatus(object: KubeObject, type: string): string {
  const found = arrayOf(at(object, "status", "conditions")).find((each) => at(each, "type") === type);
  return stringOf(at(found, "status"));
}

function waitingReason(status: unknown): string | undefined {
  const waiting = stringOf(at(status, "state", "waiting", "reason"));
  if (waiting !== "") return waiting;
  const ended = at(status, "state", "terminated");
  if (ended === undefined) return undefined;
  const reason = stringOf(at(ended, "reason"));
  if (reason !== "") return reason;
  const signal = at(ended, "signal");
  return typeof signal === "number" && signal !== 0
    ? `Signal:${signal}`
    : `ExitCode:${String(at(ended, "exitCode"))}`;
}

/** Init:1/2, Init:Error ... while init containers are not through; undefined afterwards. */
function initReason(pod: KubeObject): string | undefined {
  const statuses = arrayOf(at(pod, "status", "initContainerStatuses"));
  const count = arrayOf(at(pod, "spec", "initContainers")).length;
  for (const [i, status] of statuses.entries()) {
    if (at(status, "state", "terminated", "exitCode") === 0) continue;
    const reason = waitingReason(status);
    return reason !== undefined && reason !== "PodInitializing" ? `Init:${reason}` : `Init:${i}/${count}`;
  }
  return undefined;
}

/** The one word (or two) that tells how the pod is. */
function podStatus(pod: KubeObject): string {
  let reason = stringOf(at(pod, "status", "reason")) || stringOf(at(pod, "status", "phase")) || "Unknown";
  const initial = initReason(pod);
  if (initial !== undefined) reason = initial;
  else {
    let running = false;
    for (const status of [...arrayOf(at(pod, "status", "containerStatuses"))].reverse()) {
      const why = waitingReason(status);
      if (why !== undefined) reason = why;
      else if (at(status, "ready") === true && at(status, "state", "running") !== undefined) running = true;
    }
    // One container done and another running: the pod is running.
    if (reason === "Completed" && running) {
      reason = conditionStatus(pod, "Ready") === "True" ? "Running" : "NotReady";
    }
  }
  if (pod.metadata.deletionTimestamp === undefined) return reason;
  return at(pod, "status", "reason") === "NodeLost" ? "Unknown" : "Terminating";
}

function restarts(pod: KubeObject, now: number): string {
  let count = 0;
  let last = 0;
  for (const status of arrayOf(at(pod, "status", "containerStatuses"))) {
    count += Number(at(status, "restartCount") ?? 0);
    const ended = at(status, "lastState", "terminated", "finishedAt");
    if (typeof ended === "string") last = Math.max(last, Date.parse(ended));
  }
  return count > 0 && last > 0 ? `${count} (${age(new Date(last).toISOString(), now)} ago)` : String(count);
}

function podIp(pod: KubeObject): string {
  return (
    stringOf(at(arrayOf(at(pod, "status", "podIPs"))[0], "ip")) ||
    stringOf(at(pod, "status", "podIP")) ||
    "<none>"
  );
}

function gates(pod: KubeObject): string {
  const wanted = arrayOf(at(pod, "spec", "readinessGates"));
  if (wanted.length === 0) return "<none>";
  const ready = wanted.filter(
    (gate) => conditionStatus(pod, stringOf(at(gate, "conditionType"))) === "True",
  ).length;
  return `${ready}/${wanted.length}`;
}

export const pods: readonly Column[] = [
  nameColumn,
  {
    name: "Ready",
    type: "string",
    cell: (pod) => {
      const statuses = arrayOf(at(pod, "status", "containerStatuses"));
      const ready = statuses.filter((status) => at(status, "ready") === true).length;
      return `${ready}/${arrayOf(at(pod, "spec", "containers")).length}`;
    },
  },
  { name: "Status", type: "string", cell: podStatus },
  { name: "Restarts", type: "string", cell: restarts },
  ageColumn,
  { name: "IP", type: "string", priority: 1, cell: podIp },
  {
    name: "Node",
    type: "string",
    priority: 1,
    cell: (pod) => stringOf(at(pod, "spec", "nodeName")) || "<none>",
  },
  {
    name: "Nominated Node",
    type: "string",
    priority: 1,
    cell: (pod) => stringOf(at(pod, "status", "nominatedNodeName")) || "<none>",
  },
  { name: "Readiness Gates", type: "string", priority: 1, cell: gates },
];

function nodeStatus(node: KubeObject): string {
  const ready = conditionStatus(node, "Ready");
  const words = [ready === "True" ? "Ready" : ready === "" ? "Unknown" : "NotReady"];
  if (at(node, "spec", "unschedulable") === true) words.push("SchedulingDisabled");
  return words.join(",");
}

const rolePrefix = "node-role.kubernetes.io/";

function roles(node: KubeObject): string {
  const found = Object.entries(node.metadata.labels ?? {}).flatMap(([key, value]) => {
    if (key.startsWith(rolePrefix)) return [key.slice(rolePrefix.length)];
    return key === "kubernetes.io/role" && value !== "" ? [value] : [];
  });
  return found.length === 0 ? "<none>" : found.sort().join(",");
}

function nodeAddress(node: KubeObject, type: string): string {
  const found = arrayOf(at(node, "status", "addresses")).find((each) => at(each, "type") === type);
  return stringOf(at(found, "address")) || "<none>";
}

function nodeInfo(name: string, field: string, priority = 1): Column {
  const cell = (node: KubeObject) =>
    stringOf(at(node, "status", "nodeInfo", field)) || (priority === 0 ? "" : "<unknown>");
  return { name, type: "string", priority, cell };
}

export const nodes: readonly Column[] = [
  nameColumn,
  { name: "Status", type: "string", cell: nodeStatus },
  { name: "Roles", type: "string", cell: roles },
  ageColumn,
  nodeInfo("Version", "kubeletVersion", 0),
  { name: "Internal-IP", type: "string", priority: 1, cell: (node) => nodeAddress(node, "InternalIP") },
  { name: "External-IP", type: "string", priority: 1, cell: (node) => nodeAddress(node, "ExternalIP") },
  nodeInfo("OS-Image", "osImage"),
  nodeInfo("Kernel-Version", "kernelVersion"),
  nodeInfo("Container-Runtime", "containerRuntimeVersion"),
];

import { arrayOf, at, type KubeObject, stringOf } from "../object.ts";
import { selectorText } from "../selectors.ts";
import { age, ageColumn, type Column, humanDuration, nameColumn, pathColumn } from "./columns.ts";

function containerFields(object: KubeObject, field: string, base: string[]): string {
  return arrayOf(at(object, ...base, "containers"))
    .map((container) => stringOf(at(container, field)))
    .join(",");
}

const template = ["spec", "template", "spec"];

function wide(base: string[] = template): Column[] {
  return [
    {
      name: "Containers",
      type: "string",
      priority: 1,
      cell: (object) => containerFields(object, "name", base),
    },
    { name: "Images", type: "string", priority: 1, cell: (object) => containerFields(object, "image", base) },
  ];
}

const selectorColumn: Column = {
  name: "Selector",
  type: "string",
  priority: 1,
  cell: (object) => selectorText(at(object, "spec", "selector")) || "<none>",
};

function number(name: string, path: string, fallback = 0): Column {
  return pathColumn(name, path, 0, "integer", fallback);
}

function readyOf(object: KubeObject): string {
  return `${String(at(object, "status", "readyReplicas") ?? 0)}/${String(at(object, "spec", "replicas") ?? 1)}`;
}

function jobStatus(job: KubeObject): string {
  const holds = (type: string) =>
    arrayOf(at(job, "status", "conditions")).some(
      (each) => at(each, "type") === type && at(each, "status") === "True",
    );
  if (holds("Complete")) return "Complete";
  if (holds("Failed")) return "Failed";
  if (job.metadata.deletionTimestamp !== undefined) return "Terminating";
  return holds("Suspended") ? "Suspended" : "Running";
}

function jobDuration(job: KubeObject, now: number): string {
  const start = at(job, "status", "startTime");
  if (typeof start !== "string") return "";
  const end = at(job, "status", "completionTime");
  return humanDuration((typeof end === "string" ? Date.parse(end) : now) - Date.parse(start));
}

/** The columns of the kinds that make pods. */
export const workloads: Readonly<Record<string, readonly Column[]>> = {
  "apps/deployments": [
    nameColumn,
    { name: "Ready", type: "string", cell: readyOf },
    number("Up-to-date", "status.updatedReplicas"),
    number("Available", "status.availableReplicas"),
    ageColumn,
    ...wide(),
    selectorColumn,
  ],
  "apps/replicasets": [
    nameColumn,
    number("Desired", "spec.replicas"),
    number("Current", "status.replicas"),
    number("Ready", "status.readyReplicas"),
    ageColumn,
    ...wide(),
    selectorColumn,
  ],
  "apps/statefulsets": [nameColumn, { name: "Ready", type: "string", cell: readyOf }, ageColumn, ...wide()],
  "apps/daemonsets": [
    nameColumn,
    number("Desired", "status.desiredNumberScheduled"),
    number("Current", "status.currentNumberScheduled"),
    number("Ready", "status.numberReady"),
    number("Up-to-date", "status.updatedNumberScheduled"),
    number("Available", "status.numberAvailable"),
    {
      name: "Node Selector",
      type: "string",
      cell: (object) => selectorText(at(object, "spec", "template", "spec", "nodeSelector")) || "<none>",
    },
    ageColumn,
    ...wide(),
    selectorColumn,
  ],
  "apps/controllerrevisions": [
    nameColumn,
    {
      name: "Controller",
      type: "string",
      cell: (object) => {
        const owner = (object.metadata.ownerReferences ?? []).find((each) => each.controller === true);
        return owner === undefined
          ? "<none>"
          : `${owner.kind.toLowerCase()}.${owner.apiVersion.split("/")[0]}/${owner.name}`;
      },
    },
    number("Revision", "revision"),
    ageColumn,
  ],
  "batch/jobs": [
    nameColumn,
    { name: "Status", type: "string", cell: jobStatus },
    {
      name: "Completions",
      type: "string",
      cell: (job) =>
        `${String(at(job, "status", "succeeded") ?? 0)}/${String(at(job, "spec", "completions") ?? 1)}`,
    },
    { name: "Duration", type: "string", cell: jobDuration },
    ageColumn,
    ...wide(),
    selectorColumn,
  ],
  "batch/cronjobs": [
    nameColumn,
    pathColumn("Schedule", "spec.schedule"),
    pathColumn("Timezone", "spec.timeZone"),
    {
      name: "Suspend",
      type: "string",
      cell: (object) => (at(object, "spec", "suspend") === true ? "True" : "False"),
    },
    { name: "Active", type: "integer", cell: (object) => arrayOf(at(object, "status", "active")).length },
    {
      name: "Last Schedule",
      type: "string",
      cell: (object, now) => {
        const last = at(object, "status", "lastScheduleTime");
        return last === undefined ? "<none>" : age(last, now);
      },
    },
    ageColumn,
    ...wide(["spec", "jobTemplate", "spec", "template", "spec"]),
  ],
  "autoscaling/horizontalpodautoscalers": [
    nameColumn,
    {
      name: "Reference",
      type: "string",
      cell: (object) =>
        `${stringOf(at(object, "spec", "scaleTargetRef", "kind"))}/${stringOf(at(object, "spec", "scaleTargetRef", "name"))}`,
    },
    pathColumn("MinPods", "spec.minReplicas", 0, "string", "<unset>"),
    number("MaxPods", "spec.maxReplicas"),
    number("Replicas", "status.currentReplicas"),
    ageColumn,
  ],
  "/replicationcontrollers": [
    nameColumn,
    number("Desired", "spec.replicas"),
    number("Current", "status.replicas"),
    number("Ready", "status.readyReplicas"),
    ageColumn,
  ],
};

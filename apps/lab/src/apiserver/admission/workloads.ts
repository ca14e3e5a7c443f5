import { type Cause, invalidValue, required } from "../errors.ts";
import {
  arrayOf,
  at,
  ensureObject,
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
} from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import { matchesLabels } from "../selectors.ts";
import { defaultPodSpec, podSpecCauses } from "./pod-spec.ts";

function defaultTemplate(spec: JsonObject): void {
  const template = spec["template"];
  if (!isObject(template)) return;
  defaultPodSpec(ensureObject(template, "spec"));
  const metadata = ensureObject(template, "metadata");
  if (!("creationTimestamp" in metadata)) metadata["creationTimestamp"] = null;
}

function templateCauses(
  object: KubeObject,
  old: KubeObject | undefined,
  restartPolicies = ["Always"],
): Cause[] {
  const spec = objectOf(object["spec"]);
  const causes: Cause[] = [];
  if (!isObject(spec["template"])) return [required("spec.template")];
  const replicas = spec["replicas"];
  if (typeof replicas === "number" && replicas < 0) {
    causes.push(invalidValue("spec.replicas", replicas, "must be greater than or equal to 0"));
  }
  if (object.kind !== "Job") {
    if (!isObject(spec["selector"])) causes.push(required("spec.selector"));
    else if (!matchesLabels(spec["selector"], objectOf(at(spec, "template", "metadata", "labels")))) {
      causes.push(
        invalidValue(
          "spec.template.metadata.labels",
          at(spec, "template", "metadata", "labels") ?? {},
          "`selector` does not match template `labels`",
        ),
      );
    }
    if (old !== undefined && !equal(at(old, "spec", "selector"), spec["selector"])) {
      causes.push(invalidValue("spec.selector", spec["selector"], "field is immutable"));
    }
  }
  causes.push(
    ...podSpecCauses(objectOf(at(spec, "template", "spec")), "spec.template.spec", restartPolicies),
  );
  return causes;
}

const validate = (object: KubeObject, old: KubeObject | undefined) => templateCauses(object, old);

function resetStatus(object: KubeObject, status: JsonObject = {}): void {
  object["status"] = status;
}

export const deploymentStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    spec["replicas"] ??= 1;
    spec["progressDeadlineSeconds"] ??= 600;
    spec["revisionHistoryLimit"] ??= 10;
    const strategy = ensureObject(spec, "strategy");
    strategy["type"] ??= "RollingUpdate";
    if (strategy["type"] === "RollingUpdate") {
      const rolling = ensureObject(strategy, "rollingUpdate");
      rolling["maxUnavailable"] ??= "25%";
      rolling["maxSurge"] ??= "25%";
    }
    defaultTemplate(spec);
  },
  prepareCreate: (object) => resetStatus(object),
  validate,
};

export const replicaSetStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    spec["replicas"] ??= 1;
    defaultTemplate(spec);
  },
  prepareCreate: (object) => resetStatus(object, { replicas: 0 }),
  validate,
};

export const statefulSetStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    spec["replicas"] ??= 1;
    spec["podManagementPolicy"] ??= "OrderedReady";
    spec["revisionHistoryLimit"] ??= 10;
    spec["persistentVolumeClaimRetentionPolicy"] ??= { whenDeleted: "Retain", whenScaled: "Retain" };
    const strategy = ensureObject(spec, "updateStrategy");
    strategy["type"] ??= "RollingUpdate";
    if (strategy["type"] === "RollingUpdate") ensureObject(strategy, "rollingUpdate")["partition"] ??= 0;
    defaultTemplate(spec);
  },
  prepareCreate: (object) => resetStatus(object, { replicas: 0, availableReplicas: 0 }),
  validate,
};

export const daemonSetStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    spec["revisionHistoryLimit"] ??= 10;
    const strategy = ensureObject(spec, "updateStrategy");
    strategy["type"] ??= "RollingUpdate";
    if (strategy["type"] === "RollingUpdate") {
      const rolling = ensureObject(strategy, "rollingUpdate");
      rolling["maxUnavailable"] ??= 1;
      rolling["maxSurge"] ??= 0;
    }
    defaultTemplate(spec);
  },
  prepareCreate: (object) =>
    resetStatus(object, {
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      desiredNumberScheduled: 0,
      numberReady: 0,
    }),
  validate,
};

function defaultJobSpec(spec: JsonObject): void {
  if (spec["completions"] === undefined && spec["parallelism"] === undefined) spec["completions"] = 1;
  spec["parallelism"] ??= 1;
  spec["backoffLimit"] ??= 6;
  spec["completionMode"] ??= "NonIndexed";
  spec["suspend"] ??= false;
  spec["podReplacementPolicy"] ??= "TerminatingOrFailed";
  const template = spec["template"];
  if (isObject(template)) defaultTemplate(spec);
}

/** A Job selects its pods by its own uid, unless manualSelector says otherwise. */
export const jobStrategy: Strategy = {
  defaults: (object) => defaultJobSpec(ensureObject(object, "spec")),
  prepareCreate(object) {
    resetStatus(object);
    const spec = ensureObject(object, "spec");
    if (spec["manualSelector"] === true) return;
    const uid = object.metadata.uid ?? "";
    spec["selector"] = { matchLabels: { "batch.kubernetes.io/controller-uid": uid } };
    const template = ensureObject(spec, "template");
    const labels = ensureObject(ensureObject(template, "metadata"), "labels");
    Object.assign(labels, {
      "batch.kubernetes.io/controller-uid": uid,
      "batch.kubernetes.io/job-name": object.metadata.name,
      "controller-uid": uid,
      "job-name": object.metadata.name,
    });
  },
  validate(object, old) {
    const causes = templateCauses(object, old, ["OnFailure", "Never"]);
    if (old !== undefined && !equal(at(old, "spec", "template"), at(object, "spec", "template"))) {
      causes.push(invalidValue("spec.template", "object", "field is immutable"));
    }
    return causes;
  },
};

export const cronJobStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    spec["concurrencyPolicy"] ??= "Allow";
    spec["suspend"] ??= false;
    spec["successfulJobsHistoryLimit"] ??= 3;
    spec["failedJobsHistoryLimit"] ??= 1;
    const template = at(spec, "jobTemplate", "spec", "template");
    if (isObject(template)) defaultPodSpec(ensureObject(template, "spec"));
  },
  prepareCreate: (object) => resetStatus(object),
  validate(object) {
    const causes: Cause[] = [];
    const schedule = at(object, "spec", "schedule");
    if (typeof schedule !== "string" || schedule === "") causes.push(required("spec.schedule"));
    else if (
      !/^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)$/.test(schedule) &&
      schedule.trim().split(/\s+/).length !== 5
    ) {
      causes.push(invalidValue("spec.schedule", schedule, "expected exactly 5 fields"));
    }
    if (arrayOf(at(object, "spec", "jobTemplate", "spec", "template", "spec", "containers")).length === 0) {
      causes.push(required("spec.jobTemplate.spec.template.spec.containers"));
    }
    return causes;
  },
};

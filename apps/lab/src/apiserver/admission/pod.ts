import { type Cause, forbiddenField } from "../errors.ts";
import {
  arrayOf,
  at,
  clone,
  ensureObject,
  equal,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
} from "../object.ts";
import type { Strategy } from "../resources/resource.ts";
import { defaultPodSpec, podSpecCauses } from "./pod-spec.ts";

/** Guaranteed when every container limits cpu and memory to what it requests, BestEffort when none asks at all. */
function qosClass(spec: JsonObject): string {
  let asked = false;
  let guaranteed = true;
  for (const container of [...arrayOf(spec["containers"]), ...arrayOf(spec["initContainers"])]) {
    const requests = objectOf(at(container, "resources", "requests"));
    const limits = objectOf(at(container, "resources", "limits"));
    for (const resource of ["cpu", "memory"]) {
      if (requests[resource] !== undefined || limits[resource] !== undefined) asked = true;
      if (limits[resource] === undefined || !equal(requests[resource] ?? limits[resource], limits[resource]))
        guaranteed = false;
    }
  }
  return !asked ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

const tolerations = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map((key) => ({
  key,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 300,
}));

/** What may change in the spec of a pod that exists. */
const mutable = [
  "activeDeadlineSeconds",
  "tolerations",
  "terminationGracePeriodSeconds",
  "nodeName",
  "schedulingGates",
  "ephemeralContainers",
];

function frozenSpec(object: KubeObject): JsonObject {
  const spec = clone(objectOf(object["spec"]));
  for (const field of mutable) delete spec[field];
  for (const field of ["containers", "initContainers"]) {
    for (const container of arrayOf(spec[field])) {
      if (!isObject(container)) continue;
      delete container["image"];
      delete container["imagePullPolicy"];
    }
  }
  return spec;
}

function updateCauses(object: KubeObject, old: KubeObject): Cause[] {
  const causes: Cause[] = [];
  const before = at(old, "spec", "nodeName");
  if (before !== undefined && before !== at(object, "spec", "nodeName")) {
    causes.push(forbiddenField("spec.nodeName", "a pod that is on a node stays there"));
  }
  if (!equal(frozenSpec(object), frozenSpec(old))) {
    causes.push(
      forbiddenField(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
      ),
    );
  }
  return causes;
}

export const podStrategy: Strategy = {
  defaults(object) {
    const spec = ensureObject(object, "spec");
    defaultPodSpec(spec);
    spec["enableServiceLinks"] ??= true;
    spec["serviceAccountName"] ??= "default";
    spec["serviceAccount"] = spec["serviceAccountName"];
    spec["preemptionPolicy"] ??= "PreemptLowerPriority";
    spec["priority"] ??= 0;
  },
  prepareCreate(object) {
    const spec = ensureObject(object, "spec");
    const given = arrayOf(spec["tolerations"]);
    const missing = tolerations.filter(
      (each) =>
        !given.some(
          (other) =>
            at(other, "key") === each.key ||
            (at(other, "key") === undefined && at(other, "operator") === "Exists"),
        ),
    );
    spec["tolerations"] = [...given, ...clone(missing)];
    object["status"] = { phase: "Pending", qosClass: qosClass(spec) };
  },
  validate(object, old) {
    const causes = podSpecCauses(objectOf(object["spec"]), "spec");
    return old === undefined ? causes : [...causes, ...updateCauses(object, old)];
  },
};

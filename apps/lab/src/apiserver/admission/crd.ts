import type { Cluster } from "../cluster.ts";
import { type Cause, invalidValue, required } from "../errors.ts";
import {
  arrayOf,
  at,
  ensureObject,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
  stringOf,
  timestamp,
} from "../object.ts";
import { crdConflict, registerCrd, unregisterCrd } from "../resources/crd.ts";
import type { Strategy } from "../resources/resource.ts";
import { structuralCauses } from "../schema/structural.ts";

/** Held by every definition until its objects are gone. */
export const crdFinalizer = "customresourcecleanup.apiextensions.k8s.io";

function defaults(object: KubeObject): void {
  const spec = ensureObject(object, "spec");
  const names = ensureObject(spec, "names");
  names["singular"] ??= stringOf(names["kind"]).toLowerCase();
  names["listKind"] ??= `${stringOf(names["kind"])}List`;
  spec["conversion"] ??= { strategy: "None" };
}

function setCondition(status: JsonObject, condition: JsonObject): void {
  const conditions = arrayOf(status["conditions"]).filter((each) => at(each, "type") !== condition["type"]);
  const present = arrayOf(status["conditions"]).find((each) => at(each, "type") === condition["type"]);
  const kept = at(present, "status") === condition["status"] && at(present, "reason") === condition["reason"];
  status["conditions"] = [...conditions, kept ? present : condition];
}

/** The conditions of a definition follow at once from whether its names are free. */
function establish(object: KubeObject, cluster: Cluster): void {
  const status = ensureObject(object, "status");
  const spec = objectOf(object["spec"]);
  const clash = crdConflict(object, cluster.registry);
  const accepted = clash === undefined;
  const lastTransitionTime = timestamp(cluster.now());
  setCondition(status, {
    lastTransitionTime,
    message: clash ?? "no conflicts found",
    reason: accepted ? "NoConflicts" : "NameConflict",
    status: accepted ? "True" : "False",
    type: "NamesAccepted",
  });
  setCondition(status, {
    lastTransitionTime,
    message: accepted ? "the initial names have been accepted" : "not all names are accepted",
    reason: accepted ? "InitialNamesAccepted" : "NotAccepted",
    status: accepted ? "True" : "False",
    type: "Established",
  });
  status["acceptedNames"] = accepted ? spec["names"] : { plural: "", kind: "" };
  const stored = arrayOf(spec["versions"]).find((each) => at(each, "storage") === true);
  const versions = new Set(arrayOf(status["storedVersions"]));
  if (stored !== undefined) versions.add(at(stored, "name"));
  status["storedVersions"] = [...versions];
}

function versionCauses(version: JsonObject, where: string): Cause[] {
  const causes: Cause[] = [];
  if (!/^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(stringOf(version["name"]))) {
    causes.push(invalidValue(`${where}.name`, version["name"], "must be a DNS-1035 label"));
  }
  const schema = at(version, "schema", "openAPIV3Schema");
  if (!isObject(schema)) causes.push(required(`${where}.schema.openAPIV3Schema`, "schemas are required"));
  else causes.push(...structuralCauses(schema, `${where}.schema.openAPIV3Schema`));
  return causes;
}

export const crdStrategy: Strategy = {
  defaults,
  prepareCreate(object, cluster) {
    object["status"] = {};
    object.metadata.finalizers = [...new Set([...(object.metadata.finalizers ?? []), crdFinalizer])];
    establish(object, cluster);
  },
  prepareUpdate: (object, _old, cluster) => establish(object, cluster),
  validate(object, old) {
    const spec = objectOf(object["spec"]);
    const names = objectOf(spec["names"]);
    const causes: Cause[] = [];
    const group = stringOf(spec["group"]);
    if (group === "") causes.push(required("spec.group"));
    for (const field of ["plural", "kind"])
      if (stringOf(names[field]) === "") causes.push(required(`spec.names.${field}`));
    const expected = `${stringOf(names["plural"])}.${group}`;
    if (object.metadata.name !== expected) {
      causes.push(
        invalidValue("metadata.name", object.metadata.name, `must be spec.names.plural+"."+spec.group`),
      );
    }
    if (spec["scope"] !== "Namespaced" && spec["scope"] !== "Cluster") {
      causes.push(invalidValue("spec.scope", spec["scope"] ?? "", "must be Cluster or Namespaced"));
    }
    const versions = arrayOf(spec["versions"]).filter(isObject);
    const storing = versions.filter((version) => version["storage"] === true);
    if (storing.length !== 1) {
      causes.push(
        invalidValue("spec.versions", "versions", "must have exactly one version marked as storage version"),
      );
    }
    for (const [i, version] of versions.entries())
      causes.push(...versionCauses(version, `spec.versions[${i}]`));
    if (old !== undefined) {
      for (const path of [["group"], ["names", "plural"], ["names", "kind"], ["scope"]]) {
        if (at(old, "spec", ...path) !== at(spec, ...path)) {
          causes.push(invalidValue(`spec.${path.join(".")}`, at(spec, ...path), "field is immutable"));
        }
      }
    }
    return causes;
  },
  stored: (object, cluster) => registerCrd(object, cluster.registry),
  removed: (object, cluster) => unregisterCrd(object, cluster.registry),
};

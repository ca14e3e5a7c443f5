import { ensureObject, type KubeObject } from "../object.ts";
import type { Strategy } from "../resources/resource.ts";

/** Namespaces carry their name as a label, the `kubernetes` finalizer in the spec, and a phase. */
export const namespaceStrategy: Strategy = {
  defaults(object: KubeObject) {
    object.metadata.labels = {
      ...object.metadata.labels,
      "kubernetes.io/metadata.name": object.metadata.name,
    };
  },
  prepareCreate(object) {
    object["spec"] = { finalizers: ["kubernetes"] };
    object["status"] = { phase: "Active" };
  },
  prepareUpdate(object, old) {
    // Only the finalize subresource (here: the server itself) changes the spec's finalizers.
    object["spec"] = old["spec"] ?? {};
    ensureObject(object, "status")["phase"] ??= "Active";
  },
};

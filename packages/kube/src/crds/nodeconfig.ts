import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import { doc, type Infer, mapOf, object, string } from "./schema.ts";
import { labelSelector } from "./selector.ts";

const spec = object(
  {
    defaults: doc("Options by their keys, over those of the agents' ConfigMap.", mapOf(string())),
    nodeSelector: doc("Nodes they are for, by the labels of their Node objects.", labelSelector),
  },
  ["defaults", "nodeSelector"],
);

/** cilium.io/v2 CiliumNodeConfig: options of some nodes' agents. */
export interface CiliumNodeConfig {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: Infer<typeof spec>;
}

export const nodeConfigCrd = crd({
  kind: "CiliumNodeConfig",
  plural: "ciliumnodeconfigs",
  shortNames: [],
  scope: "Namespaced",
  printerColumns: [{ name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" }],
  schema: object({ metadata: { type: "object" }, spec }, ["spec"]),
});

import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import { doc, mapOf, object, string } from "./schema.ts";

/** cilium.io/v2 CiliumIdentity: its name is the number, `security-labels` what it stands for. */
export interface CiliumIdentity {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  /** "source:key" to value. */
  "security-labels": Record<string, string>;
}

export const identityCrd = crd({
  kind: "CiliumIdentity",
  plural: "ciliumidentities",
  shortNames: ["ciliumid"],
  scope: "Cluster",
  printerColumns: [
    {
      name: "Namespace",
      type: "string",
      jsonPath: ".metadata.labels.io\\.kubernetes\\.pod\\.namespace",
      description: "The namespace of the pods with this identity",
    },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object(
    {
      metadata: { type: "object" },
      "security-labels": doc("The labels this number stands for: source:key to value.", mapOf(string())),
    },
    ["metadata", "security-labels"],
  ),
});

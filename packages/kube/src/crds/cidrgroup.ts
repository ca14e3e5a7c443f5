import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { conditions } from "./condition.ts";
import { crd } from "./manifest.ts";
import { array, doc, type Infer, object } from "./schema.ts";
import { prefix } from "./selector.ts";

const spec = object(
  { externalCIDRs: doc("Prefixes outside of the cluster.", array(prefix, { minItems: 0 })) },
  ["externalCIDRs"],
);

const status = object({ conditions });

export interface CiliumCIDRGroupSpec extends Infer<typeof spec> {}

/** cilium.io/v2 CiliumCIDRGroup: a list of prefixes that policies name by the group's name or labels. */
export interface CiliumCIDRGroup {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: CiliumCIDRGroupSpec;
  status?: Infer<typeof status>;
}

export const cidrGroupCrd = crd({
  group: "cilium.io",
  version: "v2",
  kind: "CiliumCIDRGroup",
  plural: "ciliumcidrgroups",
  shortNames: ["ccg"],
  scope: "Cluster",
  categories: ["cilium"],
  subresources: { status: {} },
  printerColumns: [
    { name: "Valid", type: "string", jsonPath: '.status.conditions[?(@.type=="Valid")].status' },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata", "spec"]),
});

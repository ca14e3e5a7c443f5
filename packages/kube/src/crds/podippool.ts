import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import { array, boolean, doc, type Infer, immutable, integer, object } from "./schema.ts";
import { labelSelector, prefix } from "./selector.ts";

const cidrs = doc(
  "Prefixes that blocks for nodes are cut from.",
  array(prefix, { minItems: 1, maxItems: 32 }),
);
const maskSize = (maximum: number) =>
  doc("Length of a node's block.", integer({ minimum: 1, maximum, ...immutable("maskSize") }));

const spec = object({
  ipv4: object({ cidrs, maskSize: maskSize(32) }, ["cidrs", "maskSize"]),
  ipv6: object({ cidrs, maskSize: maskSize(128) }, ["cidrs", "maskSize"]),
  allowFirstIP: doc("Whether a block's first address is given to pods.", boolean(immutable("allowFirstIP"))),
  allowLastIP: doc("Whether a block's last address is given to pods.", boolean(immutable("allowLastIP"))),
  podSelector: doc("Pods that take this pool without being asked to.", labelSelector),
  namespaceSelector: doc("Namespaces whose pods do.", labelSelector),
});

export interface PodIPPoolSpec extends Infer<typeof spec> {}

/** cilium.io/v2alpha1 CiliumPodIPPool: a named pool of pod addresses, for ipam.mode multi-pool. */
export interface CiliumPodIPPool {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: PodIPPoolSpec;
}

export const podIPPoolCrd = crd({
  version: "v2alpha1",
  kind: "CiliumPodIPPool",
  plural: "ciliumpodippools",
  shortNames: ["cpip"],
  scope: "Cluster",
  printerColumns: [{ name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" }],
  schema: object({ metadata: { type: "object" }, spec }, ["metadata", "spec"]),
});

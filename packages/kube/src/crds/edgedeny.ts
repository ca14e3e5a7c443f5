import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { conditions } from "./condition.ts";
import { crd } from "./manifest.ts";
import { array, doc, type Infer, int64, object } from "./schema.ts";
import { labelSelector, prefix } from "./selector.ts";

/** Prefixes an EdgeDenyList may have; several lists add up. */
export const maxDeniedPrefixes = 16_384;

const spec = object(
  {
    cidrs: doc(
      "Sources whose packets are dropped at the node's devices, before anything else looks at them.",
      array(prefix, { maxItems: maxDeniedPrefixes }),
    ),
    nodeSelector: doc("Nodes that apply the list; absent: all.", labelSelector),
  },
  ["cidrs"],
);

const status = object({
  prefixes: doc("Distinct prefixes of the list.", int64({ minimum: 0 })),
  conditions,
});

export interface EdgeDenyListSpec extends Infer<typeof spec> {}

/** axoneme.io/v1alpha1 EdgeDenyList: prefixes that are dropped in XDP. */
export interface EdgeDenyList {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: EdgeDenyListSpec;
  status?: Infer<typeof status>;
}

export const edgeDenyListCrd = crd({
  group: "axoneme.io",
  version: "v1alpha1",
  kind: "EdgeDenyList",
  plural: "edgedenylists",
  shortNames: ["edl"],
  scope: "Cluster",
  categories: ["axoneme"],
  subresources: { status: {} },
  printerColumns: [
    { name: "Prefixes", type: "integer", jsonPath: ".status.prefixes" },
    { name: "Valid", type: "string", jsonPath: '.status.conditions[?(@.type=="Valid")].status' },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata", "spec"]),
});

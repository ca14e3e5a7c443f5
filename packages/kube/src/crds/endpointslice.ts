import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { encryption, namedPorts, networking } from "./endpoint.ts";
import { crd } from "./manifest.ts";
import { array, doc, type Infer, int64, integer, object, string } from "./schema.ts";

/** Most endpoints of a slice. */
export const maxSliceEndpoints = 100;

const core = object({
  name: doc("Name of the pod and of its CiliumEndpoint.", string()),
  id: doc("Number of the identity.", int64()),
  "pod-uid": string(),
  networking,
  encryption,
  "named-ports": namedPorts,
  "service-account": string(),
  "axoneme-labels": doc(
    "The pod's labels: places in the slice's list of this name. Absent where the writer does not say.",
    array(integer({ minimum: 0 })),
  ),
});

/** What a slice says of one CiliumEndpoint. */
export interface CoreCiliumEndpoint extends Infer<typeof core> {}

/** cilium.io/v2alpha1 CiliumEndpointSlice: up to a hundred CiliumEndpoints of a namespace in one object. */
export interface CiliumEndpointSlice {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  /** Of all of its endpoints. */
  namespace?: string;
  endpoints: CoreCiliumEndpoint[];
  /** The labels that the slice's endpoints have, each once, as lines. Ours: readers of the field pass over it. */
  "axoneme-labels"?: string[];
}

export const endpointSliceCrd = crd({
  kind: "CiliumEndpointSlice",
  plural: "ciliumendpointslices",
  shortNames: ["ces"],
  scope: "Cluster",
  version: "v2alpha1",
  printerColumns: [
    { name: "Namespace", type: "string", jsonPath: ".namespace" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object(
    {
      metadata: { type: "object" },
      namespace: doc("Namespace of all endpoints of the slice.", string()),
      endpoints: array(core),
      "axoneme-labels": doc(
        "Labels of the slice's endpoints, each once, as source:key=value.",
        array(string()),
      ),
    },
    ["metadata", "endpoints"],
  ),
});

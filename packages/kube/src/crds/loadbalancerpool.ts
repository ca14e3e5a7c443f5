import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { conditions } from "./condition.ts";
import { crd } from "./manifest.ts";
import {
  array,
  boolean,
  doc,
  exactlyOneOf,
  forbidTogether,
  type Infer,
  object,
  oneWordOf,
} from "./schema.ts";
import { address, labelSelector, prefix } from "./selector.ts";

/** More blocks than anybody writes by hand; a bound on what one object can cost. */
const maxBlocks = 1024;

const block = object(
  {
    cidr: doc("Every address of a prefix.", prefix),
    start: doc("First address of a range.", address),
    stop: doc("Last address of the range; without it the range is `start` alone.", address),
  },
  [],
  { ...exactlyOneOf("cidr", "start"), ...forbidTogether("cidr", "stop") },
);

/** A prefix, or a range. */
export interface LoadBalancerIPBlock extends Infer<typeof block> {}

const spec = object({
  serviceSelector: doc(
    "Services that may have addresses of this pool; absent: all. The labels io.kubernetes.service.namespace and io.kubernetes.service.name stand for the Service's namespace and name.",
    labelSelector,
  ),
  allowFirstLastIPs: doc(
    "Whether the first and the last address of a prefix are given out. Default Yes; prefixes of one or two addresses always give all.",
    oneWordOf(["Yes", "No"]),
  ),
  blocks: doc("Where the addresses come from.", array(block, { maxItems: maxBlocks })),
  disabled: doc("Gives no further addresses out; those given stay.", boolean({ default: false })),
});

const status = object({ conditions });

export interface LoadBalancerIPPoolSpec extends Infer<typeof spec> {}

/** cilium.io/v2 CiliumLoadBalancerIPPool: addresses that the operator gives to Services of type LoadBalancer. */
export interface CiliumLoadBalancerIPPool {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: LoadBalancerIPPoolSpec;
  status?: Infer<typeof status>;
}

/** Condition types of a pool; the number is the condition's message. */
export const poolConditions = {
  conflict: "cilium.io/PoolConflict",
  total: "cilium.io/IPsTotal",
  available: "cilium.io/IPsAvailable",
  used: "cilium.io/IPsUsed",
} as const;

export const loadBalancerIPPoolCrd = crd({
  kind: "CiliumLoadBalancerIPPool",
  plural: "ciliumloadbalancerippools",
  shortNames: ["ippools", "ippool", "lbippool", "lbippools"],
  scope: "Cluster",
  alsoServed: ["v2alpha1"],
  subresources: { status: {} },
  printerColumns: [
    { name: "Disabled", type: "boolean", jsonPath: ".spec.disabled" },
    {
      name: "Conflicting",
      type: "string",
      jsonPath: `.status.conditions[?(@.type=="${poolConditions.conflict}")].status`,
    },
    {
      name: "IPs Available",
      type: "string",
      jsonPath: `.status.conditions[?(@.type=="${poolConditions.available}")].message`,
    },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata", "spec"]),
});

import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { conditions } from "./condition.ts";
import { crd } from "./manifest.ts";
import { array, boolean, doc, type Infer, object, string } from "./schema.ts";
import { labelSelector } from "./selector.ts";

const spec = object({
  nodeSelector: doc("Nodes that may answer; absent: all.", labelSelector),
  serviceSelector: doc(
    "Services that are announced; absent: all. The labels io.kubernetes.service.namespace and io.kubernetes.service.name stand for the Service's namespace and name.",
    labelSelector,
  ),
  loadBalancerIPs: doc("Announce the addresses of status.loadBalancer. Default false.", boolean()),
  externalIPs: doc("Announce spec.externalIPs. Default false.", boolean()),
  interfaces: doc(
    "Regular expressions (RE2) for the names of the interfaces that answer; empty: all.",
    array(string({ minLength: 1, maxLength: 256 }), { maxItems: 64 }),
  ),
});

const status = object({ conditions });

export interface L2AnnouncementPolicySpec extends Infer<typeof spec> {}

/** cilium.io/v2alpha1 CiliumL2AnnouncementPolicy: which nodes answer ARP and ND for addresses of which Services. */
export interface CiliumL2AnnouncementPolicy {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec?: L2AnnouncementPolicySpec;
  status?: Infer<typeof status>;
}

export const l2AnnouncementPolicyCrd = crd({
  kind: "CiliumL2AnnouncementPolicy",
  plural: "ciliuml2announcementpolicies",
  shortNames: ["l2announcement"],
  scope: "Cluster",
  version: "v2alpha1",
  subresources: { status: {} },
  printerColumns: [
    { name: "LoadBalancer", type: "boolean", jsonPath: ".spec.loadBalancerIPs" },
    { name: "External", type: "boolean", jsonPath: ".spec.externalIPs" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ],
  schema: object({ metadata: { type: "object" }, spec, status }, ["metadata"]),
});

import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import { array, boolean, doc, type Infer, object, string } from "./schema.ts";
import { address, labelSelector, prefix } from "./selector.ts";

const poolSpec = object(
  {
    cidrs: doc(
      "Prefixes kept for fixed addresses; they must not overlap the pod CIDRs of nodes.",
      array(prefix, { minItems: 1, maxItems: 32 }),
    ),
    namespaceSelector: doc(
      "Namespaces whose pods may have addresses of the pool; absent: all.",
      labelSelector,
    ),
    disabled: doc("Gives no further addresses out; those given stay.", boolean({ default: false })),
  },
  ["cidrs"],
);

export interface FixedAddressPoolSpec extends Infer<typeof poolSpec> {}

/** axoneme.io/v1alpha1 FixedAddressPool: where addresses come from that stay with a pod's name. */
export interface FixedAddressPool {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: FixedAddressPoolSpec;
}

const owner = object({ kind: string(), name: string(), uid: string() }, ["kind", "name", "uid"]);
const holder = object({ node: string(), podUid: string() }, ["node", "podUid"]);

const bindingSpec = object({
  pool: doc("The FixedAddressPool they come from.", string()),
  addresses: doc("At most one of each family.", array(address, { maxItems: 2 })),
  owner: doc("What made the pod: as long as a StatefulSet exists its pods keep their addresses.", owner),
  holder: doc("The pod that has the addresses now, and its node; absent: nobody.", holder),
  fence: doc("Changes to make writes fail that were thought of before.", string({ maxLength: 64 })),
  releasedAt: doc("When the last holder gave them back.", string({ maxLength: 40 })),
});

export interface FixedAddressSpec extends Infer<typeof bindingSpec> {}

/** axoneme.io/v1alpha1 FixedAddress: the addresses of the pod of the same namespace and name, on whatever node it runs. */
export interface FixedAddress {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: FixedAddressSpec;
}

const claimSpec = object(
  {
    address: doc("The address that is taken: the object's name in its proper form.", address),
    namespace: string(),
    name: string(),
    uid: doc("Of the FixedAddress that has it.", string()),
    pool: doc("The FixedAddressPool it is of.", string()),
    touched: doc("Changes whenever somebody relies on the claim anew.", string({ maxLength: 64 })),
  },
  ["address", "namespace", "name", "uid"],
);

/**
 * axoneme.io/v1alpha1 AddressClaim: an address that is taken. Named after the address, so that the API server itself
 * refuses to give it twice.
 */
export interface AddressClaim {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec: Infer<typeof claimSpec>;
}

const ours = { group: "axoneme.io", version: "v1alpha1", categories: ["axoneme"] } as const;
const age = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" } as const;

export const fixedAddressPoolCrd = crd({
  ...ours,
  kind: "FixedAddressPool",
  plural: "fixedaddresspools",
  shortNames: ["fap"],
  scope: "Cluster",
  printerColumns: [
    { name: "CIDRs", type: "string", jsonPath: ".spec.cidrs" },
    { name: "Disabled", type: "boolean", jsonPath: ".spec.disabled" },
    age,
  ],
  schema: object({ metadata: { type: "object" }, spec: poolSpec }, ["metadata", "spec"]),
});

export const fixedAddressCrd = crd({
  ...ours,
  kind: "FixedAddress",
  plural: "fixedaddresses",
  shortNames: ["fa"],
  scope: "Namespaced",
  printerColumns: [
    { name: "Addresses", type: "string", jsonPath: ".spec.addresses" },
    { name: "Node", type: "string", jsonPath: ".spec.holder.node" },
    { name: "Pool", type: "string", jsonPath: ".spec.pool" },
    age,
  ],
  schema: object({ metadata: { type: "object" }, spec: bindingSpec }, ["metadata", "spec"]),
});

export const addressClaimCrd = crd({
  ...ours,
  kind: "AddressClaim",
  plural: "addressclaims",
  shortNames: ["ac"],
  scope: "Cluster",
  printerColumns: [
    { name: "Address", type: "string", jsonPath: ".spec.address" },
    { name: "Namespace", type: "string", jsonPath: ".spec.namespace" },
    { name: "Pod", type: "string", jsonPath: ".spec.name" },
    age,
  ],
  schema: object({ metadata: { type: "object" }, spec: claimSpec }, ["metadata", "spec"]),
});

import type { ObjectMeta } from "kubernetes-types/meta/v1";
import { crd } from "./manifest.ts";
import { type Rule, rule } from "./rule.ts";
import {
  array,
  atLeastOneOf,
  boolean,
  doc,
  type Infer,
  int64,
  mapOf,
  object,
  oneWordOf,
  string,
} from "./schema.ts";

const condition = object(
  {
    type: string(),
    status: oneWordOf(["True", "False", "Unknown"]),
    lastTransitionTime: string({ format: "date-time" }),
    reason: string(),
    message: string(),
  },
  ["type", "status"],
);

const status = object({
  conditions: doc(
    "Type Valid tells whether the policy was understood.",
    array(condition, {
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["type"],
    }),
  ),
  derivativePolicies: doc(
    "Policies made from this one, by name.",
    mapOf(
      object({
        ok: boolean(),
        error: string(),
        lastUpdated: string({ format: "date-time" }),
        localPolicyRevision: int64(),
        enforcing: boolean(),
        annotations: mapOf(string()),
      }),
    ),
  ),
});

/** Status of both kinds of policy. */
export interface PolicyStatus extends Infer<typeof status> {}

/** cilium.io/v2 CiliumNetworkPolicy: rules for the pods of one namespace. */
export interface CiliumNetworkPolicy {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec?: Rule;
  specs?: Rule[];
  status?: PolicyStatus;
}

/** cilium.io/v2 CiliumClusterwideNetworkPolicy: rules for pods of all namespaces, or for nodes. */
export interface CiliumClusterwideNetworkPolicy extends CiliumNetworkPolicy {}

const fields = {
  spec: doc("The rule.", rule),
  specs: doc("Several rules under one name.", array(rule)),
  status,
};

const shared = {
  categories: ["cilium", "ciliumpolicy"],
  subresources: { status: {} },
  printerColumns: [
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
    { name: "Valid", type: "string", jsonPath: '.status.conditions[?(@.type=="Valid")].status' },
  ],
  schema: object({ ...fields, metadata: { type: "object" } }, ["metadata"], atLeastOneOf("spec", "specs")),
} as const;

export const networkPolicyCrd = crd({
  ...shared,
  kind: "CiliumNetworkPolicy",
  plural: "ciliumnetworkpolicies",
  shortNames: ["cnp", "ciliumnp"],
  scope: "Namespaced",
});

export const clusterwideNetworkPolicyCrd = crd({
  ...shared,
  kind: "CiliumClusterwideNetworkPolicy",
  plural: "ciliumclusterwidenetworkpolicies",
  shortNames: ["ccnp"],
  scope: "Cluster",
});

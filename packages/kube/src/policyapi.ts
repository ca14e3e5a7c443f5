import { defineResource, type KubeObject } from "./resources.ts";

const group = "policy.networking.k8s.io";

/** Policies of policy.networking.k8s.io, in the versions we read. Their definitions are installed by others, or not. */
export const tierPolicyResources = [
  defineResource<KubeObject>(
    `${group}/v1alpha2`,
    "clusternetworkpolicies",
    "ClusterNetworkPolicy",
    "Cluster",
  ),
  defineResource<KubeObject>(`${group}/v1alpha1`, "adminnetworkpolicies", "AdminNetworkPolicy", "Cluster"),
  defineResource<KubeObject>(
    `${group}/v1alpha1`,
    "baselineadminnetworkpolicies",
    "BaselineAdminNetworkPolicy",
    "Cluster",
  ),
] as const;

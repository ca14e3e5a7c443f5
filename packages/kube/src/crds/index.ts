import type { CustomResourceDefinition } from "kubernetes-types/apiextensions/v1";
import { defineResource } from "../resources.ts";
import { type CiliumCIDRGroup, cidrGroupCrd } from "./cidrgroup.ts";
import { type EdgeDenyList, edgeDenyListCrd } from "./edgedeny.ts";
import { type CiliumEndpoint, endpointCrd } from "./endpoint.ts";
import { type CiliumEndpointSlice, endpointSliceCrd } from "./endpointslice.ts";
import {
  type AddressClaim,
  addressClaimCrd,
  type FixedAddress,
  type FixedAddressPool,
  fixedAddressCrd,
  fixedAddressPoolCrd,
} from "./fixedaddress.ts";
import { type CiliumIdentity, identityCrd } from "./identity.ts";
import { type CiliumL2AnnouncementPolicy, l2AnnouncementPolicyCrd } from "./l2announcement.ts";
import { type CiliumLoadBalancerIPPool, loadBalancerIPPoolCrd } from "./loadbalancerpool.ts";
import { type CiliumLocalRedirectPolicy, localRedirectPolicyCrd } from "./localredirect.ts";
import { type CiliumNode, nodeCrd } from "./node.ts";
import { type CiliumNodeConfig, nodeConfigCrd } from "./nodeconfig.ts";
import { type CiliumPodIPPool, podIPPoolCrd } from "./podippool.ts";
import {
  type CiliumClusterwideNetworkPolicy,
  type CiliumNetworkPolicy,
  clusterwideNetworkPolicyCrd,
  networkPolicyCrd,
} from "./policy.ts";

/** Our custom resource definitions, in the order to install them. */
export const crdManifests: readonly CustomResourceDefinition[] = [
  networkPolicyCrd,
  clusterwideNetworkPolicyCrd,
  cidrGroupCrd,
  identityCrd,
  endpointCrd,
  endpointSliceCrd,
  nodeCrd,
  loadBalancerIPPoolCrd,
  l2AnnouncementPolicyCrd,
  localRedirectPolicyCrd,
  edgeDenyListCrd,
  nodeConfigCrd,
  podIPPoolCrd,
  fixedAddressPoolCrd,
  fixedAddressCrd,
  addressClaimCrd,
];

/** The custom resources we serve. */
export const customResources = {
  ciliumnetworkpolicies: defineResource<CiliumNetworkPolicy>(
    "cilium.io/v2",
    "ciliumnetworkpolicies",
    "CiliumNetworkPolicy",
    "Namespaced",
  ),
  ciliumclusterwidenetworkpolicies: defineResource<CiliumClusterwideNetworkPolicy>(
    "cilium.io/v2",
    "ciliumclusterwidenetworkpolicies",
    "CiliumClusterwideNetworkPolicy",
    "Cluster",
  ),
  ciliumcidrgroups: defineResource<CiliumCIDRGroup>(
    "cilium.io/v2",
    "ciliumcidrgroups",
    "CiliumCIDRGroup",
    "Cluster",
  ),
  ciliumidentities: defineResource<CiliumIdentity>(
    "cilium.io/v2",
    "ciliumidentities",
    "CiliumIdentity",
    "Cluster",
  ),
  ciliumendpoints: defineResource<CiliumEndpoint>(
    "cilium.io/v2",
    "ciliumendpoints",
    "CiliumEndpoint",
    "Namespaced",
  ),
  ciliumendpointslices: defineResource<CiliumEndpointSlice>(
    "cilium.io/v2alpha1",
    "ciliumendpointslices",
    "CiliumEndpointSlice",
    "Cluster",
  ),
  ciliumnodes: defineResource<CiliumNode>("cilium.io/v2", "ciliumnodes", "CiliumNode", "Cluster"),
  ciliumnodeconfigs: defineResource<CiliumNodeConfig>(
    "cilium.io/v2",
    "ciliumnodeconfigs",
    "CiliumNodeConfig",
    "Namespaced",
  ),
  ciliumloadbalancerippools: defineResource<CiliumLoadBalancerIPPool>(
    "cilium.io/v2",
    "ciliumloadbalancerippools",
    "CiliumLoadBalancerIPPool",
    "Cluster",
  ),
  ciliuml2announcementpolicies: defineResource<CiliumL2AnnouncementPolicy>(
    "cilium.io/v2alpha1",
    "ciliuml2announcementpolicies",
    "CiliumL2AnnouncementPolicy",
    "Cluster",
  ),
  ciliumlocalredirectpolicies: defineResource<CiliumLocalRedirectPolicy>(
    "cilium.io/v2",
    "ciliumlocalredirectpolicies",
    "CiliumLocalRedirectPolicy",
    "Namespaced",
  ),
  edgedenylists: defineResource<EdgeDenyList>(
    "axoneme.io/v1alpha1",
    "edgedenylists",
    "EdgeDenyList",
    "Cluster",
  ),
  ciliumpodippools: defineResource<CiliumPodIPPool>(
    "cilium.io/v2alpha1",
    "ciliumpodippools",
    "CiliumPodIPPool",
    "Cluster",
  ),
  fixedaddresspools: defineResource<FixedAddressPool>(
    "axoneme.io/v1alpha1",
    "fixedaddresspools",
    "FixedAddressPool",
    "Cluster",
  ),
  fixedaddresses: defineResource<FixedAddress>(
    "axoneme.io/v1alpha1",
    "fixedaddresses",
    "FixedAddress",
    "Namespaced",
  ),
  addressclaims: defineResource<AddressClaim>(
    "axoneme.io/v1alpha1",
    "addressclaims",
    "AddressClaim",
    "Cluster",
  ),
};

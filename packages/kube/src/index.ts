export type { Call, CallOptions, Query, Selectors } from "./call.ts";
export { KubeClient, type KubeClientOptions } from "./client.ts";
export { type ClusterConfig, inCluster } from "./config.ts";
export type * from "./coretypes.ts";
export type { CiliumCIDRGroup } from "./crds/cidrgroup.ts";
export type { StatusCondition } from "./crds/condition.ts";
export { type EdgeDenyList, maxDeniedPrefixes } from "./crds/edgedeny.ts";
export type {
  CiliumEndpoint,
  EndpointState,
  EndpointStatus,
} from "./crds/endpoint.ts";
export {
  type CiliumEndpointSlice,
  type CoreCiliumEndpoint,
  maxSliceEndpoints,
} from "./crds/endpointslice.ts";
export type { AddressClaim, FixedAddress, FixedAddressPool, FixedAddressSpec } from "./crds/fixedaddress.ts";
export type { CiliumIdentity } from "./crds/identity.ts";
export { crdManifests } from "./crds/index.ts";
export type { CiliumL2AnnouncementPolicy, L2AnnouncementPolicySpec } from "./crds/l2announcement.ts";
export {
  type CiliumLoadBalancerIPPool,
  type LoadBalancerIPBlock,
  type LoadBalancerIPPoolSpec,
  poolConditions,
} from "./crds/loadbalancerpool.ts";
export type {
  CiliumLocalRedirectPolicy,
  LocalRedirectPolicySpec,
  RedirectPort,
} from "./crds/localredirect.ts";
export type { CiliumNode, CiliumNodeSpec, CiliumNodeStatus } from "./crds/node.ts";
export type { CiliumNodeConfig } from "./crds/nodeconfig.ts";
export type { CiliumPodIPPool } from "./crds/podippool.ts";
export type { CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, PolicyStatus } from "./crds/policy.ts";
export type { ICMPRule, L7Rules, PortDenyRule, PortProtocol, PortRule, PortRuleHTTP } from "./crds/ports.ts";
export {
  type EgressDenyRule,
  type EgressRule,
  type EntityName,
  entities,
  type IngressDenyRule,
  type IngressRule,
  type Rule,
} from "./crds/rule.ts";
export type { Schema } from "./crds/schema.ts";
export type { CIDRRule, EndpointSelector, FQDNSelector } from "./crds/selector.ts";
export {
  anonymous,
  basicAuth,
  bearerToken,
  type CredentialSource,
  type Credentials,
  clientCertificate,
  type Material,
} from "./credentials.ts";
export { Discovery } from "./discovery.ts";
export { completeSlice, packSlice, type SliceMember, unpackSlice } from "./endpointslices.ts";
export {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  isTooManyRequests,
  isTransient,
  KubeError,
  type StatusBody,
  type StatusCause,
  type StatusDetails,
} from "./errors.ts";
export { EventRecorder, type EventRecorderOptions, type EventSubject } from "./events.ts";
export { claimName, heldOnNode, KubeFixedStore } from "./fixedstore.ts";
export { builtinResources, resources } from "./known.ts";
export { findConfig, type KubeconfigOptions, loadKubeconfig } from "./kubeconfig.ts";
export { type Election, type ElectionHandlers, type ElectionOptions, elect, Leases } from "./leases.ts";
export {
  ListWatch,
  type ListWatchHandlers,
  type ListWatchHealth,
  type ListWatchOptions,
} from "./listwatch.ts";
export { tierPolicyResources } from "./policyapi.ts";
export {
  type ApplyOptions,
  type List,
  type ListOptions,
  type ObjectOptions,
  type PatchOptions,
  type RemoveOptions,
  ResourceClient,
  type WriteOptions,
} from "./resourceclient.ts";
export {
  apiVersionOf,
  defineResource,
  type KubeObject,
  type Resource,
  resourceName,
  resourcePath,
} from "./resources.ts";
export { type SecretData, type SecretWatchOptions, watchSecret } from "./secretwatch.ts";
export { keyOf, objectKey, type StoreReader } from "./store.ts";
export type { CallReport } from "./transport.ts";
export type { WatchEvent, WatchOptions } from "./watch.ts";

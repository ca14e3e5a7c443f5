/** The Kubernetes types that others name, so that one package knows where types come from. */

export type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
} from "kubernetes-types/apiextensions/v1";
export type { DaemonSet, Deployment, ReplicaSet, StatefulSet } from "kubernetes-types/apps/v1";
export type { Job } from "kubernetes-types/batch/v1";
export type { Lease } from "kubernetes-types/coordination/v1";
export type {
  ConfigMap,
  Container,
  ContainerPort,
  Endpoints,
  Event,
  Namespace,
  Node,
  NodeAddress,
  NodeCondition,
  Pod,
  PodCondition,
  Secret,
  Service,
  ServiceAccount,
  ServicePort,
} from "kubernetes-types/core/v1";
export type { Endpoint, EndpointPort, EndpointSlice } from "kubernetes-types/discovery/v1";
export type {
  Condition,
  LabelSelector,
  LabelSelectorRequirement,
  ObjectMeta,
  OwnerReference,
} from "kubernetes-types/meta/v1";
export type {
  IPBlock,
  NetworkPolicy,
  NetworkPolicyEgressRule,
  NetworkPolicyIngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from "kubernetes-types/networking/v1";

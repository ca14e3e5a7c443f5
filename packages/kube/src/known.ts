import type { CustomResourceDefinition } from "kubernetes-types/apiextensions/v1";
import type { DaemonSet, Deployment, ReplicaSet, StatefulSet } from "kubernetes-types/apps/v1";
import type { Job } from "kubernetes-types/batch/v1";
import type { Lease } from "kubernetes-types/coordination/v1";
import type {
  ConfigMap,
  Endpoints,
  Event,
  Namespace,
  Node,
  Pod,
  Secret,
  Service,
  ServiceAccount,
} from "kubernetes-types/core/v1";
import type { EndpointSlice } from "kubernetes-types/discovery/v1";
import type { NetworkPolicy } from "kubernetes-types/networking/v1";
import { customResources } from "./crds/index.ts";
import { defineResource } from "./resources.ts";

/** The built-in kinds of {@link resources}. */
export const builtinResources = {
  pods: defineResource<Pod>("v1", "pods", "Pod", "Namespaced"),
  nodes: defineResource<Node>("v1", "nodes", "Node", "Cluster"),
  namespaces: defineResource<Namespace>("v1", "namespaces", "Namespace", "Cluster"),
  services: defineResource<Service>("v1", "services", "Service", "Namespaced"),
  endpoints: defineResource<Endpoints>("v1", "endpoints", "Endpoints", "Namespaced"),
  configmaps: defineResource<ConfigMap>("v1", "configmaps", "ConfigMap", "Namespaced"),
  secrets: defineResource<Secret>("v1", "secrets", "Secret", "Namespaced"),
  serviceaccounts: defineResource<ServiceAccount>("v1", "serviceaccounts", "ServiceAccount", "Namespaced"),
  events: defineResource<Event>("v1", "events", "Event", "Namespaced"),
  endpointslices: defineResource<EndpointSlice>(
    "discovery.k8s.io/v1",
    "endpointslices",
    "EndpointSlice",
    "Namespaced",
  ),
  networkpolicies: defineResource<NetworkPolicy>(
    "networking.k8s.io/v1",
    "networkpolicies",
    "NetworkPolicy",
    "Namespaced",
  ),
  leases: defineResource<Lease>("coordination.k8s.io/v1", "leases", "Lease", "Namespaced"),
  customresourcedefinitions: defineResource<CustomResourceDefinition>(
    "apiextensions.k8s.io/v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    "Cluster",
  ),
  deployments: defineResource<Deployment>("apps/v1", "deployments", "Deployment", "Namespaced"),
  replicasets: defineResource<ReplicaSet>("apps/v1", "replicasets", "ReplicaSet", "Namespaced"),
  statefulsets: defineResource<StatefulSet>("apps/v1", "statefulsets", "StatefulSet", "Namespaced"),
  daemonsets: defineResource<DaemonSet>("apps/v1", "daemonsets", "DaemonSet", "Namespaced"),
  jobs: defineResource<Job>("batch/v1", "jobs", "Job", "Namespaced"),
};

/** Every kind we touch, by plural. */
export const resources = { ...builtinResources, ...customResources };

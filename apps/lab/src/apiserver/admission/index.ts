import type { Strategy } from "../resources/resource.ts";
import { crdStrategy } from "./crd.ts";
import { namespaceStrategy } from "./namespace.ts";
import { networkPolicyStrategy } from "./networking.ts";
import { configMapStrategy, endpointSliceStrategy, nodeStrategy, secretStrategy } from "./plain.ts";
import { podStrategy } from "./pod.ts";
import { serviceStrategy } from "./service.ts";
import {
  cronJobStrategy,
  daemonSetStrategy,
  deploymentStrategy,
  jobStrategy,
  replicaSetStrategy,
  statefulSetStrategy,
} from "./workloads.ts";

/** `group/Kind` -> what is particular to the kind. Kinds not listed need nothing. */
export const strategies: Readonly<Record<string, Strategy>> = {
  "/Pod": podStrategy,
  "/Service": serviceStrategy,
  "/Namespace": namespaceStrategy,
  "/Node": nodeStrategy,
  "/ConfigMap": configMapStrategy,
  "/Secret": secretStrategy,
  "apps/Deployment": deploymentStrategy,
  "apps/ReplicaSet": replicaSetStrategy,
  "apps/StatefulSet": statefulSetStrategy,
  "apps/DaemonSet": daemonSetStrategy,
  "batch/Job": jobStrategy,
  "batch/CronJob": cronJobStrategy,
  "discovery.k8s.io/EndpointSlice": endpointSliceStrategy,
  "networking.k8s.io/NetworkPolicy": networkPolicyStrategy,
  "apiextensions.k8s.io/CustomResourceDefinition": crdStrategy,
};

import { defineResource, type KubeClient, type KubeObject, type ResourceClient } from "@axoneme/kube";
import type { KubernetesObject } from "../../../../deploy/source/kubernetes/index.ts";

/** An object by what it is found by. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export function refOf({ apiVersion, kind, metadata }: KubernetesObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace ?? "", name: metadata.name };
}

/** `DaemonSet kube-system/axoneme`. */
export function titleOf({ kind, namespace, name }: ObjectRef): string {
  return `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}

/** The plural of the kinds we install is always regular. */
export function clientOf(
  client: KubeClient,
  { apiVersion, kind, namespace }: ObjectRef,
): ResourceClient<KubeObject> {
  const scope = namespace === "" ? "Cluster" : "Namespaced";
  return client.resource(defineResource<KubeObject>(apiVersion, `${kind.toLowerCase()}s`, kind, scope));
}

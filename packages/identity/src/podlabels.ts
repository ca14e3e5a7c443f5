import { defaultLabelFilter, type LabelFilter } from "./labelfilter.ts";
import { type Labels, labelKeys } from "./labels.ts";

/** The part of a Pod that matters here. */
export interface PodLike {
  metadata?:
    | { namespace?: string | undefined; labels?: { readonly [key: string]: string } | undefined }
    | undefined;
  spec?: { serviceAccountName?: string | undefined } | undefined;
}

/** The part of a Namespace that matters here. */
export interface NamespaceLike {
  metadata?:
    | { name?: string | undefined; labels?: { readonly [key: string]: string } | undefined }
    | undefined;
}

/**
 * The labels that make a pod's identity: its own, its namespace's (`io.cilium.k8s.namespace.labels.<key>`),
 * namespace, cluster and service account. A pod cannot claim any of the latter through labels of its own.
 */
export function podLabels(
  pod: PodLike,
  namespace: NamespaceLike | undefined,
  cluster: string,
  filter: LabelFilter = defaultLabelFilter,
): Labels {
  const labels: Record<string, string> = {};
  for (const [key, value] of Object.entries(pod.metadata?.labels ?? {})) {
    if (!key.startsWith("io.cilium.k8s.") && key !== labelKeys.namespace) labels[`k8s:${key}`] = value;
  }
  for (const [key, value] of Object.entries(namespace?.metadata?.labels ?? {})) {
    labels[`k8s:${labelKeys.namespaceLabels}${key}`] = value;
  }
  labels[`k8s:${labelKeys.namespace}`] = pod.metadata?.namespace ?? "default";
  labels[`k8s:${labelKeys.cluster}`] = cluster;
  const account = pod.spec?.serviceAccountName;
  if (account !== undefined && account !== "") labels[`k8s:${labelKeys.serviceAccount}`] = account;
  return filter.apply(labels);
}

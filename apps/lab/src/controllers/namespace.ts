import type { ConfigMap, Namespace, ServiceAccount } from "kubernetes-types/core/v1";
import type { Action } from "./action.ts";
import { isDeleting, nameOf } from "./objects.ts";

export interface NamespaceView {
  namespace: Namespace;
  /** Those in the namespace. */
  serviceAccounts: readonly ServiceAccount[];
  configMaps: readonly ConfigMap[];
  /** The cluster's certificate authority, published in every namespace. */
  caCertificate: string | undefined;
}

/** Gives a namespace its default service account and the cluster's certificate. The API server empties it. */
export function reconcileNamespace(view: NamespaceView): Action[] {
  const { namespace, serviceAccounts, configMaps, caCertificate } = view;
  if (isDeleting(namespace)) return [];
  const name = nameOf(namespace);
  const actions: Action[] = [];
  if (!serviceAccounts.some((account) => nameOf(account) === "default")) {
    const metadata = { name: "default", namespace: name };
    actions.push({ verb: "create", object: { apiVersion: "v1", kind: "ServiceAccount", metadata } });
  }
  if (caCertificate !== undefined && !configMaps.some((map) => nameOf(map) === "kube-root-ca.crt")) {
    const object: ConfigMap = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "kube-root-ca.crt", namespace: name },
      data: { "ca.crt": caCertificate },
    };
    actions.push({ verb: "create", object });
  }
  return actions;
}

import type { ConfigMap, Namespace, ServiceAccount } from "kubernetes-types/core/v1";
import { type Action, refOf } from "./action.ts";
import { isDeleting, type KubeObject, nameOf } from "./objects.ts";

export interface NamespaceView {
  namespace: Namespace;
  /** Everything in it, with apiVersion and kind set. */
  contents: readonly KubeObject[];
  serviceAccounts: readonly ServiceAccount[];
  configMaps: readonly ConfigMap[];
  /** The cluster's certificate authority, published in every namespace. */
  caCertificate: string | undefined;
}

/** Fills a new namespace with its default service account, and empties one that is being deleted. */
export function reconcileNamespace(view: NamespaceView): Action[] {
  return isDeleting(view.namespace) ? empty(view) : furnish(view);
}

function furnish({ namespace, serviceAccounts, configMaps, caCertificate }: NamespaceView): Action[] {
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

function empty({ namespace, contents }: NamespaceView): Action[] {
  if (contents.length === 0) {
    const done = !(namespace.spec?.finalizers ?? []).includes("kubernetes");
    return done ? [] : [{ verb: "finalize", namespace: nameOf(namespace) }];
  }
  const deletions = contents
    .filter((object) => !isDeleting(object))
    .map((object): Action => ({ verb: "delete", ref: refOf(object), propagationPolicy: "Background" }));
  // What remains has finalizers or runs out its grace period: their deletes bring this key back.
  return deletions.length > 0 ? deletions : [{ verb: "again", afterMs: 5_000 }];
}

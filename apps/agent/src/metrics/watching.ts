import type { ListWatchHandlers } from "@axoneme/kube";
import type { KubernetesAction, Meters } from "./meters.ts";

const policySources: Readonly<Record<string, "k8s" | "custom-resource">> = {
  networkpolicies: "k8s",
  adminnetworkpolicies: "k8s",
  baselineadminnetworkpolicies: "k8s",
  clusternetworkpolicies: "k8s",
  ciliumnetworkpolicies: "custom-resource",
  ciliumclusterwidenetworkpolicies: "custom-resource",
};

/** The same handlers, counted. A policy's handler returns when its rows are written: its time is what enforcing it takes. */
export function metered<S>(
  handlers: ListWatchHandlers<S>,
  scope: string,
  meters: Meters,
): ListWatchHandlers<S> {
  const source = policySources[scope];
  const counted = (action: KubernetesAction, handle: () => void): void => {
    const begin = performance.now();
    let ok = false;
    try {
      handle();
      ok = true;
    } finally {
      meters.kubernetesEvent(scope, action, ok);
      const took = (performance.now() - begin) / 1000;
      if (source) meters.policyChange(source, action === "delete" ? "delete" : "update", ok, took);
    }
  };
  return {
    onAdd: (object) => counted("create", () => handlers.onAdd?.(object)),
    onUpdate: (object, previous) => counted("update", () => handlers.onUpdate?.(object, previous)),
    onDelete: (object) => counted("delete", () => handlers.onDelete?.(object)),
    onSynced: () => handlers.onSynced?.(),
  };
}

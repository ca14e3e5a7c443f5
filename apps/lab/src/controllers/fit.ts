import type { Node, NodeSelectorTerm, Pod, Taint, Toleration } from "kubernetes-types/core/v1";
import { type Labels, mapMatches, meta, nameOf, requirementMatches } from "./objects.ts";

/** Whether a pod's node selector, node affinity and tolerations allow a node; `nodeName`, if set, decides. */
export function fitsNode(pod: Pod, node: Node): boolean {
  const named = pod.spec?.nodeName;
  if (named !== undefined && named !== "" && named !== nameOf(node)) return false;
  return selectsNode(pod, node) && untolerated(pod, node, ["NoSchedule", "NoExecute"]) === undefined;
}

/** Whether a pod that runs on a node may go on: taints that only keep new pods away do not count. */
export function mayStay(pod: Pod, node: Node): boolean {
  return selectsNode(pod, node) && untolerated(pod, node, ["NoExecute"]) === undefined;
}

/** `nodeSelector` and the required terms of `nodeAffinity`. */
export function selectsNode(pod: Pod, node: Node): boolean {
  const labels = meta(node).labels ?? {};
  if (!mapMatches(pod.spec?.nodeSelector, labels)) return false;
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => termMatches(term, node, labels));
}

function termMatches(term: NodeSelectorTerm, node: Node, labels: Labels): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length + fields.length === 0) return false;
  return (
    expressions.every((expression) => requirementMatches(expression, labels)) &&
    fields.every((field) => requirementMatches(field, { "metadata.name": nameOf(node) }))
  );
}

/** The first taint with one of the effects that the pod does not tolerate. */
export function untolerated(pod: Pod, node: Node, effects: readonly string[]): Taint | undefined {
  return taintsOf(node).find(
    (taint) =>
      effects.includes(taint.effect) && !(pod.spec?.tolerations ?? []).some((t) => tolerates(t, taint)),
  );
}

/** The node's taints; `spec.unschedulable` counts as one, as the taint controller would have it. */
function taintsOf(node: Node): Taint[] {
  const taints = node.spec?.taints ?? [];
  return node.spec?.unschedulable === true
    ? [...taints, { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" }]
    : taints;
}

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== "" && toleration.effect !== taint.effect)
    return false;
  if (toleration.operator === "Exists") {
    return toleration.key === undefined || toleration.key === "" || toleration.key === taint.key;
  }
  return toleration.key === taint.key && (toleration.value ?? "") === (taint.value ?? "");
}

import type { Pod, PodTemplateSpec } from "kubernetes-types/core/v1";
import type { LabelSelector, OwnerReference } from "kubernetes-types/meta/v1";
import { type Action, refOf } from "./action.ts";
import {
  controllerOf,
  isDeleting,
  isReady,
  type KubeObject,
  meta,
  nameOf,
  podFromTemplate,
  randomSuffix,
  selectorMatches,
  uidOf,
} from "./objects.ts";

/** Pods sorted into those that belong to an owner, and what must be written to make it so. */
export interface Claim {
  owned: Pod[];
  actions: Action[];
}

/**
 * Which of `pods` the owner controls. Orphans that match the selector are adopted, owned pods that no
 * longer match are released; a deleting owner adopts nothing.
 */
export function claimPods(
  owner: KubeObject,
  reference: OwnerReference,
  selector: LabelSelector | undefined,
  pods: readonly Pod[],
): Claim {
  const claim: Claim = { owned: [], actions: [] };
  for (const pod of pods) {
    const controller = controllerOf(pod);
    const matches = selectorMatches(selector, meta(pod).labels);
    if (controller?.uid === uidOf(owner)) {
      if (matches || isDeleting(owner)) claim.owned.push(pod);
      else
        claim.actions.push(
          ownersPatch(
            pod,
            (meta(pod).ownerReferences ?? []).filter((o) => o.uid !== uidOf(owner)),
          ),
        );
    } else if (controller === undefined && matches && !isDeleting(owner) && !isDeleting(pod)) {
      claim.owned.push(pod);
      claim.actions.push(ownersPatch(pod, [...(meta(pod).ownerReferences ?? []), reference]));
    }
  }
  return claim;
}

function ownersPatch(pod: Pod, ownerReferences: OwnerReference[]): Action {
  return { verb: "patch", ref: refOf(pod, "v1", "Pod"), patch: { metadata: { ownerReferences } } };
}

/** A pod of a controller; `name` when given, else a random suffix to the owner's name. */
export function controlledPod(
  owner: KubeObject,
  reference: OwnerReference,
  template: PodTemplateSpec | undefined,
  name?: string,
): Pod {
  const pod = podFromTemplate(template, owner.metadata?.namespace);
  pod.metadata = {
    ...pod.metadata,
    // The suffix is ours, not the server's, so that a repeated create is recognised as a conflict.
    name: name ?? `${nameOf(owner).slice(0, 57)}-${randomSuffix()}`,
    ...(name === undefined ? { generateName: `${nameOf(owner)}-` } : {}),
    ownerReferences: [reference],
  };
  return pod;
}

export function deletePod(pod: Pod): Action {
  return { verb: "delete", ref: refOf(pod, "v1", "Pod") };
}

/** The order in which surplus pods go: unassigned, pending, not ready, cheap, then youngest first. */
export function deletionOrder(a: Pod, b: Pod): number {
  return (
    rank(a) - rank(b) ||
    deletionCost(a) - deletionCost(b) ||
    Date.parse(meta(b).creationTimestamp ?? "") - Date.parse(meta(a).creationTimestamp ?? "") ||
    (nameOf(a) < nameOf(b) ? -1 : 1)
  );
}

function rank(pod: Pod): number {
  if (pod.spec?.nodeName === undefined) return 0;
  if (pod.status?.phase !== "Running") return 1;
  return isReady(pod) ? 3 : 2;
}

function deletionCost(pod: Pod): number {
  return Number(meta(pod).annotations?.["controller.kubernetes.io/pod-deletion-cost"] ?? 0) || 0;
}

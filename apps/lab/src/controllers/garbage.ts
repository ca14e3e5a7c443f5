import type { OwnerReference } from "kubernetes-types/meta/v1";
import { type Action, refOf } from "./action.ts";
import { isDeleting, type KubeObject, meta, uidOf } from "./objects.ts";

/** What is known about an owner: there, gone for certain, or being deleted and waiting for dependents. */
export type OwnerState = "present" | "absent" | "waiting";

export interface DependentView {
  object: KubeObject;
  ownerState(owner: OwnerReference): OwnerState;
}

/**
 * An object all of whose owners are gone (or wait for it) is deleted; when only some are gone, their
 * references are dropped.
 */
export function reconcileDependent({ object, ownerState }: DependentView): Action[] {
  const owners = meta(object).ownerReferences ?? [];
  if (owners.length === 0 || isDeleting(object)) return [];
  const states = owners.map((owner) => ({ owner, state: ownerState(owner) }));
  const present = states.filter(({ state }) => state === "present");
  const waiting = states.filter(({ state }) => state === "waiting");
  if (present.length > 0) {
    if (present.length === owners.length) return [];
    const ownerReferences = present.map(({ owner }) => owner);
    return [{ verb: "patch", ref: refOf(object), patch: { metadata: { ownerReferences } } }];
  }
  // An owner that waits for its dependents must see them gone before it goes, and theirs before them.
  const propagationPolicy = waiting.length > 0 ? "Foreground" : "Background";
  return [{ verb: "delete", ref: refOf(object), propagationPolicy }];
}

export interface OwnerView {
  owner: KubeObject;
  /** Objects that name it as an owner. */
  dependents: readonly KubeObject[];
}

/** Serves the finalizers that a delete with the policies Foreground and Orphan leaves on an owner. */
export function reconcileOwner({ owner, dependents }: OwnerView): Action[] {
  if (!isDeleting(owner)) return [];
  const finalizers = meta(owner).finalizers ?? [];
  if (finalizers.includes("orphan")) {
    const released = dependents.map((dependent): Action => {
      const left = (meta(dependent).ownerReferences ?? []).filter((entry) => entry.uid !== uidOf(owner));
      return { verb: "patch", ref: refOf(dependent), patch: { metadata: { ownerReferences: left } } };
    });
    return [...released, dropFinalizer(owner, "orphan")];
  }
  if (!finalizers.includes("foregroundDeletion")) return [];
  const blocking = dependents.some((dependent) => {
    const reference = meta(dependent).ownerReferences?.find((entry) => entry.uid === uidOf(owner));
    return reference?.blockOwnerDeletion === true;
  });
  return blocking ? [] : [dropFinalizer(owner, "foregroundDeletion")];
}

function dropFinalizer(owner: KubeObject, finalizer: string): Action {
  const finalizers = (meta(owner).finalizers ?? []).filter((entry) => entry !== finalizer);
  return { verb: "patch", ref: refOf(owner), patch: { metadata: { finalizers } } };
}

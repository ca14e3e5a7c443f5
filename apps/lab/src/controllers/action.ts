import type { KubeObject } from "./objects.ts";
import { nameOf } from "./objects.ts";

/** Names one object of the API. */
export interface ObjectRef {
  apiVersion: string;
  kind: string;
  namespace?: string;
  name: string;
  /** When set, a delete applies to this incarnation only. */
  uid?: string;
}

/**
 * What a reconcile wants done. Controllers only return these; the manager carries them out, in order,
 * and stops at the first that fails (the key is then tried again later).
 */
export type Action =
  | { verb: "create"; object: KubeObject }
  | { verb: "patch"; ref: ObjectRef; patch: object; subresource?: "status" }
  | { verb: "delete"; ref: ObjectRef; gracePeriodSeconds?: number; propagationPolicy?: Propagation }
  | { verb: "bind"; ref: ObjectRef; node: string }
  | { verb: "event"; about: KubeObject; type: "Normal" | "Warning"; reason: string; message: string }
  /** Reconcile the same key again after so many milliseconds. */
  | { verb: "again"; afterMs: number };

type Propagation = "Background" | "Foreground" | "Orphan";

/** The reference of an object that carries its own apiVersion and kind, or that gets them here. */
export function refOf(object: KubeObject, apiVersion?: string, kind?: string): ObjectRef {
  const namespace = object.metadata?.namespace;
  const uid = object.metadata?.uid;
  return {
    apiVersion: apiVersion ?? object.apiVersion ?? "",
    kind: kind ?? object.kind ?? "",
    ...(namespace === undefined ? {} : { namespace }),
    name: nameOf(object),
    ...(uid === undefined ? {} : { uid }),
  };
}

/** A merge patch of the status sub-resource. */
export function patchStatus(ref: ObjectRef, status: object): Action {
  return { verb: "patch", ref, patch: { status }, subresource: "status" };
}

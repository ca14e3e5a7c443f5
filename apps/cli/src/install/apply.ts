import type { KubeClient, KubeObject } from "@axoneme/kube";
import type { KubernetesObject } from "../../../../deploy/source/kubernetes/index.ts";
import { clientOf, type ObjectRef, refOf, titleOf } from "./objects.ts";

export type Action = "created" | "configured" | "unchanged" | "removed";

/** What became of one object. */
export interface Step extends ObjectRef {
  readonly action: Action;
}

const fieldManager = "axoneme-install";

/** Applies the objects in order, as their owner; tells of each. */
export async function applyAll(
  client: KubeClient,
  objects: readonly KubernetesObject[],
  tell: (step: Step) => Promise<void>,
  signal: AbortSignal,
): Promise<Step[]> {
  const steps: Step[] = [];
  for (const object of objects) {
    const step = await applyOne(client, object, signal);
    await tell(step);
    steps.push(step);
  }
  return steps;
}

async function applyOne(client: KubeClient, object: KubernetesObject, signal: AbortSignal): Promise<Step> {
  const ref = refOf(object);
  const resource = clientOf(client, ref);
  const where = ref.namespace === "" ? {} : { namespace: ref.namespace };
  const before = await resource.find(ref.name, { ...where, signal });
  const after = await resource.apply(object as KubeObject, { fieldManager, force: true, signal });
  const isSame = before?.metadata?.resourceVersion === after.metadata?.resourceVersion;
  return { ...ref, action: before === undefined ? "created" : isSame ? "unchanged" : "configured" };
}

/** Removes objects that are no longer wanted; what is gone already is fine. */
export async function removeAll(
  client: KubeClient,
  refs: readonly ObjectRef[],
  tell: (step: Step) => Promise<void>,
  signal: AbortSignal,
): Promise<Step[]> {
  const steps: Step[] = [];
  for (const ref of refs) {
    const where = ref.namespace === "" ? {} : { namespace: ref.namespace };
    const options = { ...where, propagationPolicy: "Background", signal } as const;
    if (!(await clientOf(client, ref).deleteIfExists(ref.name, options))) continue;
    const step = { ...ref, action: "removed" } as const;
    await tell(step);
    steps.push(step);
  }
  return steps;
}

/** Those of the first that the second has not. */
export function withoutThose(refs: readonly ObjectRef[], others: readonly ObjectRef[]): ObjectRef[] {
  const kept = new Set(others.map(titleOf));
  return refs.filter((ref) => !kept.has(titleOf(ref)));
}

import type { Pod } from "kubernetes-types/core/v1";
import type { Action } from "../../src/controllers/action.ts";
import { type KubeObject, keyOf, nameOf } from "../../src/controllers/objects.ts";

/** A cluster in memory: carries out the actions of controllers as an API server would, at once. */
export class World {
  readonly objects = new Map<string, KubeObject>();
  now = Date.parse("2026-01-01T00:00:00Z");
  writes = 0;
  #version = 0;

  add<T extends KubeObject>(object: T): T {
    const stored = {
      ...structuredClone(object),
      metadata: {
        namespace: "default",
        ...object.metadata,
        uid: object.metadata?.uid ?? `uid-${++this.#version}`,
        generation: 1,
        creationTimestamp: new Date(this.now).toISOString(),
      },
    };
    this.objects.set(this.#key(stored), stored);
    return stored;
  }

  #key(object: KubeObject): string {
    return `${object.kind}/${keyOf(object)}`;
  }

  of<T extends KubeObject>(kind: string): T[] {
    return [...this.objects.values()].filter((object) => object.kind === kind) as T[];
  }

  one<T extends KubeObject>(kind: string): T {
    const [first] = this.of<T>(kind);
    if (first === undefined) throw new Error(`no ${kind}`);
    return first;
  }

  run(actions: readonly Action[]): void {
    for (const action of actions) this.#apply(action);
  }

  #apply(action: Action): void {
    if (action.verb === "event" || action.verb === "again") return;
    this.writes++;
    if (action.verb === "create") {
      if (this.objects.has(this.#key(action.object))) throw new Error(`${this.#key(action.object)} exists`);
      this.add(action.object);
      return;
    }
    const key = `${action.ref.kind}/${action.ref.namespace ?? "default"}/${action.ref.name}`;
    const object = this.objects.get(key);
    if (object === undefined) return;
    if (action.verb === "delete") this.objects.delete(key);
    else if (action.verb === "bind")
      this.objects.set(key, merged(object, { spec: { nodeName: action.node } }));
    else {
      const next = merged(object, action.patch) as KubeObject & { metadata: { generation: number } };
      if ("spec" in action.patch) next.metadata.generation++;
      this.objects.set(key, next);
    }
  }

  /** Changes an object as a user would. */
  edit(kind: string, patch: object): void {
    const object = this.one(kind);
    const next = merged(object, patch) as KubeObject & { metadata: { generation: number } };
    next.metadata.generation++;
    this.objects.set(this.#key(object), next);
  }

  /** Makes a pod run and be ready, or not ready. */
  setReady(pod: Pod, ready: boolean): void {
    this.writes++;
    const status = {
      phase: "Running",
      conditions: [
        {
          type: "Ready",
          status: ready ? "True" : "False",
          lastTransitionTime: new Date(this.now).toISOString(),
        },
      ],
    };
    const spec = { nodeName: pod.spec?.nodeName ?? "node1" };
    this.objects.set(this.#key(pod), merged(pod, { status, spec }));
  }

  setPhase(pod: Pod, phase: string): void {
    this.objects.set(this.#key(pod), merged(pod, { status: { phase, conditions: [] } }));
  }
}

function merged<T>(target: T, patch: unknown): T {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch as T;
  const base = typeof target === "object" && target !== null && !Array.isArray(target) ? target : {};
  const result: Record<string, unknown> = { ...(base as Record<string, unknown>) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return structuredClone(result) as T;
}

export function podNames(pods: readonly Pod[]): string[] {
  return pods.map(nameOf).sort();
}

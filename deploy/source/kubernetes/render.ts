import { Entries, isEmpty, lookUp, Marked, type Node, type Scope, When } from "./marks.ts";

/** An object as it is sent to the API. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  [field: string]: unknown;
}

/** Stands for a part whose condition does not hold. */
const absent = Symbol("absent");

/** A node with its values; undefined when it is not there with these. */
export function render(node: Node, scope: Scope): unknown {
  const result = rendered(node, scope);
  return result === absent ? undefined : result;
}

function rendered(node: Node, scope: Scope): unknown {
  if (node instanceof When) return isEmpty(node.condition.of(scope)) ? absent : rendered(node.node, scope);
  if (node instanceof Marked) return node.of(scope);
  if (Array.isArray(node))
    return node.map((item: Node) => rendered(item, scope)).filter((item) => item !== absent);
  if (typeof node !== "object" || node === null) return node;
  const result: Record<string, unknown> = {};
  for (const [key, child] of Object.entries(node)) {
    if (child instanceof Entries) {
      for (const [name, value] of Object.entries(lookUp(scope.values, child.path) ?? {}))
        result[name] = String(value);
      continue;
    }
    const value = rendered(child, scope);
    if (value !== absent) result[key] = value;
  }
  return result;
}

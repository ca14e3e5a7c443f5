import type { Flow } from "@axoneme/flow";
import { type FieldTree, FlowSchema, fieldTree } from "@axoneme/proto";

/**
 * What a field mask leaves of a flow; the flow itself for an empty mask.
 * @throws AxonError `proto.field_unknown` naming the path
 */
export function flowProjection(mask: readonly string[]): (flow: Flow) => object {
  if (mask.length === 0) return (flow) => flow;
  const tree = fieldTree(FlowSchema, mask);
  return (flow) => project(flow, tree);
}

function project(value: object, tree: FieldTree): object {
  const kept: Record<string, unknown> = {};
  for (const [name, below] of tree) {
    const field = (value as Record<string, unknown>)[name];
    if (field === undefined) continue;
    kept[name] = below === true ? field : projectField(field, below);
  }
  return kept;
}

function projectField(field: unknown, tree: FieldTree): unknown {
  if (Array.isArray(field)) return field.map((item: unknown) => projectField(item, tree));
  return typeof field === "object" && field !== null ? project(field, tree) : field;
}

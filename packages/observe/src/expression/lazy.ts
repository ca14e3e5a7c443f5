import { compileFilter, type ExpressionCompiler, type FlowFilter, type FlowMatcher } from "@axoneme/flow";

let compiler: ExpressionCompiler | undefined;

/**
 * Loads what evaluates CEL expressions, if a filter has one: few do, and it is large. To be awaited before such filters
 * are compiled.
 */
export async function loadExpressions(
  ...lists: readonly (readonly FlowFilter[] | undefined)[]
): Promise<void> {
  if (compiler !== undefined) return;
  const filters = lists.flatMap((list) => list ?? []);
  if (!filters.some(({ experimental }) => (experimental?.cel_expression ?? []).length > 0)) return;
  ({ compileExpression: compiler } = await import("./cel.ts"));
}

/** compileFilter with the expressions that were loaded. */
export function compileFlowFilter(white?: readonly FlowFilter[], black?: readonly FlowFilter[]): FlowMatcher {
  return compileFilter(white, black, compiler);
}

import { compileFilter, type FilterEngines, type FlowFilter, type FlowMatcher } from "@axoneme/flow";

let engines: FilterEngines | undefined;
/** Fields whose values are regular expressions. */
const patterns = ["dns_query", "http_path", "http_url"] as const;

/**
 * Loads what evaluates CEL and regular expressions, if a filter has one: few do, and it is large. To be awaited before
 * filters of others are compiled.
 */
export async function loadEngines(...lists: readonly (readonly FlowFilter[] | undefined)[]): Promise<void> {
  if (engines !== undefined) return;
  const filters = lists.flatMap((list) => list ?? []);
  if (filters.some(needsEngines)) ({ filterEngines: engines } = await import("./engines.ts"));
}

function needsEngines(filter: FlowFilter): boolean {
  const values = [filter.experimental?.cel_expression, ...patterns.map((field) => filter[field])];
  return values.some((list) => list !== undefined && list.length > 0);
}

/** compileFilter with the engines that were loaded. */
export function compileFlowFilter(white?: readonly FlowFilter[], black?: readonly FlowFilter[]): FlowMatcher {
  return compileFilter(white, black, engines);
}

import { errorText } from "@axoneme/base";
import type { FlowFilter } from "@axoneme/flow";
import { FlowFilterSchema } from "@axoneme/proto";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";

/**
 * Filters of a configuration file, as an object of its YAML. Read through the schema, so that a filter misspelt is an error
 * and not a filter that matches everything.
 * @param bad makes the error: of which filter (`[0]: `) and why
 */
export function readFilters(value: unknown, bad: (why: string, cause?: unknown) => Error): FlowFilter[] {
  const list = value ?? [];
  if (!Array.isArray(list)) throw bad(" is not a list of filters");
  return list.map((item: unknown, i) => {
    try {
      const filter = fromJson(FlowFilterSchema, item as JsonValue);
      return toJson(FlowFilterSchema, filter, { useProtoFieldName: true }) as FlowFilter;
    } catch (error) {
      throw bad(`[${i}]: ${errorText(error)}`, error);
    }
  });
}

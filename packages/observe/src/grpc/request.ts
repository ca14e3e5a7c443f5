import { AxonError } from "@axoneme/base";
import type { FlowFilter, GetFlowsRequest } from "@axoneme/flow";
import {
  FlowFilterSchema,
  type GetAgentEventsRequest,
  type GetDebugEventsRequest,
  type GetFlowsRequest as WireRequest,
} from "@axoneme/proto";
import { toJson } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { EventsRequest } from "./client-types.ts";

function timeOf(field: string, time: Timestamp | undefined): string | undefined {
  if (time === undefined) return undefined;
  try {
    return toJson(TimestampSchema, time);
  } catch (cause) {
    throw new AxonError("observe.query_invalid", `query of flows: ${field} is not a time`, { cause });
  }
}

function filterOf(filter: WireRequest["whitelist"][number]): FlowFilter {
  return toJson(FlowFilterSchema, filter, { useProtoFieldName: true }) as FlowFilter;
}

/**
 * A request off the wire in the form the observer takes.
 * @throws AxonError `observe.query_invalid`
 */
export function flowsRequest(wire: WireRequest): GetFlowsRequest {
  const since = timeOf("since", wire.since);
  const until = timeOf("until", wire.until);
  return {
    number: limitOf(wire.number),
    first: wire.first,
    follow: wire.follow,
    whitelist: wire.whitelist.map(filterOf),
    blacklist: wire.blacklist.map(filterOf),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  };
}

/** More than can be counted is no limit. */
function limitOf(number: bigint): number {
  return number > BigInt(Number.MAX_SAFE_INTEGER) ? 0 : Number(number);
}

/**
 * A request for events of the agent or the datapath off the wire.
 * @throws AxonError `observe.query_invalid`
 */
export function eventsRequest(wire: GetAgentEventsRequest | GetDebugEventsRequest): EventsRequest {
  const since = timeOf("since", wire.since);
  const until = timeOf("until", wire.until);
  return {
    number: limitOf(wire.number),
    first: wire.first,
    follow: wire.follow,
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  };
}

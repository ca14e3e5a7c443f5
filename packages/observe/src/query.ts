import { AxonError, errorText } from "@axoneme/base";
import { type FlowFilter, parseTimestamp } from "@axoneme/flow";
import type { FlowsQuery, MonitorQuery } from "./api.ts";
import { compileFlowFilter } from "./expression/lazy.ts";
import type { EventsRequest } from "./grpc/client-types.ts";

function bad(what: string, why: string, cause?: unknown): AxonError {
  return new AxonError("observe.query_invalid", `query of ${what}: ${why}`, { cause });
}

function parseObject(what: string, text: string | null): Record<string, unknown> {
  if (text === null || text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(what, "q is not JSON", error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw bad(what, "q is not an object");
  return value as Record<string, unknown>;
}

/** A whole number that is not negative, from a number or (protojson) a text; undefined when absent. */
function wholeNumber(what: string, field: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const number = typeof value === "string" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number) || number < 0) {
    throw bad(what, `${field} is not a number of flows`);
  }
  return number;
}

function filters(field: string, value: unknown): readonly FlowFilter[] | undefined {
  if (value === undefined) return undefined;
  const objects = Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null);
  if (!objects) throw bad("flows", `${field} is not a list of filters`);
  for (const filter of value as Record<string, unknown>[]) {
    for (const [name, values] of Object.entries(filter)) {
      if (!Array.isArray(values)) throw bad("flows", `${field}: ${name} is not a list`);
    }
  }
  return value as FlowFilter[];
}

function timestamp(field: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw bad("flows", `${field} is not a time`);
  parseTimestamp(value);
  return value;
}

/**
 * Checks a request for flows, filters included.
 * @throws AxonError `observe.query_invalid`, `flow.filter_invalid`, `flow.selector_invalid`, `flow.time_invalid`: the
 * caller's fault (HTTP 400, gRPC INVALID_ARGUMENT)
 */
export function checkFlowsQuery(query: FlowsQuery): void {
  if (query.first === true && query.follow === true)
    throw bad("flows", "first and follow exclude each other");
  compileFlowFilter(query.whitelist, query.blacklist);
  if (query.since !== undefined) parseTimestamp(query.since);
  if (query.until !== undefined) parseTimestamp(query.until);
}

/**
 * Checks a request for events of the agent or the datapath.
 * @throws AxonError `observe.query_invalid`, `flow.time_invalid`
 */
export function checkEventsQuery({ first, follow, since, until }: EventsRequest): void {
  if (first === true && follow === true) throw bad("events", "first and follow exclude each other");
  if (since !== undefined) parseTimestamp(since);
  if (until !== undefined) parseTimestamp(until);
}

/** The `q` of /v1/flows (null: none), checked as by checkFlowsQuery. */
export function parseFlowsQuery(text: string | null): FlowsQuery {
  const raw = parseObject("flows", text);
  const query: FlowsQuery = {};
  const number = wholeNumber("flows", "number", raw["number"]);
  if (number !== undefined) query.number = number;
  if (raw["first"] === true) query.first = true;
  if (raw["follow"] === true) query.follow = true;
  const since = timestamp("since", raw["since"]);
  if (since !== undefined) query.since = since;
  const until = timestamp("until", raw["until"]);
  if (until !== undefined) query.until = until;
  const whitelist = filters("whitelist", raw["whitelist"]);
  if (whitelist !== undefined) query.whitelist = whitelist;
  const blacklist = filters("blacklist", raw["blacklist"]);
  if (blacklist !== undefined) query.blacklist = blacklist;
  checkFlowsQuery(query);
  return query;
}

const monitorTypes = ["drop", "trace", "policy-verdict", "trace-sock"] as const;

function numbers(field: string, value: unknown): number[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((item) => Number.isInteger(item))) {
    throw bad("events", `${field} is not a list of endpoint ids`);
  }
  return value;
}

/**
 * The `q` of /v1/events (null: none).
 * @throws AxonError `observe.query_invalid`
 */
export function parseMonitorQuery(text: string | null): MonitorQuery {
  const raw = parseObject("events", text);
  const query: MonitorQuery = {};
  if (raw["follow"] === true) query.follow = true;
  const last = wholeNumber("events", "last", raw["last"]);
  if (last !== undefined) query.last = last;
  const types = raw["type"];
  if (types !== undefined) {
    if (!Array.isArray(types)) throw bad("events", "type is not a list");
    query.type = types.map((type) => {
      const known = monitorTypes.find((name) => name === type);
      if (known === undefined)
        throw bad("events", `type ${errorText(type)} is not one of ${monitorTypes.join(", ")}`);
      return known;
    });
  }
  const from = numbers("from", raw["from"]);
  if (from !== undefined) query.from = from;
  const to = numbers("to", raw["to"]);
  if (to !== undefined) query.to = to;
  return query;
}

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { errorText } from "@axoneme/base";
import { compileFilter, type GetFlowsRequest, type GetFlowsResponse, parseTimestamp } from "@axoneme/flow";
import { usageError } from "../errors.ts";
import type { FlowSource } from "./source.ts";

/** Flows out of a file of JSON lines (what `-o json` and the exporter write); `-` is stdin. Filters apply. */
export function fileSource(path: string): FlowSource {
  return {
    isSeveral: true,
    check: () => undefined,
    flows: (request) => matching(path, request),
  };
}

async function* matching(path: string, request: GetFlowsRequest): AsyncGenerator<GetFlowsResponse, void> {
  const matcher = compileFilter(request.whitelist, request.blacklist);
  const since = request.since === undefined ? undefined : parseTimestamp(request.since);
  const until = request.until === undefined ? undefined : parseTimestamp(request.until);
  for await (const response of read(path)) {
    const time = response.time ?? response.flow?.time;
    const ns = time === undefined ? undefined : parseTimestamp(time);
    if (ns !== undefined && ((since !== undefined && ns < since) || (until !== undefined && ns > until)))
      continue;
    if (response.flow === undefined || matcher.matches(response.flow)) yield response;
  }
}

async function* read(path: string): AsyncGenerator<GetFlowsResponse, void> {
  const input = path === "-" ? process.stdin : createReadStream(path);
  let number = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (line.trim() !== "") yield JSON.parse(line) as GetFlowsResponse;
    }
  } catch (error) {
    throw usageError(`--input-file ${path}${number === 0 ? "" : `, line ${number}`}: ${errorText(error)}`);
  }
}

import { errorText } from "@axoneme/base";
import { type GetFlowsRequest, type GetFlowsResponse, timeFormats } from "@axoneme/flow";
import { checkFlowsQuery } from "@axoneme/observe";
import { Command, Option } from "commander";
import type { Context } from "../context.ts";
import { usageError } from "../errors.ts";
import { fileSource } from "../hubble/input.ts";
import { FlowPrinter, type FormatOptions } from "../hubble/printer.ts";
import { addServerOptions, type ServerOptions } from "../hubble/server.ts";
import { flowSource } from "../hubble/source.ts";
import { FilterBuilder } from "../observe/builder.ts";
import { addFilterFlags } from "../observe/flags.ts";
import { parseNumber, parseTime } from "../observe/values.ts";
import { examples } from "./help.ts";
import { agentEventsCommand, debugEventsCommand } from "./hubble-events.ts";

interface ObserveOptions extends ServerOptions, FormatOptions {
  follow?: boolean;
  last?: number;
  first?: number;
  all?: boolean;
  since?: string;
  until?: string;
  printRawFilters?: boolean;
  inputFile?: string;
  fieldMask?: string[];
}

/** `axon hubble observe`, with `flows` (the same), `agent-events` and `debug-events`. */
export function observeCommand(context: Context): Command {
  return flowsCommand(context, "observe")
    .enablePositionalOptions()
    .addCommand(flowsCommand(context, "flows").description("the same as `axon hubble observe`"))
    .addCommand(agentEventsCommand(context))
    .addCommand(debugEventsCommand(context));
}

function flowsCommand(context: Context, name: string): Command {
  const builder = new FilterBuilder();
  const command = new Command(name)
    .description("show flows: who talked to whom, what became of it, and which policy decided")
    .option("-f, --follow", "keep printing flows as they come")
    .option(
      "--last <n>",
      "the last N flows of each node (default 20 unless --follow, --since, --all)",
      parseNumber,
    )
    .option("--first <n>", "the oldest N flows of each node", parseNumber)
    .option("--all", "all flows that the nodes still hold")
    .option("--since <time>", "since then: a duration (5m) or an RFC 3339 time", (text) =>
      parseTime(text, context.now()),
    )
    .option("--until <time>", "until then: a duration ago or an RFC 3339 time", (text) =>
      parseTime(text, context.now()),
    )
    .addOption(
      new Option("-o, --output <format>", "output format")
        .choices(["compact", "dict", "json", "jsonpb", "tab", "table"])
        .default("compact"),
    )
    .option(
      "--print-node-name",
      "show the node of each flow (on by itself with several nodes, in table and compact)",
    )
    .option("--print-policy-names", "show the policies that decided (on by itself)")
    .option("--no-policy-names", "without the names of the policies that decided")
    .option("--print-processes", "show the processes that own the sockets of local pods")
    .option("--no-ip-translation", "addresses instead of the names of pods and Services")
    .option("--numeric", "the same")
    .addOption(new Option("--time-format <format>", "how times look").choices(timeFormats))
    .addOption(new Option("--color <when>", "colours").choices(["auto", "always", "never"]).default("auto"))
    .option("-s, --silent-errors", "nothing on stderr about nodes and losses")
    .option("--field-mask <path...>", "ask only for these fields of flows")
    .option("--input-file <file>", "flows out of a file of JSON lines in place of a server; - is stdin")
    .option("--print-raw-filters", "print the filters as JSON and end");
  addFilterFlags(command, builder);
  return addServerOptions(command)
    .addHelpText(
      "after",
      examples(
        ["axon hubble observe", "the last 20 flows"],
        ["axon hubble observe -f --verdict dropped", "what is dropped, as it happens"],
        ["axon hubble observe --to-pod default/web --port 80", "who talks to the web pods on port 80"],
        ["axon hubble observe --since 5m -t policy-verdict", "decisions of the last five minutes"],
        ["axon hubble observe --from-process curl --print-processes", "what curl did, in whichever pod"],
        ["axon hubble observe --not --namespace kube-system", "everything but kube-system"],
        ["axon hubble observe --last 5 -o json", "for scripts: one JSON object a line"],
        ["axon hubble observe --server tls://relay:4245 --tls-ca-cert-files ca.crt", "of another cluster"],
      ),
    )
    .action((options: ObserveOptions) => observe(context, options, builder));
}

async function observe(context: Context, options: ObserveOptions, builder: FilterBuilder): Promise<void> {
  const request = requestOf(options, builder);
  if (options.printRawFilters === true) {
    const lists = { allowlist: request.whitelist, denylist: request.blacklist };
    await context.stdout.write(`${JSON.stringify(lists, undefined, 2)}\n`);
    return;
  }
  const { inputFile, fieldMask = [] } = options;
  const source = inputFile === undefined ? flowSource(context, options) : fileSource(inputFile);
  const printer = new FlowPrinter(context, options, source.isSeveral);
  const done = new AbortController();
  const signal = AbortSignal.any([context.signal, done.signal]);
  const mask = fieldMask.flatMap((paths) => paths.split(","));
  try {
    const responses = source.flows(request, mask, signal);
    for await (const response of trimmed(responses, options, request)) await printer.print(response);
    source.check();
  } finally {
    done.abort();
  }
}

function requestOf(options: ObserveOptions, builder: FilterBuilder): GetFlowsRequest {
  const { follow, first, last, all, since, until, inputFile } = options;
  const exclusive = [
    first !== undefined && "--first",
    last !== undefined && "--last",
    all === true && "--all",
  ];
  const given = exclusive.filter((flag) => flag !== false);
  if (given.length > 1) throw usageError(`${given.join(" and ")} cannot be combined`);
  if (first !== undefined && follow === true) throw usageError("--first and --follow cannot be combined");
  if (until !== undefined && follow === true) throw usageError("--until and --follow cannot be combined");
  const filters = checked(builder.build());
  const request: GetFlowsRequest = { ...(follow === true ? { follow } : {}), ...filters };
  if (since !== undefined) request.since = since;
  if (until !== undefined) request.until = until;
  const isAll = all === true || inputFile !== undefined;
  if (first !== undefined) {
    request.first = true;
    request.number = first;
  } else if (last !== undefined) request.number = last;
  else if (follow !== true && !isAll && since === undefined && until === undefined) request.number = 20;
  return request;
}

/** Filters that no agent would take are the user's mistake: told once, before anybody is asked. */
function checked<T extends Pick<GetFlowsRequest, "whitelist" | "blacklist">>(filters: T): T {
  try {
    checkFlowsQuery(filters);
    return filters;
  } catch (error) {
    throw usageError(errorText(error), "see: axon hubble observe --help");
  }
}

/** Every node sends its last N: of all nodes together, the last N are wanted. */
async function* trimmed(
  responses: AsyncIterable<GetFlowsResponse>,
  options: ObserveOptions,
  request: GetFlowsRequest,
): AsyncGenerator<GetFlowsResponse, void> {
  const number = request.number ?? 0;
  if (number === 0 || options.follow === true) {
    yield* responses;
  } else if (request.first === true || request.since !== undefined) {
    let sent = 0;
    for await (const response of responses) {
      yield response;
      if (response.flow !== undefined && ++sent >= number) return;
    }
  } else {
    const kept: GetFlowsResponse[] = [];
    let flows = 0;
    for await (const response of responses) {
      kept.push(response);
      if (response.flow !== undefined) flows++;
    }
    for (const response of kept) if (response.flow === undefined || flows-- <= number) yield response;
  }
}

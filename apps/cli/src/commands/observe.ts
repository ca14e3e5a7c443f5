import { errorText } from "@axoneme/base";
import {
  flowCells,
  flowColumns,
  formatCompact,
  formatDict,
  type GetFlowsRequest,
  type GetFlowsResponse,
  type Paint,
  type PrintOptions,
} from "@axoneme/flow";
import { apiPath, checkFlowsQuery, queryOf } from "@axoneme/observe";
import { Command, Option } from "commander";
import { type AgentOptions, addAgentOptions, findAgents } from "../agents.ts";
import { AgentClient, type AgentRef } from "../client.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, formatError, usageError } from "../errors.ts";
import { FilterBuilder } from "../observe/builder.ts";
import { addFilterFlags } from "../observe/flags.ts";
import { mergeByTime } from "../observe/merge.ts";
import { parseNumber, parseTime } from "../observe/values.ts";
import { colorsOf } from "../output.ts";
import { TableStream } from "../table.ts";
import { examples } from "./help.ts";

const what = "cannot read the flows";
/** How long a flow waits for earlier ones of other nodes. */
const mergeWaitMs = 300;

interface ObserveOptions extends AgentOptions {
  follow?: boolean;
  last?: number;
  first?: number;
  all?: boolean;
  since?: string;
  until?: string;
  output: "compact" | "dict" | "json" | "jsonpb" | "table";
  printNodeName?: boolean;
  printRawFilters?: boolean;
  ipTranslation: boolean;
  policyNames: boolean;
}

/** `axon hubble observe`. */
export function observeCommand(context: Context): Command {
  const builder = new FilterBuilder();
  const command = new Command("observe")
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
        .choices(["compact", "dict", "json", "jsonpb", "table"])
        .default("compact"),
    )
    .option(
      "--print-node-name",
      "show the node of each flow (on by itself with several nodes, in table and compact)",
    )
    .option("--no-ip-translation", "addresses instead of the names of pods and Services")
    .option("--no-policy-names", "without the names of the policies that decided")
    .option("--print-raw-filters", "print the filters as JSON and end");
  addFilterFlags(command, builder);
  return addAgentOptions(command)
    .addHelpText(
      "after",
      examples(
        ["axon hubble observe", "the last 20 flows"],
        ["axon hubble observe -f --verdict dropped", "what is dropped, as it happens"],
        ["axon hubble observe --to-pod default/web --port 80", "who talks to the web pods on port 80"],
        ["axon hubble observe --since 5m -t policy-verdict", "decisions of the last five minutes"],
        ["axon hubble observe --not --namespace kube-system", "everything but kube-system"],
        ["axon hubble observe --last 5 -o json", "for scripts: one JSON object a line"],
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
  const agents = findAgents(context, options);
  const printer = new FlowPrinter(context, options, agents.length > 1);
  const done = new AbortController();
  const streams = new Streams(context, agents, request, AbortSignal.any([context.signal, done.signal]));
  try {
    const merged = mergeByTime(streams.all, mergeWaitMs);
    for await (const response of trimmed(merged, options, request)) await printer.print(response);
    streams.check();
  } finally {
    done.abort();
  }
}

function requestOf(options: ObserveOptions, builder: FilterBuilder): GetFlowsRequest {
  const { follow, first, last, all, since, until } = options;
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
  if (first !== undefined) {
    request.first = true;
    request.number = first;
  } else if (last !== undefined) request.number = last;
  else if (follow !== true && all !== true && since === undefined && until === undefined) request.number = 20;
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

/** The streams of all agents; a node that fails is told and ends, the others go on. */
class Streams {
  readonly all: AsyncIterable<GetFlowsResponse>[];
  readonly #context: Context;
  readonly #signal: AbortSignal;
  readonly #failures: unknown[] = [];

  constructor(context: Context, agents: readonly AgentRef[], request: GetFlowsRequest, signal: AbortSignal) {
    this.#context = context;
    this.#signal = signal;
    this.all = agents.map((agent) => this.#one(agent, apiPath.flows + queryOf(request)));
  }

  /** Throws if no stream worked. */
  check(): void {
    if (this.#failures.length > 0 && this.#failures.length === this.all.length) throw this.#failures[0];
  }

  async *#one(agent: AgentRef, path: string): AsyncGenerator<GetFlowsResponse, void> {
    const client = new AgentClient(agent);
    try {
      yield* client.lines<GetFlowsResponse>(path, what, this.#signal);
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#failures.push(error);
      if (this.#failures.length === this.all.length) throw error;
      await this.#context.stderr.write(`${formatError(error)}\n`);
      this.#context.setExitCode(error instanceof CliError ? error.exit : exitCode.failed);
    } finally {
      client.close();
    }
  }
}

/** Writes flows in the wanted format. */
class FlowPrinter {
  readonly #context: Context;
  readonly #options: ObserveOptions;
  readonly #print: PrintOptions;
  readonly #table: TableStream;
  #first = true;

  constructor(context: Context, options: ObserveOptions, several: boolean) {
    this.#context = context;
    this.#options = options;
    this.#print = {
      nodeName: options.printNodeName === true || (several && options.output === "table"),
      numeric: !options.ipTranslation,
      policyNames: options.policyNames,
      paint: paintOf(context),
    };
    const node = this.#print.nodeName === true ? [8] : [];
    this.#table = new TableStream(flowColumns(this.#print), [19, ...node, 36, 36, 28, 9, 14]);
  }

  async print(response: GetFlowsResponse): Promise<void> {
    if (response.flow === undefined && !this.#options.output.startsWith("json")) {
      await this.#context.stderr.write(`${formatCompact(response, this.#print)}\n`);
      return;
    }
    await this.#context.stdout.write(this.#text(response));
    this.#first = false;
  }

  #text(response: GetFlowsResponse): string {
    switch (this.#options.output) {
      case "json":
      case "jsonpb":
        return `${JSON.stringify(response)}\n`;
      case "dict":
        return `${this.#first ? "" : "------------\n"}${formatDict(response, this.#print)}\n`;
      case "table":
        return this.#table.row(flowCells(response, this.#print));
      default:
        return `${formatCompact(response, this.#print)}\n`;
    }
  }
}

function paintOf(context: Context): Paint {
  const colors = colorsOf(context);
  const by: Record<Parameters<Paint>[0], (text: string) => string> = {
    host: colors.cyan,
    port: colors.yellow,
    identity: colors.magenta,
    forwarded: colors.green,
    dropped: colors.red,
    audit: colors.yellow,
    policy: colors.bold,
  };
  return (kind, text) => by[kind](text);
}

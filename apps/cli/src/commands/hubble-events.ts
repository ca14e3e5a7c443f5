import { timeText } from "@axoneme/flow";
import type { AgentEventResponse, DebugEventResponse, EventsRequest, HubbleClient } from "@axoneme/observe";
import { Command, Option } from "commander";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { addServerOptions, agentSockets, type ServerOptions, withServer } from "../hubble/server.ts";
import { parseNumber, parseTime } from "../observe/values.ts";
import { examples } from "./help.ts";

interface EventsOptions extends ServerOptions {
  follow?: boolean;
  last?: number;
  first?: number;
  all?: boolean;
  since?: string;
  until?: string;
  output: "compact" | "json" | "jsonpb";
  printNodeName?: boolean;
}

function eventsCommand(context: Context, name: string, description: string): Command {
  const command = new Command(name)
    .description(description)
    .option("-f, --follow", "keep printing events as they come")
    .option("--last <n>", "the last N (default 20 unless --follow, --since, --all)", parseNumber)
    .option("--first <n>", "the oldest N", parseNumber)
    .option("--all", "all that are still held")
    .option("--since <time>", "since then: a duration (5m) or an RFC 3339 time", (text) =>
      parseTime(text, context.now()),
    )
    .option("--until <time>", "until then: a duration ago or an RFC 3339 time", (text) =>
      parseTime(text, context.now()),
    )
    .addOption(
      new Option("-o, --output <format>", "output format")
        .choices(["compact", "json", "jsonpb"])
        .default("compact"),
    )
    .option("--print-node-name", "show the node of each event");
  return addServerOptions(command);
}

/** `axon hubble observe agent-events`. */
export function agentEventsCommand(context: Context): Command {
  return eventsCommand(
    context,
    "agent-events",
    "what agents did: policies, endpoints, addresses and Services that changed",
  )
    .addHelpText(
      "after",
      examples(
        ["axon hubble observe agent-events -f", "what changes now"],
        ["axon hubble observe agent-events --node node1 -o json", "of one node, for scripts"],
      ),
    )
    .action((options: EventsOptions) =>
      run(context, options, (client, request, signal) => client.agentEvents(request, signal)),
    );
}

/** `axon hubble observe debug-events`. */
export function debugEventsCommand(context: Context): Command {
  return eventsCommand(
    context,
    "debug-events",
    "what the datapath did with packets: services, conntrack, policy, where they went",
  )
    .addHelpText(
      "after",
      examples(
        ["axon hubble observe debug-events -f", "what is done with packets now"],
        ["axon hubble observe debug-events --node node1 --since 1m -o json", "of one node, for scripts"],
      ),
    )
    .action((options: EventsOptions) =>
      run(context, options, (client, request, signal) => client.debugEvents(request, signal)),
    );
}

type DebugEvent = NonNullable<DebugEventResponse["debug_event"]>;
type EventResponse = AgentEventResponse & DebugEventResponse;

type Ask = (
  client: HubbleClient,
  request: EventsRequest,
  signal: AbortSignal,
) => AsyncIterable<EventResponse>;

/** Events are each node's own: without a server named, all agents are asked and their lines come as they come. */
async function run(context: Context, options: EventsOptions, ask: Ask): Promise<void> {
  const request = requestOf(options);
  const named = options.server ?? context.env["HUBBLE_SERVER"];
  const servers =
    named === undefined || named === "" ? agentSockets(context, options) : [{ node: "", server: named }];
  const isSeveral = servers.length > 1 || options.printNodeName === true;
  await Promise.all(
    servers.map(({ server }) =>
      withServer(context, server, options, "cannot read the events", async (client) => {
        try {
          for await (const event of ask(client, request, context.signal)) {
            await context.stdout.write(`${lineOf(event, options, isSeveral)}\n`);
          }
        } catch (error) {
          if (!context.signal.aborted) throw notServed(error, server);
        }
      }),
    ),
  );
}

function notServed(error: unknown, server: string): unknown {
  const { status, message } = error as { status?: number; message?: string };
  if (status !== 12) return error;
  return new CliError(exitCode.failed, {
    what: "such events are not served",
    object: server,
    cause: message,
  });
}

function requestOf({ follow, first, last, all, since, until }: EventsOptions): EventsRequest {
  if (first !== undefined && last !== undefined) throw usageError("--first and --last cannot be combined");
  if (first !== undefined && follow === true) throw usageError("--first and --follow cannot be combined");
  const isOpen = follow === true || all === true || since !== undefined || until !== undefined;
  const number = first ?? last ?? (isOpen ? undefined : 20);
  return {
    ...(follow === true ? { follow } : {}),
    ...(first === undefined ? {} : { first: true }),
    ...(number === undefined ? {} : { number }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  };
}

function lineOf(event: EventResponse, options: EventsOptions, isSeveral: boolean): string {
  if (options.output !== "compact") return JSON.stringify(event);
  const node = isSeveral && event.node_name !== undefined ? ` [${event.node_name}]` : "";
  if (event.debug_event !== undefined)
    return `${timeText(event.time ?? "")}${node}: ${debugText(event.debug_event)}`;
  const { type = "AGENT_EVENT_UNKNOWN", ...rest } = event.agent_event ?? {};
  return `${timeText(event.time ?? "")}${node}: ${type} ${Object.values(rest).map(detailsOf).join(" ")}`.trimEnd();
}

/** The mark is the same for all that is said of a connection. */
function debugText({ type = "DBG_EVENT_UNKNOWN", source, hash = 0, message = "", cpu }: DebugEvent): string {
  const pod = source?.pod_name === undefined ? undefined : `${source.namespace ?? ""}/${source.pod_name}`;
  const about = pod ?? (source?.ID === undefined ? "" : `endpoint ${source.ID}`);
  const mark = `mark 0x${hash.toString(16).padStart(8, "0")}`;
  return [about, type, mark, ...(cpu === undefined ? [] : [`cpu ${cpu}`]), message].filter(Boolean).join(" ");
}

/** `key=value` of what an event tells. */
function detailsOf(notice: unknown): string {
  return Object.entries(notice as Record<string, unknown>)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}

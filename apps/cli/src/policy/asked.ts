import { readFileSync } from "node:fs";
import type { Flow, FlowEndpoint, GetFlowsResponse } from "@axoneme/flow";
import { apiPath, queryOf } from "@axoneme/observe";
import { type AgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type L4, parseL4 } from "./ports.ts";

/** A connection in question. */
export interface Asked {
  readonly from: string;
  readonly to: string;
  readonly l4: L4;
  /** The flow that is asked about. */
  readonly seen?: Flow;
}

/** Where a question comes from: words, a recorded flow, or flows in a file. */
export interface AskedOptions extends AgentOptions {
  readonly flow?: string;
  readonly file?: string;
}

/** What is asked. @throws CliError usage, not found */
export async function questionsOf(
  context: Context,
  options: AskedOptions,
  [from, to, port]: readonly (string | undefined)[],
): Promise<Asked[]> {
  if (options.file !== undefined) return flowsIn(options.file).flatMap((flow) => askedOf(flow) ?? []);
  if (options.flow !== undefined) {
    const asked = askedOf(await recorded(context, options, options.flow));
    if (asked !== undefined) return [asked];
    throw usageError(
      "this flow begins no connection",
      "name one that is no answer and has a protocol with ports, or ICMP",
    );
  }
  if (from !== undefined && to !== undefined) return [{ from, to, l4: parseL4(port) }];
  throw usageError(
    "who connects, and to whom?",
    "axon why shop/cart shop/db 5432, or --flow <uuid>, or -f <file>",
  );
}

function flowsIn(file: string): Flow[] {
  let text: string;
  try {
    text = readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (cause) {
    throw new CliError(exitCode.failed, { what: "cannot read the flows", object: file, cause });
  }
  const flows = text.split("\n").flatMap((line, i): Flow[] => {
    if (line.trim() === "") return [];
    try {
      const value = JSON.parse(line) as GetFlowsResponse & Partial<Flow>;
      return value.flow ? [value.flow] : value.uuid === undefined ? [] : [value as Flow];
    } catch (cause) {
      const fix = "it takes what `axon hubble observe -o json` prints: an object a line";
      throw new CliError(exitCode.usage, {
        what: "cannot read the flows",
        object: `${file}, line ${i + 1}`,
        cause,
        fix,
      });
    }
  });
  if (flows.some((flow) => askedOf(flow) !== undefined)) return flows;
  throw usageError(
    "no flow in it begins a connection",
    "answers are not judged: they pass where their question did",
  );
}

async function recorded(context: Context, options: AgentOptions, uuid: string): Promise<Flow> {
  const path = apiPath.flows + queryOf({ whitelist: [{ uuid: [uuid] }] });
  const answers = await askAll(context, options, async (client) => {
    for await (const { flow } of client.lines<GetFlowsResponse>(
      path,
      "cannot read the flows",
      context.signal,
    )) {
      if (flow !== undefined) return flow;
    }
    return undefined;
  });
  const found = answers.find(({ value }) => value !== undefined)?.value;
  if (found !== undefined) return found;
  const fix = "nodes hold their latest flows only; of flows that were saved, ask with -f";
  throw new CliError(exitCode.notFound, { what: "no such flow", object: uuid, fix });
}

function askedOf(flow: Flow): Asked | undefined {
  const { source, destination, IP, l4, is_reply: isReply } = flow;
  const name = (end: FlowEndpoint | undefined, ip: string | undefined) =>
    end?.pod_name ? `${end.namespace ?? "default"}/${end.pod_name}` : ip;
  const [from, to] = [name(source, IP?.source), name(destination, IP?.destination)];
  if (isReply === true || flow.Type === "L7" || from === undefined || to === undefined) return undefined;
  const ports = [
    ["tcp", l4?.TCP],
    ["udp", l4?.UDP],
    ["sctp", l4?.SCTP],
  ] as const;
  for (const [protocol, port] of ports) {
    if (port?.destination_port) {
      return { from, to, l4: parseL4(`${port.destination_port}/${protocol}`), seen: flow };
    }
  }
  const [kind, message] = l4?.ICMPv6 ? ["icmpv6", l4.ICMPv6] : ["icmp", l4?.ICMPv4];
  return message && { from, to, l4: parseL4(`${kind}/${message.type ?? 0}`), seen: flow };
}

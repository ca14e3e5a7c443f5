import { timeText } from "@axoneme/flow";
import { apiPath, type MonitorLine, type MonitorQuery, type MonitorRecord, queryOf } from "@axoneme/observe";
import { Command, InvalidArgumentError, Option } from "commander";
import { type AgentOptions, addAgentOptions, findAgents } from "../agents.ts";
import { AgentClient, type AgentRef } from "../client.ts";
import type { Context } from "../context.ts";
import { examples } from "./help.ts";

interface MonitorOptions extends AgentOptions {
  type?: NonNullable<MonitorQuery["type"]>;
  from?: number[];
  to?: number[];
  last?: number;
  follow: boolean;
  output: "text" | "json";
}

function endpointIds(text: string, before: number[] | undefined): number[] {
  const id = Number(text);
  if (!Number.isInteger(id) || id < 1 || id > 65535)
    throw new InvalidArgumentError("It must be an endpoint id (1..65535).");
  return [...(before ?? []), id];
}

/** `axon monitor`: records as the datapath writes them. */
export function monitorCommand(context: Context): Command {
  return addAgentOptions(new Command("monitor"))
    .description("watch the datapath's records as they come, undigested; Ctrl-C ends")
    .addOption(
      new Option("-t, --type <type...>", "only records of these types").choices([
        "drop",
        "trace",
        "policy-verdict",
        "trace-sock",
      ]),
    )
    .option("--from <endpoint>", "only records from this endpoint id (repeatable)", endpointIds)
    .option("--to <endpoint>", "only records to this endpoint id (repeatable)", endpointIds)
    .option("--last <n>", "begin with the last N records", (text) => {
      if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be a number.");
      return Number(text);
    })
    .option("--no-follow", "print what is there and end")
    .addOption(new Option("-o, --output <format>", "output format").choices(["text", "json"]).default("text"))
    .addHelpText(
      "after",
      examples(
        ["axon monitor --type drop", "drops as they happen, with their reason"],
        ["axon monitor --from 42 --last 10", "what endpoint 42 sends"],
        ["axon monitor --no-follow --last 50 -o json", "the last 50 records, one JSON object a line"],
      ),
    )
    .action(async (options: MonitorOptions) => {
      const agents = findAgents(context, options);
      const several = agents.length > 1;
      await Promise.all(agents.map((agent) => watch(context, agent, options, several)));
    });
}

async function watch(
  context: Context,
  agent: AgentRef,
  options: MonitorOptions,
  several: boolean,
): Promise<void> {
  const query: MonitorQuery = { follow: options.follow };
  if (options.last !== undefined) query.last = options.last;
  if (options.type !== undefined) query.type = options.type;
  if (options.from !== undefined) query.from = options.from;
  if (options.to !== undefined) query.to = options.to;
  const client = new AgentClient(agent);
  try {
    const path = apiPath.events + queryOf(query);
    for await (const line of client.lines<MonitorLine>(path, "cannot read the records", context.signal)) {
      const node = several ? agent.node : "";
      const text =
        options.output === "json"
          ? JSON.stringify({ ...(node === "" ? {} : { node }), ...line })
          : lineText(line, node);
      await context.stdout.write(`${text}\n`);
    }
  } finally {
    client.close();
  }
}

function lineText(line: MonitorLine, node: string): string {
  const where = node === "" ? "" : ` [${node}]`;
  if ("lost" in line) return `--${where} ${line.lost} records lost: this reader is too slow`;
  return `${timeText(line.record.time)}${where} ${recordText(line.record)}`;
}

function recordText(record: MonitorRecord): string {
  const words: string[] = [record.type];
  if (record.subtype !== "") words.push(record.type === "drop" ? `"${record.subtype}"` : record.subtype);
  if (record.reason !== undefined) words.push(record.reason);
  words.push(record.protocol, record.source, "->", record.destination);
  if (record.original !== undefined) words.push(`(dialled ${record.original})`);
  if (record.tcpFlags !== undefined && record.tcpFlags !== "") words.push(`flags ${record.tcpFlags}`);
  if (record.icmp !== undefined) words.push(record.icmp);
  words.push(`identity ${record.srcIdentity}->${record.dstIdentity}`);
  words.push(`endpoint ${record.srcEndpoint}->${record.dstEndpoint}`);
  if (record.ruleEgress !== 0) words.push(`egress-rule ${record.ruleEgress}`);
  if (record.ruleIngress !== 0) words.push(`ingress-rule ${record.ruleIngress}`);
  if (record.flags.length > 0) words.push(`[${record.flags.join(",")}]`);
  if (record.ifindex !== 0) words.push(`if ${record.interface ?? record.ifindex}`);
  words.push(`${record.length} bytes`, `cpu ${record.cpu}`);
  return words.join(" ");
}

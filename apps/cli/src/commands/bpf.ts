import { apiPath, type MapDumpView, type MapName, mapNames, statNames } from "@axoneme/observe";
import { Command, InvalidArgumentError } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { flushCommand, statCommand } from "./bpf-maintain.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";

const says: Record<MapName, string> = {
  endpoints: "local endpoints by address",
  ipcache: "prefix to identity and node (LPM)",
  cidrs: "prefixes that rules name, and the numbers that policy rows know them by (LPM)",
  policy: "rows of all distinct policies",
  ct: "connection tracking",
  nat: "source NAT mappings",
  lb: "services, slots and backends",
  frags: "ports of fragmented datagrams",
  metrics: "packets and bytes by drop reason and direction",
  config: "the node's run-time configuration",
};

interface BpfOptions extends AgentOptions, OutputOptions {
  limit?: number;
}

/** `axon bpf <map> list`: what is in the kernel, whatever the agent believes. */
export function bpfCommand(context: Context): Command {
  const bpf = new Command("bpf").description("contents of the kernel maps, decoded");
  for (const name of mapNames) bpf.addCommand(mapCommand(context, name));
  return bpf.addHelpText(
    "after",
    examples(
      ["axon bpf ct list --limit 20", "twenty connections of every node"],
      ["axon bpf policy list --node node1", "policy rows in the kernel of node1"],
      ["axon bpf metrics list -o json", "counters by reason and direction"],
      ["axon bpf nat stat", "source ports in use, by CPU"],
      ["axon bpf ct flush --node node1", "forget the connections of node1"],
    ),
  );
}

function mapCommand(context: Context, name: MapName): Command {
  const list = addAgentOptions(new Command("list"))
    .alias("ls")
    .description(`list ${says[name]}`)
    .option("--limit <rows>", "at most this many rows of each node", parseLimit)
    .addOption(outputOption())
    .action(async (options: BpfOptions) => {
      const limit = options.limit === undefined ? "" : `?limit=${options.limit}`;
      const answers = await askAll(context, options, (client) =>
        client.get<MapDumpView>(
          `${apiPath.maps}/${name}${limit}`,
          `cannot read the map ${name}`,
          context.signal,
        ),
      );
      await printMaps(context, options, answers);
    });
  const map = new Command(name).description(says[name]).addCommand(list);
  const kept = statNames.find((stat) => stat === name);
  return kept ? map.addCommand(statCommand(context, kept)).addCommand(flushCommand(context, kept)) : map;
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new InvalidArgumentError("It must be a positive number.");
  return limit;
}

async function printMaps(
  context: Context,
  options: BpfOptions,
  answers: readonly Answer<MapDumpView>[],
): Promise<void> {
  if (options.output !== "table") {
    const shown = answers.map(({ node, value }) => withNode(node, value));
    await printData(context, options.output, shown);
    return;
  }
  const several = answers.length > 1;
  const columns = [...new Set(answers.flatMap(({ value }) => value.columns))];
  const header = columns.map((column) => column.replace(/(?<=[a-z])(?=[A-Z])/g, "-").toUpperCase());
  const rows = answers.flatMap(({ node, value }) =>
    value.rows.map((row) => {
      const cells = columns.map((column) => orDash(row[column] === undefined ? undefined : `${row[column]}`));
      return several ? [node, ...cells] : cells;
    }),
  );
  if (rows.length > 0) await context.stdout.write(formatTable(several ? ["NODE", ...header] : header, rows));
  for (const { node, value } of answers) {
    const where = node === "" ? "" : `${node}: `;
    const cut = value.truncated === true ? `, the first ${value.rows.length} shown` : "";
    // A map of one row that is shown as several (config) is not used to a part.
    const used =
      value.entries > value.maxEntries
        ? `${value.entries} rows`
        : `${value.entries} of ${value.maxEntries} entries used`;
    await context.stderr.write(`${where}${used}${cut}\n`);
  }
}

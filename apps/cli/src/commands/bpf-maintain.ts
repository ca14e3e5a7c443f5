import { apiPath, type FlushView, type MapStatView, type StatName } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll, findAgents } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";

const flushes: Record<StatName, { short: string; long: string }> = {
  ct: {
    short: "forget all connections; live ones are judged by policy again, replies to gone ones are dropped",
    long: "Connections that policy no longer allows end; those translated to a Service lose their backend.",
  },
  nat: {
    short: "forget all source translations; connections that leave the node translated break",
    long: "Connections of pods to the world and of Services to other nodes have to be made anew.",
  },
  lb: {
    short: "forget which client had which backend, and the flows from outside that are balanced",
    long: "Clients may get another backend, and connections from outside to other nodes break. No Service is missing.",
  },
};

/** `axon bpf <name> stat`. */
export function statCommand(context: Context, name: StatName): Command {
  return addAgentOptions(new Command("stat"))
    .description("how full the maps are, what was refused for want of room, and the source ports in use")
    .addOption(outputOption())
    .addHelpText("after", examples([`axon bpf ${name} stat`, "of every node"]))
    .action(async (options: AgentOptions & OutputOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<MapStatView>(
          `${apiPath.stat}/${name}`,
          `cannot read the state of ${name}`,
          context.signal,
        ),
      );
      if (options.output === "table") await printStat(context, answers);
      else
        await printData(
          context,
          options.output,
          answers.map(({ node, value }) => withNode(node, value)),
        );
    });
}

async function printStat(context: Context, answers: readonly Answer<MapStatView>[]): Promise<void> {
  const several = answers.length > 1;
  const table = (header: readonly string[], rows: (view: MapStatView) => readonly (readonly string[])[]) => {
    const cells = answers.flatMap(({ node, value }) =>
      rows(value).map((row) => (several ? [node, ...row] : row)),
    );
    return cells.length === 0 ? [] : [formatTable(several ? ["NODE", ...header] : header, cells)];
  };
  const parts = [
    ...table(["MAP", "ENTRIES", "CAPACITY", "USED", "GROWS-TO"], ({ maps }) =>
      maps.map(({ name, entries, capacity, limit }) => [
        name,
        `${entries}`,
        `${capacity}`,
        `${((100 * entries) / Math.max(1, capacity)).toFixed(1)}%`,
        limit === undefined ? "-" : `${limit}`,
      ]),
    ),
    ...table(
      ["CPU", "PORTS", "MAPPINGS", "ALLOCATED", "OF-OTHER-CPUS", "NO-PORT", "TABLE-FULL"],
      ({ pools }) =>
        (pools ?? []).map((pool) => [
          `${pool.cpu}`,
          `${pool.first}-${pool.last}`,
          `${pool.mappings}`,
          `${pool.allocated}`,
          `${pool.stolen}`,
          `${pool.noPort}`,
          `${pool.tableFull}`,
        ]),
    ),
    ...table(["COUNTER", "VALUE"], ({ figures }) =>
      Object.entries(figures).map(([figure, value]) => [figure, `${value}`]),
    ),
  ];
  await context.stdout.write(parts.join("\n"));
}

interface FlushOptions extends AgentOptions, OutputOptions {
  yes?: boolean;
}

/** `axon bpf <name> flush`. */
export function flushCommand(context: Context, name: StatName): Command {
  const { short, long } = flushes[name];
  return addAgentOptions(new Command("flush"))
    .description(short)
    .option("-y, --yes", "do not ask")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `\n${long}\nIt asks before it does so; without a terminal it wants --yes.\n${examples(
        [`axon bpf ${name} flush --node node1`, "on one node, after a question"],
        [`axon bpf ${name} flush --yes`, "on all nodes, at once"],
      )}`,
    )
    .action(async (options: FlushOptions) => {
      await confirm(context, options, name);
      const answers = await askAll(context, options, (client) =>
        client.post<FlushView>(`${apiPath.flush}/${name}`, `cannot flush ${name}`, context.signal),
      );
      if (options.output !== "table") {
        await printData(
          context,
          options.output,
          answers.map(({ node, value }) => withNode(node, value)),
        );
        return;
      }
      for (const { node, value } of answers) {
        const where = node === "" ? "" : `${node}: `;
        const removed = Object.entries(value.removed).map(([map, rows]) => `${rows} of ${map}`);
        await context.stdout.write(`${where}removed ${removed.join(", ")}\n`);
      }
    });
}

async function confirm(context: Context, options: FlushOptions, name: StatName): Promise<void> {
  if (options.yes === true) return;
  const nodes = findAgents(context, options).map(({ node, socket }) => node || socket);
  if (context.confirm === undefined)
    throw usageError(`${name} is not flushed without a word`, "there is no terminal to ask on: add --yes");
  const question = `Flush ${name} on ${nodes.join(", ")}? ${flushes[name].long} [y/N] `;
  if (await context.confirm(question)) return;
  throw new CliError(exitCode.failed, { what: "nothing was flushed", cause: "the answer was not yes" });
}

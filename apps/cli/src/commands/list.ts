import type { Command } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { type OutputOptions, outputOption, print, printData } from "../output.ts";

/** A command that prints a list which every agent has. */
export interface ListSpec<T> {
  readonly command: Command;
  readonly path: string;
  /** Begins errors: "cannot read the endpoints". */
  readonly what: string;
  readonly header: readonly string[];
  readonly row: (item: T, context: Context) => readonly string[];
  /** Rows of several nodes that are about the same thing (an identity, a prefix) stand together, in this order. */
  readonly orderBy?: (item: T) => string;
  readonly empty: string;
}

/** Adds the options, the request and the printing of a list command. */
export function listCommand<T extends object>(context: Context, spec: ListSpec<T>): Command {
  return addAgentOptions(spec.command)
    .addOption(outputOption())
    .action(async (options: AgentOptions & OutputOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<T[]>(spec.path, spec.what, context.signal),
      );
      await printAnswers(context, options, answers, spec);
    });
}

/**
 * Prints the lists of several nodes as one: a NODE column when there are several; rows that all (or some) nodes have
 * alike are one row. As JSON or YAML every object carries its node.
 */
export async function printAnswers<T extends object>(
  context: Context,
  options: OutputOptions,
  answers: readonly Answer<readonly T[]>[],
  view: Pick<ListSpec<T>, "header" | "row" | "orderBy" | "empty">,
): Promise<void> {
  if (options.output !== "table") {
    await printData(
      context,
      options.output,
      answers.flatMap(({ node, value }) => value.map((item) => withNode(node, item))),
    );
    return;
  }
  const rows = collapse(answers, (item: T) => ({
    cells: view.row(item, context),
    order: view.orderBy?.(item) ?? "",
  }));
  // Stable: without an order, nodes follow one another as they were asked.
  rows.sort((a, b) => a.order.localeCompare(b.order, "en", { numeric: true }));
  const several = answers.length > 1;
  await print(context, options, rows, {
    header: several ? ["NODE", ...view.header] : view.header,
    row: ({ nodes, cells }) =>
      several ? [nodes.length === answers.length ? "all" : nodes.join(","), ...cells] : cells,
    empty: view.empty,
  });
}

/** The object with the node it comes from in front. */
export function withNode<T extends object>(node: string, item: T): T | ({ node: string } & T) {
  return node === "" ? item : { node, ...item };
}

interface Cells {
  cells: readonly string[];
  order: string;
}

interface Row extends Cells {
  nodes: string[];
}

function collapse<T>(answers: readonly Answer<readonly T[]>[], cellsOf: (item: T) => Cells): Row[] {
  const rows = new Map<string, Row>();
  for (const { node, value } of answers) {
    for (const [i, item] of value.entries()) {
      const made = cellsOf(item);
      const text = made.cells.join("\u0000");
      const known = rows.get(text);
      // The same row twice from one node is two rows.
      if (known !== undefined && !known.nodes.includes(node)) known.nodes.push(node);
      else rows.set(known === undefined ? text : `${text}\u0000${node}${i}`, { nodes: [node], ...made });
    }
  }
  return [...rows.values()];
}

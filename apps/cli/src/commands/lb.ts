import { apiPath, type MaglevView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { type OutputOptions, outputOption } from "../output.ts";
import { examples } from "./help.ts";
import { printAnswers } from "./list.ts";
import { serviceName } from "./service-get.ts";
import { hostPort } from "./service-list.ts";

/** `axon lb maglev [namespace/name]`. */
export function lbCommand(context: Context): Command {
  const maglev = addAgentOptions(new Command("maglev"))
    .description("show the Maglev tables in the kernel: their sizes and each backend's share")
    .argument("[service]", "namespace/name; default: all Services that use Maglev")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
All nodes hold the same table for the same backends, so that a packet may come in at any of them. How many slots a
backend has beyond its fair share shows how even the table is; small Services get small tables.
${examples(
  ["axon lb maglev", "all tables"],
  ["axon lb maglev shop/web", "of one Service"],
  ["axon lb maglev -o json", "for scripts that compare nodes"],
)}`,
    )
    .action(async (name: string | undefined, options: AgentOptions & OutputOptions) => {
      const wanted = name === undefined ? undefined : serviceName(name);
      const path =
        wanted === undefined ? apiPath.maglev : `${apiPath.maglev}?name=${encodeURIComponent(wanted)}`;
      const answers = await askAll(context, options, (client) =>
        client.get<MaglevView[]>(path, "cannot read the Maglev tables", context.signal),
      );
      if (wanted !== undefined && answers.every(({ value }) => value.length === 0)) {
        throw new CliError(exitCode.notFound, {
          what: "no Maglev table",
          object: wanted,
          fix: "set the annotation service.cilium.io/lb-algorithm: maglev, or loadBalancerAlgorithm; see `axon service get`",
        });
      }
      if (options.output !== "table") {
        await printAnswers(context, options, answers, { header: [], row: () => [], empty: "" });
        return;
      }
      const flat = answers.map(({ node, value }) => ({ node, value: value.flatMap(rowsOf) }));
      await printAnswers(context, options, flat, {
        header: ["SERVICE", "FRONTEND", "SIZE", "BACKEND", "SLOTS", "SHARE"],
        row: ({ cells }) => cells,
        orderBy: ({ cells }) => cells.slice(0, 2).join(" "),
        empty: "no Service uses Maglev",
      });
    });
  return new Command("lb").description("load balancing: what is in its tables").addCommand(maglev);
}

function rowsOf({ namespace, name, frontends, size, backends }: MaglevView): { cells: string[] }[] {
  const [first = "-", ...others] = frontends;
  const of = [
    `${namespace}/${name}`,
    others.length === 0 ? first : `${first} and ${others.length} more`,
    `${size}`,
  ];
  return backends.map(({ address, port, slots, share }) => ({
    cells: [...of, hostPort(address, port), `${slots}`, `${(share * 100).toFixed(2)}%`],
  }));
}

import { apiPath, type EndpointView, type IpamPoolView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { ageText, type OutputOptions, outputOption } from "../output.ts";
import { examples } from "./help.ts";
import { listCommand, printAnswers } from "./list.ts";

/** `axon ipam list|fixed`. */
export function ipamCommand(context: Context): Command {
  const list = listCommand<IpamPoolView>(context, {
    command: new Command("list").alias("ls").description("list the pools that pods get addresses of"),
    path: apiPath.ipam,
    what: "cannot read the pools",
    header: ["POOL", "FAMILY", "USED", "RESTING", "CAPACITY", "CIDRS"],
    row: ({ pool, family, used, resting, capacity, cidrs }) => [
      pool,
      `IPv${family}`,
      `${used}`,
      `${resting}`,
      capacity,
      cidrs.join(","),
    ],
    empty: "no pod CIDRs yet",
  }).addHelpText(
    "after",
    examples(
      ["axon ipam list", "pools of every node, and how full they are"],
      ["axon ipam list --node node1 -o json", "of one node, as JSON"],
    ),
  );
  return new Command("ipam")
    .description("pod addresses: the pools of nodes, and addresses that stay with a pod's name")
    .addCommand(list)
    .addCommand(fixedCommand(context));
}

function fixedCommand(context: Context): Command {
  return addAgentOptions(new Command("fixed"))
    .description("list the pods that run with addresses of their name")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `${examples(
        ["axon ipam fixed", "which node each of them is on"],
        ["axon ipam fixed -o yaml", "as YAML"],
      )}\nThose without a pod now are in \`kubectl get fixedaddresses -A\`.\n`,
    )
    .action(async (options: AgentOptions & OutputOptions) => {
      const answers = await askAll(context, options, (client) =>
        client.get<EndpointView[]>(apiPath.endpoints, "cannot read the endpoints", context.signal),
      );
      const fixed = answers.map(({ node, value }) => ({
        node,
        value: value
          .filter(({ fixedAddresses }) => fixedAddresses !== undefined)
          .map(({ namespace, pod, fixedAddresses = [], created }) => ({
            namespace,
            pod,
            addresses: fixedAddresses,
            created,
          })),
      }));
      await printAnswers(context, options, fixed, {
        header: ["POD", "ADDRESSES", "AGE"],
        row: ({ namespace, pod, addresses, created }, { now }) => [
          `${namespace}/${pod}`,
          addresses.join(","),
          ageText(now(), created),
        ],
        empty: "no pod has fixed addresses",
      });
    });
}

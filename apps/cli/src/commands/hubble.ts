import { apiPath, type ServerStatus, type StatusResponse } from "@axoneme/observe";
import { Command } from "commander";
import type { AgentOptions } from "../agents.ts";
import { addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { type OutputOptions, outputOption } from "../output.ts";
import { examples } from "./help.ts";
import { printAnswers } from "./list.ts";
import { observeCommand } from "./observe.ts";

/** `axon hubble observe|status`. */
export function hubbleCommand(context: Context): Command {
  return new Command("hubble")
    .description("flows: see where traffic goes and why it is dropped")
    .addCommand(observeCommand(context))
    .addCommand(statusCommand(context));
}

function statusCommand(context: Context): Command {
  return addAgentOptions(new Command("status"))
    .description("how many flows the nodes hold and see")
    .addOption(outputOption())
    .addHelpText("after", examples(["axon hubble status", "store and rate of every node"]))
    .action(async (options: AgentOptions & OutputOptions) => {
      const answers = await askAll(context, options, async (client) => {
        const status = await client.get<StatusResponse>(
          apiPath.status,
          "cannot read the status",
          context.signal,
        );
        return [status.flows];
      });
      await printAnswers<ServerStatus>(context, options, answers, {
        header: ["FLOWS", "CAPACITY", "SEEN", "FLOWS/S"],
        row: (flows) => [flows.num_flows, flows.max_flows, flows.seen_flows, flows.flows_rate.toFixed(2)],
        empty: "no flows",
      });
    });
}

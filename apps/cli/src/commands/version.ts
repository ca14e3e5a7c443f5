import { apiPath, type StatusResponse } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";

interface VersionOptions extends AgentOptions, OutputOptions {
  client?: boolean;
}

/** `axon version`. */
export function versionCommand(context: Context): Command {
  return addAgentOptions(new Command("version"))
    .description("versions of this program and of the agents")
    .option("--client", "only this program: talk to nobody")
    .addOption(outputOption())
    .addHelpText("after", examples(["axon version --client", "works without an agent"]))
    .action(async (options: VersionOptions) => {
      const agents = options.client === true ? [] : await agentVersions(context, options);
      if (options.output !== "table") {
        await printData(context, options.output, { client: context.version, node: process.version, agents });
        return;
      }
      const lines = agents.map(
        ({ node, version, kernel }) => `agent ${node}: ${version} (Linux ${kernel})\n`,
      );
      await context.stdout.write(`axon: ${context.version} (Node.js ${process.version})\n${lines.join("")}`);
    });
}

async function agentVersions(
  context: Context,
  options: AgentOptions,
): Promise<{ node: string; version: string; kernel: string }[]> {
  const answers = await askAll(context, options, (client) =>
    client.get<StatusResponse>(apiPath.status, "cannot read the version", context.signal),
  );
  return answers.map(({ value }) => ({ node: value.node, version: value.version, kernel: value.kernel }));
}

import { apiPath, type EndpointView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askWhoKnows } from "../agents.ts";
import type { Context } from "../context.ts";
import { usageError } from "../errors.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";
import { withNode } from "./list.ts";

const option = "PolicyAuditMode";
const values = ["Enabled", "Disabled"] as const;

/** `axon endpoint config`. */
export function configCommand(context: Context): Command {
  return addAgentOptions(new Command("config"))
    .description("show or set what is set for one endpoint alone: audit mode")
    .argument("<endpoint>", "id, namespace/pod, or IP address")
    .argument("[setting]", `${option}=${values.join(` or ${option}=`)}`)
    .addOption(outputOption())
    .addHelpText(
      "after",
      `\nIn audit mode policy drops nothing that the pod sends or gets: what it would have dropped is a flow with the verdict\nAUDIT. It stays so over restarts of the agent, until the pod goes.\n${examples(
        ["axon endpoint config default/web", "what is set"],
        [`axon endpoint config default/web ${option}=Enabled`, "report, do not drop"],
        [`axon endpoint config 42 ${option}=Disabled --node node1`, "enforce again (ids are of a node)"],
      )}`,
    )
    .action(async (name: string, setting: string | undefined, options: AgentOptions & OutputOptions) => {
      const found = await ask(context, name, setting, options);
      const shown = found.map(({ node, value }) =>
        withNode(node, {
          id: value.id,
          namespace: value.namespace,
          pod: value.pod,
          [option]: value.policyAuditMode === true ? "Enabled" : "Disabled",
        }),
      );
      if (options.output !== "table") {
        await printData(context, options.output, shown.length === 1 ? shown[0] : shown);
        return;
      }
      for (const { node, value } of found) {
        const where = node === "" ? "" : ` on ${node}`;
        const state = value.policyAuditMode === true ? "Enabled" : "Disabled";
        await context.stdout.write(`${value.namespace}/${value.pod}${where}: ${option}=${state}\n`);
      }
    });
}

function ask(context: Context, name: string, setting: string | undefined, options: AgentOptions) {
  const unknown = { what: "no such endpoint", object: name, fix: "see `axon endpoint list`" };
  const path = `${apiPath.endpoints}/${encodeURIComponent(name)}`;
  if (setting === undefined) {
    const what = "cannot read the endpoint";
    return askWhoKnows(context, options, {
      ask: (client) => client.get<EndpointView>(path, what, context.signal),
      unknown,
    });
  }
  const [key, value] = setting.split("=");
  if (key !== option || !values.some((known) => known === value)) {
    throw usageError(`"${setting}" is no setting of an endpoint`, `${option}=${values.join("|")}`);
  }
  const query = new URLSearchParams({ [option]: value ?? "" });
  return askWhoKnows(context, options, {
    ask: (client) =>
      client.post<EndpointView>(`${path}?${query}`, "cannot configure the endpoint", context.signal),
    unknown,
  });
}

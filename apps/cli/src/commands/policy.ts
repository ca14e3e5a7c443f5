import { apiPath, type ConfirmView, type PolicyView } from "@axoneme/observe";
import { Command } from "commander";
import { type AgentOptions, addAgentOptions, askAll, askWhoKnows } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { ageText, type OutputOptions, orDash, outputOption } from "../output.ts";
import { examples } from "./help.ts";
import { printAnswers } from "./list.ts";
import { policyPreviewCommand } from "./policy-preview.ts";
import { policySuggestCommand } from "./policy-suggest.ts";
import { policyUnusedCommand } from "./policy-unused.ts";

/** `axon policy get [namespace/name]`. */
export function policyCommand(context: Context): Command {
  const get = addAgentOptions(new Command("get"))
    .alias("list")
    .description("show the network policies that the agents know, and whether they are in the kernel")
    .argument("[policy]", "namespace/name (name alone: cluster-wide)")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
ALLOWED counts new connections that rules of the policy let in or out on this node (and living ones that were judged
anew after a change), DENIED packets that they refused, or would refuse if the policy were not on trial.
${examples(
  ["axon policy get", "all policies and how many endpoints each selects"],
  ["axon policy get default/deny-all -o yaml", "one of them with its object and rule ids"],
)}`,
    )
    .action(async (name: string | undefined, options: AgentOptions & OutputOptions) => {
      const path = name === undefined ? apiPath.policy : `${apiPath.policy}?name=${encodeURIComponent(name)}`;
      const answers = await askAll(context, options, (client) =>
        client.get<PolicyView[]>(path, "cannot read the policies", context.signal),
      );
      if (name !== undefined && answers.every(({ value }) => value.length === 0)) {
        throw new CliError(exitCode.notFound, {
          what: "no such policy",
          object: name,
          fix: "see `axon policy get`",
        });
      }
      await printAnswers(context, options, answers, {
        header: [
          "KIND",
          "POLICY",
          "DIRECTIONS",
          "RULES",
          "ENDPOINTS",
          "ALLOWED",
          "DENIED",
          "LAST USED",
          "STATUS",
        ],
        row: (policy) => [
          policy.kind,
          policy.namespace === "" ? policy.name : `${policy.namespace}/${policy.name}`,
          orDash(policy.directions.join(",")),
          `${policy.rules}`,
          `${policy.endpoints.length}`,
          `${policy.use.allowed}`,
          `${policy.use.denied + policy.use.audited}`,
          ageText(context.now(), policy.use.lastUsed),
          policy.message === undefined ? policy.status : `${policy.status}: ${policy.message}`,
        ],
        orderBy: (policy) => `${policy.namespace}/${policy.name} ${policy.kind}`,
        empty: "no policies: everything is allowed",
      });
    });
  return new Command("policy")
    .description("network policies: as the agents apply them, and as they might be")
    .addCommand(get)
    .addCommand(policyPreviewCommand(context))
    .addCommand(policySuggestCommand(context))
    .addCommand(policyUnusedCommand(context))
    .addCommand(confirmCommand(context));
}

/** `axon policy confirm <name>`. */
function confirmCommand(context: Context): Command {
  return addAgentOptions(new Command("confirm"))
    .description(
      "make a change of host policies stay that is on trial, or was taken back for what it cut off",
    )
    .argument("<policy>", "name of a policy of the change; all of the change is confirmed")
    .addHelpText(
      "after",
      `\nA change of policies about nodes that cuts off the API server, an open session or a protected port is in force on
trial; without a word it is taken back. \`axon policy get\` and the status of the policy say so.\n${examples(
        ["axon policy confirm db-nodes", "on every node where it is on trial"],
        ["axon policy confirm db-nodes --node node1", "on one node"],
      )}`,
    )
    .action(async (name: string, options: AgentOptions) => {
      const answers = await askWhoKnows(context, options, {
        ask: (client) =>
          client.post<ConfirmView>(
            `${apiPath.confirm}/${encodeURIComponent(name)}`,
            "cannot confirm the change",
            context.signal,
          ),
        unknown: {
          what: "no change to confirm",
          object: name,
          fix: "see `axon policy get` for policies on trial",
        },
      });
      for (const { node, value } of answers)
        await context.stdout.write(`${node}: ${value.policies.join(", ")} confirmed\n`);
    });
}

import { apiPath, type ConfigOptionView, type ConfigView } from "@axoneme/observe";
import { Command, Option } from "commander";
import { type AgentOptions, type Answer, addAgentOptions, askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import { type OutputOptions, outputOption, print, printData } from "../output.ts";
import { addApiOptions } from "./api-options.ts";
import { examples } from "./help.ts";

interface ViewOptions extends AgentOptions, OutputOptions {
  readonly all?: boolean;
}

interface ClusterOptions extends OutputOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly lab?: string;
  readonly namespace: string;
}

interface SetOptions extends ClusterOptions {
  readonly selector?: string;
  readonly name: string;
  readonly dryRun?: boolean;
}

/** What a change needs, in words. */
const needs: Readonly<Record<ConfigOptionView["change"], string>> = {
  live: "nothing: at once",
  restart: "a restart of the agent",
  drain: "a drained node",
};

/** `axon config view|diff|set`. */
export function configCommand(context: Context): Command {
  return new Command("config")
    .description("options of the agents: what they should be, what they are, and to change them")
    .addCommand(viewCommand(context))
    .addCommand(diffCommand(context))
    .addCommand(setCommand(context));
}

const valueText = (value: unknown): string =>
  value === "" ? "-" : typeof value === "string" ? value : JSON.stringify(value);

function viewCommand(context: Context): Command {
  return addAgentOptions(new Command("view"))
    .description(
      "options of the agents of this machine that are not at their defaults, and where they are from",
    )
    .option("--all", "the defaults too")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon config view", "what somebody has set, on each node"],
        ["axon config view --all --node node1 -o yaml", "every option of one node"],
      ),
    )
    .action(async (options: ViewOptions) => {
      const answers = await views(context, options);
      if (options.output !== "table") {
        const shown = answers.map(({ value }) => value);
        await printData(context, options.output, shown);
        return;
      }
      const rows = answers.flatMap(({ value }) =>
        value.options
          .filter(({ origin, pending }) => options.all === true || origin !== "default" || pending)
          .map((option) => ({ node: value.node, ...option })),
      );
      await print(context, options, rows, {
        header: ["NODE", "OPTION", "RUNNING", "DESIRED", "FROM", "A CHANGE NEEDS"],
        row: (row) => [
          row.node,
          row.key,
          valueText(row.running),
          row.pending ? valueText(row.desired) : "",
          row.origin,
          needs[row.change],
        ],
        empty: "all options are at their defaults",
      });
      await tellProblems(context, answers);
    });
}

function views(context: Context, options: AgentOptions): Promise<Answer<ConfigView>[]> {
  return askAll(context, options, (client) =>
    client.get<ConfigView>(apiPath.config, "cannot read the configuration", context.signal),
  );
}

async function tellProblems(context: Context, answers: readonly Answer<ConfigView>[]): Promise<void> {
  for (const { value } of answers) {
    if (value.problem === undefined) continue;
    context.setExitCode(exitCode.failed);
    await context.stderr.write(`${value.node}: a change is not taken up: ${value.problem}\n`);
  }
}

/** Where the installation is, too. */
function addInstallationOptions(command: Command): Command {
  return addApiOptions(command).option(
    "-n, --namespace <name>",
    "namespace of the installation",
    "kube-system",
  );
}

/** Loaded only here: other commands need no Kubernetes client. */
const load = (): Promise<typeof import("../install/options.ts")> => import("../install/options.ts");

function diffCommand(context: Context): Command {
  return addInstallationOptions(new Command("diff"))
    .description(
      "options of all nodes of a cluster that are wanted and not in force; exits 1 when there are some",
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
Agents write what waits to their CiliumNode (annotation axoneme.io/config), so that one question is enough for a cluster.
${examples(
  ["axon config diff", "what waits for restarts, on which nodes"],
  ["axon config diff -o json | jq -r '.[].node' | sort -u", "nodes that want a restart"],
)}`,
    )
    .action(async (options: ClusterOptions) => {
      const { pendingOf } = await load();
      const rows = await pendingOf(context, options);
      if (rows.length > 0) context.setExitCode(exitCode.failed);
      await print(context, options, rows, {
        header: ["NODE", "OPTION", "RUNNING", "DESIRED", "NEEDS"],
        row: (row) => [
          row.node,
          row.key,
          valueText(row.running),
          valueText(row.desired),
          row.problem ?? needs[row.change],
        ],
        empty: "every node runs with what is wanted",
      });
    });
}

function setCommand(context: Context): Command {
  return addInstallationOptions(new Command("set"))
    .argument(
      "<key=value...>",
      "options by their keys (docs/reference/agent-options.md); an empty value: the default",
    )
    .description("change options of the agents, of all nodes or of those with some labels")
    .addOption(
      new Option(
        "-l, --selector <label=value,...>",
        "only on nodes with these labels, by a CiliumNodeConfig",
      ),
    )
    .option("--name <name>", "name of this CiliumNodeConfig", "axon")
    .option("--dry-run", "check only")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
Values are checked together with those that are there. What takes effect at once does so on all nodes within a second;
of the rest \`axon config diff\` tells. An upgrade writes the ConfigMap again: what is to stay belongs to its values
(axon upgrade --set extraConfig.KEY=VALUE).
${examples(
  ["axon config set log-level=debug", "on all nodes, at once"],
  ["axon config set mtu=9000 -l zone=fast --name fast", "on some nodes"],
  ["axon config set log-level=", "back to the default"],
)}`,
    )
    .action(async (assignments: string[], options: SetOptions) => {
      const { setOptions } = await load();
      const done = await setOptions(context, assignments, options);
      await print(context, options, done, {
        header: ["OPTION", "VALUE", "A CHANGE NEEDS"],
        row: ({ key, value, change }) => [key, value === null ? "default" : value, needs[change]],
        empty: "nothing to set",
      });
    });
}

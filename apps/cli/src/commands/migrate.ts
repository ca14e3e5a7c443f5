import { Command } from "commander";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import type { Plan, Step } from "../migrate/plan.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";
import { addClusterOptions } from "./install.ts";

interface Options extends OutputOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
}

/** `axon migrate plan`. */
export function migrateCommand(context: Context): Command {
  return new Command("migrate")
    .description("move a cluster from another CNI, node by node")
    .addCommand(planCommand(context));
}

function planCommand(context: Context): Command {
  return addClusterOptions(new Command("plan"))
    .description("what network each node has, what is in the way, and the steps; changes nothing")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
Looks at Nodes, Pods, Calico's IPPools and the kube-proxy through the API. Exit code 1: something is in the way.
${examples(
  ["axon migrate plan", "the steps, with the cluster's own values in them"],
  ["axon migrate plan -o json", "the same for a program"],
)}`,
    )
    .action(async (options: Options) => {
      const [{ withCluster }, { see }, { planOf }] = await Promise.all([
        import("../install/session.ts"),
        import("../migrate/see.ts"),
        import("../migrate/plan.ts"),
      ]);
      const plan = await withCluster(context, options, async (client) =>
        planOf(await see(client, options.namespace, context.signal)),
      );
      if (plan.problems.length > 0) context.setExitCode(exitCode.failed);
      if (options.output !== "table") await printData(context, options.output, plan);
      else await context.stdout.write(textOf(plan));
    });
}

function textOf({ problems, before, nodes, after }: Plan): string {
  const parts = nodes.flatMap(({ node, network, podCidrs, isSwitched, recreate, steps }) => [
    `${node}: ${network}, ${podCidrs.join(",") || "no pod CIDR"}${isSwitched ? ", switched" : ""}; ${recreate.length} pods to make anew`,
    ...lines(steps),
  ]);
  return `${[...problems.map((text) => `In the way: ${text}`), "First:", ...lines(before), ...parts, "At last:", ...lines(after)].join("\n")}\n`;
}

function lines(steps: readonly Step[]): string[] {
  return steps.flatMap(({ run, effect }) => [`  ${run}`, `      ${effect}`]);
}

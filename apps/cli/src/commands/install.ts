import { Command, InvalidArgumentError, Option } from "commander";
import { dump } from "js-yaml";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type Format, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
  readonly values?: string[];
  readonly set?: string[];
  readonly resetValues?: boolean;
  readonly dryRun?: boolean;
  readonly wait: boolean;
  readonly timeout: number;
  readonly crds?: boolean;
  readonly nodes: boolean;
  readonly yes?: boolean;
  readonly output: Format;
}

/** Loaded only here: other commands need no Kubernetes client. */
const load = (): Promise<typeof import("../install/run.ts")> => import("../install/run.ts");

function seconds(text: string): number {
  const [, amount = "", unit = "s"] = /^(\d+)([smh]?)$/.exec(text) ?? [];
  const value = Number(amount) * ({ s: 1, m: 60, h: 3600 }[unit || "s"] ?? 0);
  if (amount === "" || value === 0) throw new InvalidArgumentError("It must be a duration, as 90s or 5m.");
  return value;
}

/** Options by which a command finds its cluster. */
export function addClusterOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--kubeconfig <file>",
        "kubeconfig of the cluster (default: $KUBECONFIG, ~/.kube/config)",
      ).helpGroup("Cluster:"),
    )
    .addOption(new Option("--context <name>", "context of the kubeconfig").helpGroup("Cluster:"))
    .addOption(
      new Option("-n, --namespace <name>", "namespace of the installation")
        .default("kube-system")
        .helpGroup("Cluster:"),
    );
}

function addValueOptions(command: Command): Command {
  return command
    .option(
      "-f, --values <file...>",
      "YAML files with values; later ones go over earlier ones, - is standard input",
    )
    .option("--set <path=value...>", "single values, over the files: hubble.relay.enabled=true");
}

function addWaitOptions(command: Command): Command {
  return command
    .option("--no-wait", "do not wait until everything is ready")
    .option("--timeout <duration>", "how long to wait", seconds, 300)
    .option("--dry-run", "change nothing; print what would be")
    .addOption(outputOption());
}

const aboutValues = `
Values are those of the Helm chart (deploy/helm/axoneme/values.yaml), checked before anything is changed. Objects are
written by server-side apply, so that fields others own stay theirs. Exit code 1: something did not become ready.
`;

/** `axon install`. */
export function installCommand(context: Context): Command {
  return addWaitOptions(addValueOptions(addClusterOptions(new Command("install"))))
    .description("install Axoneme in a Kubernetes cluster")
    .addHelpText(
      "after",
      `${aboutValues}${examples(
        ["axon install", "into the cluster of the kubeconfig, and wait"],
        ["axon install --set routingMode=native --set hubble.relay.enabled=true", "with other values"],
        ["axon install -f values.yaml --dry-run | kubectl diff -f -", "see first what it would change"],
      )}`,
    )
    .action(async (options: Options) => put(context, options, "install"));
}

/** `axon upgrade`. */
export function upgradeCommand(context: Context): Command {
  return addWaitOptions(addValueOptions(addClusterOptions(new Command("upgrade"))))
    .description("bring an installation to this version, or to other values")
    .option("--reset-values", "forget the values given before; default: they stay, under those given now")
    .addHelpText(
      "after",
      `${aboutValues}${examples(
        ["axon upgrade", "to the version of this program, with the values as they are"],
        ["axon upgrade --set hubble.ui.enabled=true", "one more value"],
        ["axon upgrade --reset-values -f values.yaml", "these values and no others"],
      )}`,
    )
    .action(async (options: Options) => put(context, options, "upgrade"));
}

/** `axon uninstall`. */
export function uninstallCommand(context: Context): Command {
  return addWaitOptions(addClusterOptions(new Command("uninstall")))
    .description("take an installation away: from the API, and from the nodes")
    .option("--crds", "remove the definitions too, with every policy, pool and node entry stored under them")
    .option("--no-nodes", "leave what is on the nodes: plugin, CNI configuration, programs in the kernel")
    .option("-y, --yes", "do not ask")
    .addHelpText(
      "after",
      `
Agents, operator and relay end first; then a pod on each node takes away plugin, CNI configuration, programs, maps and
devices, CNI configurations of others come back, and the taint that waits for an agent goes. Running pods keep their
devices and have no network until they are made anew under another plugin.
${examples(
  ["axon uninstall --dry-run", "what would be removed"],
  ["axon uninstall --yes", "without a question"],
  ["axon uninstall --crds", "everything, the policies too"],
)}`,
    )
    .action(async (options: Options) => {
      const { dryRun, yes } = options;
      if (dryRun !== true && yes !== true) await ask(context, options);
      const { runUninstall } = await load();
      const result = await runUninstall(context, {
        ...clusterOf(options),
        ...{ cleanNodes: options.nodes, crds: options.crds === true, dryRun: dryRun === true },
        timeoutMs: options.timeout * 1000,
      });
      if (options.output !== "table") await printData(context, options.output, result);
    });
}

async function ask(context: Context, { namespace, crds }: Options): Promise<void> {
  if (context.confirm === undefined)
    throw usageError("an uninstall has to be confirmed, and there is no terminal", "add --yes");
  const all = crds === true ? ", and every policy" : "";
  const isWanted = await context.confirm(`Take Axoneme away from ${namespace} and all nodes${all}? [y/N] `);
  if (!isWanted) throw new CliError(exitCode.failed, { what: "not uninstalled" });
}

function clusterOf({ kubeconfig, context, namespace }: Options) {
  return {
    namespace,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
  };
}

async function put(context: Context, options: Options, mode: "install" | "upgrade"): Promise<void> {
  const { runInstall, plan } = await load();
  const request = {
    ...clusterOf(options),
    mode,
    given: { values: options.values ?? [], set: options.set ?? [] },
    resetValues: options.resetValues === true,
    wait: options.wait,
    timeoutMs: options.timeout * 1000,
  };
  if (options.dryRun === true) {
    const objects = await plan(context, request);
    if (options.output === "json")
      await printData(context, "json", { apiVersion: "v1", kind: "List", items: objects });
    else
      await context.stdout.write(
        objects.map((object) => `---\n${dump(object, { noRefs: true, lineWidth: 120 })}`).join(""),
      );
    return;
  }
  const result = await runInstall(context, request);
  if (options.output !== "table") await printData(context, options.output, result);
}

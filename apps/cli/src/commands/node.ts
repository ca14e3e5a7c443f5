import { Command } from "commander";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type OutputOptions, outputOption, print } from "../output.ts";
import { addApiOptions } from "./api-options.ts";
import { examples } from "./help.ts";

interface ApiOptions extends OutputOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly lab?: string;
}

interface RegisterOptions extends ApiOptions {
  readonly namespace: string;
  readonly address: readonly string[];
  readonly labels: readonly string[];
  readonly clusterName: string;
}

const collect = (word: string, words: readonly string[]): string[] => [...words, ...word.split(",")];

/** Loaded only here: other commands need no Kubernetes client. */
const load = (): Promise<typeof import("../external/registration.ts")> =>
  import("../external/registration.ts");
const place = (): Promise<typeof import("../install/options.ts")> => import("../install/options.ts");

/** `axon node register|unregister|list`. */
export function nodeCommand(context: Context): Command {
  return new Command("node")
    .description("machines outside of Kubernetes (bare metal, VMs) that policies select by labels")
    .addCommand(registerCommand(context))
    .addCommand(unregisterCommand(context))
    .addCommand(listCommand(context));
}

function registerCommand(context: Context): Command {
  return addApiOptions(new Command("register"))
    .argument("<name>", "what it is called; a Node or Pod of that name must not be there")
    .description("make a machine a member: its traffic carries the identity of these labels, as a pod's does")
    .requiredOption("--address <ip>", "its address, one of each family; may be repeated", collect, [])
    .option("-l, --labels <key=value>", "its labels; may be repeated", collect, [])
    .option("-n, --namespace <name>", "namespace whose policies see it like a pod", "default")
    .option("--cluster-name <name>", "cluster-name of the agents", "default")
    .addHelpText(
      "after",
      `
Agents follow at once: policies of pods can name it, both as a source and as a destination. It is written as a
CiliumNode and a CiliumEndpoint. Pods reach it under their own addresses: it needs routes to them. No program of ours has to run on it.
${examples(
  ["axon node register db1 --address 10.1.2.3 --labels app=db -n shop", "policies in shop see it as app=db"],
  ["axon node list", "what is registered"],
)}`,
    )
    .action(async (name: string, options: RegisterOptions) => {
      const { addressesFrom, labelsFrom, register } = await load();
      if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(name))
        throw usageError(`"${name}" is no name`, "take letters, digits, dashes and dots");
      const addresses = addressesFrom(options.address);
      if (addresses.length === 0) throw usageError("no address", "say it with --address");
      const node = { name, namespace: options.namespace, addresses, labels: labelsFrom(options.labels) };
      const { inPlace } = await place();
      const made = await inPlace(context, options, (client) => register(client, node, options.clusterName));
      await context.stdout.write(`${name}: registered, identity ${made.identity}\n`);
    });
}

function unregisterCommand(context: Context): Command {
  return addApiOptions(new Command("unregister"))
    .argument("<name>", "as it was registered")
    .description("take a machine's registration away: it is as any address outside of the cluster then")
    .addHelpText("after", examples(["axon node unregister db1", "policies do not know it any more"]))
    .action(async (name: string, options: ApiOptions) => {
      const { unregister } = await load();
      const { inPlace } = await place();
      if (!(await inPlace(context, options, (client) => unregister(client, name))))
        throw new CliError(exitCode.notFound, {
          what: "no machine of this name is registered",
          object: name,
        });
      await context.stdout.write(`${name}: not registered any more\n`);
    });
}

function listCommand(context: Context): Command {
  return addApiOptions(new Command("list"))
    .description("machines that are registered")
    .addOption(outputOption())
    .addHelpText("after", examples(["axon node list -o json", "names, addresses, labels, identities"]))
    .action(async (options: ApiOptions) => {
      const { registered } = await load();
      const { inPlace } = await place();
      const nodes = await inPlace(context, options, (client) => registered(client));
      await print(context, options, nodes, {
        header: ["NAME", "NAMESPACE", "ADDRESSES", "IDENTITY", "LABELS"],
        row: ({ name, namespace, addresses, identity, labels }) => [
          name,
          namespace,
          addresses.join(","),
          String(identity),
          Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
        ],
        empty: "no machine is registered",
      });
    });
}

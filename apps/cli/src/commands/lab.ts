import { errorText } from "@axoneme/base";
import type { LabStatus } from "@axoneme/lab";
import { Command, InvalidArgumentError, Option } from "commander";
import { chooseLab } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { colorsOf, type OutputOptions, orDash, outputOption, printData } from "../output.ts";
import { formatTable } from "../table.ts";
import { examples } from "./help.ts";

/** Loaded only here: the lab brings native parts and an API server that no other command needs. */
const loadLab = (): Promise<typeof import("@axoneme/lab")> => import("@axoneme/lab");

interface UpOptions extends OutputOptions {
  name: string;
  nodes: number;
  routing: "native" | "tunnel";
  xdp?: boolean;
  timeout: number;
}

/** `axon lab up|down|status`. */
export function labCommand(context: Context): Command {
  return new Command("lab")
    .description("a Kubernetes cluster on this machine: nodes as network namespaces, our agents on them")
    .addCommand(upCommand(context))
    .addCommand(downCommand(context))
    .addCommand(statusCommand(context));
}

function nameOption(context: Context): Option {
  return new Option("--name <name>", "name of the lab (default: $AXON_LAB, else default)")
    .argParser((text: string) => {
      if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(text)) {
        throw new InvalidArgumentError(
          "It must be 1 to 32 lower-case letters, digits and dashes, without a dash at its ends.",
        );
      }
      return text;
    })
    .default(context.env["AXON_LAB"] ?? "default", "default");
}

function count(limit: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > limit) {
      throw new InvalidArgumentError(`It must be a number from 1 to ${limit}.`);
    }
    return value;
  };
}

/** Errors of the lab already say what, which and why: they need only the mend. */
function labError(what: string, name: string, error: unknown, fix: string): CliError {
  return new CliError(exitCode.failed, { what, object: `lab ${name}`, cause: errorText(error), fix });
}

function upCommand(context: Context): Command {
  return new Command("up")
    .description("bring up a lab, or take up one that crashed; returns when every node is ready")
    .addOption(new Option("--nodes <n>", "how many nodes").argParser(count(16)).default(2))
    .addOption(nameOption(context))
    .addOption(
      new Option("--routing <mode>", "between nodes").choices(["native", "tunnel"]).default("native"),
    )
    .addOption(new Option("--xdp", "links that carry XDP, as hardware does; bulk transfers are slower"))
    .addOption(
      new Option("--timeout <seconds>", "how long to wait for the nodes").argParser(count(3600)).default(60),
    )
    .addHelpText(
      "after",
      examples(
        ["axon lab up", "two nodes, native routing"],
        ["axon lab up --nodes 3 --name big --routing tunnel", "beside it three nodes over VXLAN"],
        ["export KUBECONFIG=/run/axon/default/kubeconfig", "then kubectl talks to it"],
      ),
    )
    .action(async (options: UpOptions) => {
      const lab = await loadLab();
      const say = (message: string): void => void context.stderr.write(`${message}\n`);
      const wasThere = lab.labNames().includes(options.name);
      try {
        const up = await lab.labUp({
          name: options.name,
          nodes: options.nodes,
          routingMode: options.routing,
          xdp: options.xdp ?? false,
          timeoutMs: options.timeout * 1000,
          signal: context.signal,
          onProgress: say,
        });
        await context.stdout.write(
          `lab ${up.name} is up: ${up.nodes.join(", ")}\nexport KUBECONFIG=${up.kubeconfig}\n`,
        );
      } catch (error) {
        if (context.signal.aborted) {
          // Whoever only waited for a lab that was there must not lose it, nor the pods in it.
          if (wasThere) say(`interrupted: the lab ${options.name} was there before and stays`);
          else {
            say(`interrupted: removing the lab ${options.name}`);
            await lab.labDown({ name: options.name });
          }
          throw error;
        }
        throw labError(
          "the lab does not come up",
          options.name,
          error,
          (error as { code?: unknown }).code === "lab.exists"
            ? `another name (--name), or: axon lab down --name ${options.name}`
            : `axon lab down --name ${options.name}, then try again`,
        );
      }
    });
}

function downCommand(context: Context): Command {
  return new Command("down")
    .description(
      "remove a lab: processes, pins, namespaces, links, mounts, cgroups, state; also after a crash",
    )
    .addOption(nameOption(context))
    .option("--all", "every lab of this machine")
    .addHelpText(
      "after",
      examples(["axon lab down", "the lab default"], ["axon lab down --all", "all of them"]),
    )
    .action(async (options: { name: string; all?: boolean }) => {
      const lab = await loadLab();
      const names = options.all === true ? lab.labNames() : [options.name];
      if (names.length === 0) await context.stderr.write("no labs\n");
      for (const name of names) {
        const onProgress = (message: string): void => void context.stderr.write(`${message}\n`);
        let found: boolean;
        try {
          found = await lab.labDown({ name, onProgress });
        } catch (error) {
          throw labError(
            "the lab cannot be removed",
            name,
            error,
            "end what uses it and run the command again",
          );
        }
        await context.stdout.write(found ? `lab ${name} is removed\n` : `there is no lab ${name}\n`);
      }
    });
}

function statusCommand(context: Context): Command {
  return new Command("status")
    .description("state of the labs and their nodes; exits 1 when one is not running, 3 when there is none")
    .addOption(new Option("--name <name>", "only this lab"))
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon lab status", "all labs"],
        ["axon lab status -o json", "with kubeconfig and state directory"],
      ),
    )
    .action(async (options: OutputOptions & { name?: string }) => {
      const lab = await loadLab();
      const names = options.name === undefined ? lab.labNames() : [options.name];
      const found: LabStatus[] = await Promise.all(names.map((name) => lab.labStatus({ name })));
      const shown = found.filter((status) => status.state !== "absent");
      if (shown.length === 0) {
        const object = options.name ?? chooseLab(context, undefined) ?? "default";
        throw new CliError(exitCode.notFound, { what: "no such lab", object, fix: "start one: axon lab up" });
      }
      if (shown.some((status) => status.state !== "running" || status.nodes.some((node) => !node.ready))) {
        context.setExitCode(exitCode.failed);
      }
      if (options.output !== "table") await printData(context, options.output, shown);
      else await printLabs(context, shown);
    });
}

async function printLabs(context: Context, labs: readonly LabStatus[]): Promise<void> {
  const colors = colorsOf(context);
  const state = (ok: boolean, text: string): string => (ok ? colors.green(text) : colors.red(text));
  const rows = labs.map((lab) => [
    lab.name,
    state(lab.state === "running", lab.state),
    lab.routingMode,
    `${lab.nodes.filter((node) => node.ready).length}/${lab.nodes.length}`,
    lab.kubeconfig,
    orDash(lab.relay),
    // What is wrong with nodes stands below, in their rows.
    lab.nodes.some((node) => node.reason !== "") ? "" : lab.problem,
  ]);
  await context.stdout.write(
    formatTable(["LAB", "STATE", "ROUTING", "READY", "KUBECONFIG", "RELAY", "PROBLEM"], rows),
  );
  const nodes = labs.flatMap((lab) =>
    lab.nodes.map((node) => [
      lab.name,
      node.name,
      state(node.ready, node.ready ? "ready" : "not ready"),
      orDash(node.addresses.join(",")),
      orDash(node.agentPid),
      `${node.pods}`,
      node.reason,
    ]),
  );
  if (nodes.length === 0) return;
  const table = formatTable(["LAB", "NODE", "STATE", "ADDRESSES", "AGENT-PID", "PODS", "REASON"], nodes);
  await context.stdout.write(`\n${table}`);
}

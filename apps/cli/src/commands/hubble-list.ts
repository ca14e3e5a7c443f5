import type { HubbleNamespace, HubbleNode } from "@axoneme/observe";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import {
  addServerOptions,
  agentSockets,
  findServer,
  type ServerOptions,
  withServer,
} from "../hubble/server.ts";
import { type OutputOptions, orDash, outputOption, print } from "../output.ts";
import { examples } from "./help.ts";

type ListOptions = ServerOptions & OutputOptions;

/** `axon hubble list nodes|namespaces`. */
export function hubbleListCommand(context: Context): Command {
  return new Command("list")
    .description("nodes that serve flows, and namespaces seen in flows")
    .addCommand(nodesCommand(context))
    .addCommand(namespacesCommand(context));
}

function nodesCommand(context: Context): Command {
  return addServerOptions(new Command("nodes").alias("node"))
    .description("nodes that the relay reaches, and those it does not")
    .addOption(outputOption())
    .addHelpText("after", examples(["axon hubble list nodes", "state, store and rate of every node"]))
    .action(async (options: ListOptions) => {
      const server = findServer(context, options);
      if (server === undefined) {
        throw new CliError(exitCode.unreachable, {
          what: "cannot list the nodes",
          cause: "no relay runs here",
          fix: "name one with --server, or see `axon lab status`",
        });
      }
      const what = "cannot list the nodes";
      const nodes = await withServer(context, server, options, what, (client) => client.nodes());
      await print<HubbleNode>(context, options, nodes, {
        header: ["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS", "VERSION", "ADDRESS", "TLS"],
        row: nodeRow,
        empty: "no nodes",
      });
    });
}

function nodeRow(node: HubbleNode): string[] {
  const seconds = Number(node.uptime_ns ?? 0) / 1e9;
  const rate = seconds > 0 ? (Number(node.seen_flows ?? 0) / seconds).toFixed(2) : "-";
  const isThere = node.max_flows !== undefined;
  return [
    orDash(node.name),
    (node.state ?? "").replace("NODE_", "").toLowerCase(),
    isThere ? uptimeText(seconds) : "-",
    rate,
    isThere ? `${node.num_flows ?? 0}/${node.max_flows ?? 0}` : "-",
    orDash(node.version),
    orDash(node.address),
    node.tls?.enabled === true ? "enabled" : "disabled",
  ];
}

/** `3d4h`, `2h5m`, `7m`, `12s`. */
export function uptimeText(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days}d${hours}h`;
  if (hours > 0) return `${hours}h${minutes}m`;
  return minutes > 0 ? `${minutes}m` : `${Math.floor(seconds)}s`;
}

function namespacesCommand(context: Context): Command {
  return addServerOptions(new Command("namespaces").alias("namespace").alias("ns"))
    .description("namespaces that flows of the last hour were about")
    .addOption(outputOption())
    .addHelpText("after", examples(["axon hubble list namespaces", "of all nodes"]))
    .action(async (options: ListOptions) => {
      const server = findServer(context, options);
      const servers =
        server === undefined ? agentSockets(context, options).map((agent) => agent.server) : [server];
      const what = "cannot list the namespaces";
      const lists = await Promise.all(
        servers.map((each) => withServer(context, each, options, what, (client) => client.namespaces())),
      );
      const all = new Map(lists.flat().map((entry) => [`${entry.cluster}/${entry.namespace}`, entry]));
      const sorted = [...all.entries()].sort(([a], [b]) => a.localeCompare(b)).map(([, entry]) => entry);
      await print<HubbleNamespace>(context, options, sorted, {
        header: ["NAMESPACE", "CLUSTER"],
        row: ({ namespace, cluster }) => [orDash(namespace), orDash(cluster)],
        empty: "no namespaces",
      });
    });
}

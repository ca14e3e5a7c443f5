import { apiPath, type HubbleStatus, type ServerStatus, type StatusResponse } from "@axoneme/observe";
import { Command } from "commander";
import { askAll } from "../agents.ts";
import type { Context } from "../context.ts";
import { exitCode } from "../errors.ts";
import { addServerOptions, findServer, type ServerOptions, withServer } from "../hubble/server.ts";
import { type OutputOptions, outputOption, printData } from "../output.ts";
import { examples } from "./help.ts";
import { hubbleListCommand } from "./hubble-list.ts";
import { hubbleWatchCommand } from "./hubble-watch.ts";
import { printAnswers } from "./list.ts";
import { observeCommand } from "./observe.ts";

type StatusOptions = ServerOptions & OutputOptions;

/** `axon hubble observe|status|list|watch`. */
export function hubbleCommand(context: Context): Command {
  return new Command("hubble")
    .description("flows: see where traffic goes and why it is dropped")
    .enablePositionalOptions()
    .addCommand(observeCommand(context))
    .addCommand(statusCommand(context))
    .addCommand(hubbleListCommand(context))
    .addCommand(hubbleWatchCommand(context))
    .addCommand(
      new Command("record")
        .description("recording packets: not supported")
        .argument("[filters...]")
        .allowUnknownOption()
        .addHelpText("after", examples(["axon hubble record", "says what can be done in its place"]))
        .action(async () => {
          await context.stderr.write(
            "Error: recording packets is not supported: flows have no packets' bytes\n  fix: capture in the pod's or node's namespace (tcpdump)\n",
          );
          context.setExitCode(exitCode.failed);
        }),
    );
}

function statusCommand(context: Context): Command {
  return addServerOptions(new Command("status"))
    .description("how many flows are held and seen, and which nodes are missing")
    .addOption(outputOption())
    .addHelpText(
      "after",
      examples(
        ["axon hubble status", "of the relay, or of every node where there is none"],
        ["axon hubble status --node node1", "of one node"],
      ),
    )
    .action(async (options: StatusOptions) => {
      const server = findServer(context, options);
      if (server === undefined) await agentsStatus(context, options);
      else await serverStatus(context, server, options);
    });
}

async function agentsStatus(context: Context, options: StatusOptions): Promise<void> {
  const answers = await askAll(context, options, async (client) => {
    const status = await client.get<StatusResponse>(apiPath.status, "cannot read the status", context.signal);
    return [status.flows];
  });
  await printAnswers<ServerStatus>(context, options, answers, {
    header: ["FLOWS", "CAPACITY", "SEEN", "FLOWS/S"],
    row: (flows) => [flows.num_flows, flows.max_flows, flows.seen_flows, flows.flows_rate.toFixed(2)],
    empty: "no flows",
  });
}

/** Exits 1 when nodes are missing. */
async function serverStatus(context: Context, server: string, options: StatusOptions): Promise<void> {
  const what = "cannot read the status";
  const status = await withServer(context, server, options, what, (client) => client.status());
  const missing = status.num_unavailable_nodes ?? 0;
  if (missing > 0) context.setExitCode(exitCode.failed);
  if (options.output === "table") await context.stdout.write(statusText(server, status));
  else await printData(context, options.output, status);
}

function statusText(server: string, status: HubbleStatus): string {
  const [held, capacity] = [Number(status.num_flows ?? 0), Number(status.max_flows ?? 0)];
  const share = capacity === 0 ? 0 : (held / capacity) * 100;
  const lines = [
    `Server: ${server}, version ${status.version ?? "unknown"}`,
    `Flows held: ${held} of ${capacity} (${share.toFixed(2)} %)`,
    `Flows seen: ${status.seen_flows ?? 0}, ${(status.flows_rate ?? 0).toFixed(2)} a second`,
  ];
  const connected = status.num_connected_nodes;
  const missing = status.num_unavailable_nodes ?? 0;
  if (connected !== undefined || missing > 0)
    lines.push(`Nodes: ${connected ?? 0} of ${(connected ?? 0) + missing}`);
  for (const name of status.unavailable_nodes ?? []) lines.push(`  missing: ${name}`);
  return `${lines.join("\n")}\n`;
}

import { Command, Option } from "commander";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { addServerOptions, agentSockets, type ServerOptions, withServer } from "../hubble/server.ts";
import { examples } from "./help.ts";

interface WatchOptions extends ServerOptions {
  output: "text" | "json";
}

/** `axon hubble watch peers`. */
export function hubbleWatchCommand(context: Context): Command {
  const peers = addServerOptions(new Command("peers").alias("peer"))
    .description("nodes that serve flows, as an agent announces them, and every change; Ctrl-C ends")
    .addOption(new Option("-o, --output <format>", "output format").choices(["text", "json"]).default("text"))
    .addHelpText("after", examples(["axon hubble watch peers", "address and certificate name of every node"]))
    .action((options: WatchOptions) => watch(context, options));
  return new Command("watch").description("changes of what serves flows").addCommand(peers);
}

async function watch(context: Context, options: WatchOptions): Promise<void> {
  const named = options.server ?? context.env["HUBBLE_SERVER"];
  // All agents announce the same nodes.
  const server = named === undefined || named === "" ? agentSockets(context, options)[0]?.server : named;
  if (server === undefined) throw new CliError(exitCode.unreachable, { what: "no agent found" });
  await withServer(context, server, options, "cannot watch the peers", async (client) => {
    try {
      for await (const { name = "", address = "", type = "", tls } of client.peers(context.signal)) {
        const shown = { type, name, address, ...(tls === undefined ? {} : { tls }) };
        const certificate = tls?.server_name === undefined ? "" : ` (TLS.ServerName: ${tls.server_name})`;
        const text =
          options.output === "json"
            ? JSON.stringify(shown)
            : `${type.padEnd(12)} ${address} ${name}${certificate}`;
        await context.stdout.write(`${text}\n`);
      }
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
  });
}

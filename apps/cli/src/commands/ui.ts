import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { Command, Option } from "commander";
import { type AgentOptions, addAgentOptions, findAgents } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { examples } from "./help.ts";

interface UiOptions extends AgentOptions {
  readonly listen: string;
  readonly server?: string[];
  readonly hostName?: string[];
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsServerName?: string;
}

/** `axon ui`: the page, from this machine. */
export function uiCommand(context: Context): Command {
  return addAgentOptions(new Command("ui"))
    .description("serve the web page: service map and flow table; Ctrl-C ends")
    .addOption(
      new Option("--listen <host:port>", "where the page is served; port 0: any that is free").default(
        "127.0.0.1:12000",
      ),
    )
    .option(
      "--server <address...>",
      "relays or agents to read flows from: unix:///path, host:port, tls://host:port",
    )
    .option("--host-name <name...>", "names under which browsers may ask for the page, besides localhost")
    .option("--tls-ca <file>", "PEM of the CA that signed the servers' certificates")
    .option("--tls-cert <file>", "PEM of the certificate that is shown to them")
    .option("--tls-key <file>", "PEM of its key")
    .option("--tls-server-name <name>", "name in the servers' certificates")
    .addHelpText(
      "after",
      examples(
        ["axon ui", "flows of the lab on http://127.0.0.1:12000"],
        ["axon ui --lab other --listen 127.0.0.1:0", "of another lab, on a port that is free"],
        ["axon ui --server tls://relay.example:4245 --tls-ca ca.pem", "of a cluster, by its relay"],
        [
          "axon ui --server relay.example:4245 --agent /run/axoneme/agent.sock",
          "the same, with the policies and the health of this node from its agent",
        ],
      ),
    )
    .action((options: UiOptions) => serve(context, options));
}

function argumentsOf(context: Context, options: UiOptions): string[] {
  // Beside a relay, only agents that were asked for: those of a lab are another cluster's.
  const isAsked = [options.agent, options.lab, options.node].some((option) => option !== undefined);
  const agents = options.server === undefined || isAsked ? findAgents(context, options) : [];
  const servers =
    options.server ?? agents.map(({ socket }) => `unix://${join(dirname(socket), "hubble.sock")}`);
  const optional = [
    ["--tls-ca", options.tlsCa],
    ["--tls-cert", options.tlsCert],
    ["--tls-key", options.tlsKey],
    ["--tls-server-name", options.tlsServerName],
  ] as const;
  return [
    ...servers.flatMap((server) => ["--server", server]),
    ...agents.flatMap(({ socket }) => ["--agent", socket]),
    "--listen",
    options.listen,
    ...(options.hostName ?? []).flatMap((name) => ["--host-name", name]),
    ...optional.flatMap(([name, value]) => (value === undefined ? [] : [name, value])),
  ];
}

async function serve(context: Context, options: UiOptions): Promise<void> {
  const program = join(import.meta.dirname, "ui.mjs");
  const child = spawn(process.execPath, [program, ...argumentsOf(context, options)], { stdio: "inherit" });
  // Ctrl-C reaches the child by itself, as it is in this program's process group; a signal to us alone does not.
  const pass = (): void => void child.kill("SIGTERM");
  process.once("SIGTERM", pass);
  const [code] = (await once(child, "exit")) as [number | null];
  process.off("SIGTERM", pass);
  if (code !== 0 && code !== null)
    throw new CliError(exitCode.failed, { what: "the page's server ended", object: `exit code ${code}` });
}

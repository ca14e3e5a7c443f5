import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AxonError, errorText } from "@axoneme/base";
import { type ClientTls, parseTarget } from "@axoneme/grpc";
import { type HubbleClient, openHubble } from "@axoneme/observe";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type AgentOptions, addAgentOptions, findAgents, findRelay } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";

/** Flags of the field's CLI that say which server is asked, and how. */
export interface ServerOptions extends AgentOptions {
  server?: string;
  timeout: number;
  requestTimeout: number;
  tls?: boolean;
  tlsAllowInsecure?: boolean;
  tlsCaCertFiles?: string[];
  tlsClientCertFile?: string;
  tlsClientKeyFile?: string;
  tlsServerName?: string;
}

/** `5s`, `500ms`, `1m`, or a number of seconds; as milliseconds. */
function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000 }[match?.[2] ?? "s"] ?? 1000;
  const ms = Number(match?.[1]) * unit;
  if (match === null || ms <= 0 || ms > 3_600_000)
    throw new InvalidArgumentError("It must be a time as 5s or 500ms.");
  return ms;
}

/** Adds --server, TLS and time limits; and --agent, --lab, --node for when no server is named. */
export function addServerOptions(command: Command): Command {
  const group = "Server:";
  const add = (option: Option): void => void command.addOption(option.helpGroup(group));
  add(
    new Option(
      "--server <address>",
      "host:port, tls://host:port or unix:///path of an agent or a relay (default: $HUBBLE_SERVER, else the lab's relay)",
    ),
  );
  add(new Option("--timeout <time>", "how long connecting may take").argParser(duration).default(5000, "5s"));
  add(
    new Option("--request-timeout <time>", "how long an answer may take that is no stream")
      .argParser(duration)
      .default(12_000, "12s"),
  );
  add(new Option("--tls", "speak TLS to the server; implied by tls:// and the flags below"));
  add(new Option("--tls-ca-cert-files <file...>", "PEM files of CAs that sign the server's certificate"));
  add(
    new Option("--tls-client-cert-file <file>", "PEM file of the certificate by which the server knows us"),
  );
  add(new Option("--tls-client-key-file <file>", "PEM file of its key"));
  add(new Option("--tls-server-name <name>", "name that must be in the server's certificate"));
  add(new Option("--tls-allow-insecure", "take any certificate: whoever is in between can read along"));
  return addAgentOptions(command);
}

/** The server a command is about: named, or the relay of the lab; undefined when the agents are to be asked. */
export function findServer(context: Context, options: ServerOptions): string | undefined {
  const named = options.server ?? context.env["HUBBLE_SERVER"];
  if (named !== undefined && named !== "") return named;
  // Who names nodes or an agent wants those, and no merge of all.
  if (options.agent !== undefined || (options.node ?? []).length > 0) return undefined;
  const relay = findRelay(context, options);
  return relay === undefined ? undefined : `unix://${relay}`;
}

/** The flow sockets of the agents that a command is about. */
export function agentSockets(context: Context, options: ServerOptions): { node: string; server: string }[] {
  return findAgents(context, options).map(({ node, socket }) => ({
    node,
    server: `unix://${join(dirname(socket), "hubble.sock")}`,
  }));
}

/**
 * Does something with a server's flow API.
 * @param what begins errors: "cannot read the flows"
 * @throws CliError usage, unreachable, failed
 */
export async function withServer<T>(
  context: Context,
  server: string,
  options: ServerOptions,
  what: string,
  use: (client: HubbleClient) => Promise<T>,
): Promise<T> {
  const client = await connect(context, server, options, what);
  try {
    return await use(client);
  } catch (error) {
    throw asCliError(error, what, server);
  } finally {
    client.close();
  }
}

/** Connects; the caller closes. */
export async function connect(
  context: Context,
  server: string,
  options: ServerOptions,
  what: string,
): Promise<HubbleClient> {
  const target = targetOf(server);
  const tls = target.isTls || wantsTls(options) ? readTls(options) : undefined;
  const to = { target, connectMs: options.timeout, ...(tls === undefined ? {} : { tls }) };
  try {
    return await openHubble(to, options.requestTimeout, context.signal);
  } catch (error) {
    throw asCliError(error, what, server);
  }
}

/** What the server said, as an error of ours; errors that are already are left. */
export function asCliError(error: unknown, what: string, server: string): unknown {
  if (error instanceof CliError || !(error instanceof AxonError)) return error;
  const { status } = error as { status?: number };
  if (status === invalidArgument) return usageError(errorText(error), "see: axon hubble observe --help");
  const exit = status === unavailable ? exitCode.unreachable : exitCode.failed;
  const fix =
    exit === exitCode.unreachable ? { fix: "see `axon lab status`, or name another server (--server)" } : {};
  return new CliError(exit, { what, object: server, cause: errorText(error), ...fix });
}

const invalidArgument = 3;
const unavailable = 14;

function targetOf(server: string): ReturnType<typeof parseTarget> {
  try {
    return parseTarget(server);
  } catch (error) {
    throw usageError(errorText(error));
  }
}

function wantsTls(options: ServerOptions): boolean {
  const { tls, tlsCaCertFiles, tlsClientCertFile, tlsClientKeyFile, tlsServerName, tlsAllowInsecure } =
    options;
  const given = [tlsCaCertFiles, tlsClientCertFile, tlsClientKeyFile, tlsServerName];
  return tls === true || tlsAllowInsecure === true || given.some((value) => value !== undefined);
}

function readTls(options: ServerOptions): ClientTls {
  const {
    tlsCaCertFiles = [],
    tlsClientCertFile,
    tlsClientKeyFile,
    tlsServerName,
    tlsAllowInsecure,
  } = options;
  if ((tlsClientCertFile === undefined) !== (tlsClientKeyFile === undefined)) {
    throw usageError("--tls-client-cert-file and --tls-client-key-file belong together");
  }
  const read = (path: string): string => {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw usageError(`${path} cannot be read: ${errorText(cause)}`);
    }
  };
  return {
    ...(tlsCaCertFiles.length === 0 ? {} : { ca: tlsCaCertFiles.map(read).join("\n") }),
    ...(tlsClientCertFile === undefined ? {} : { cert: read(tlsClientCertFile) }),
    ...(tlsClientKeyFile === undefined ? {} : { key: read(tlsClientKeyFile) }),
    ...(tlsServerName === undefined ? {} : { serverName: tlsServerName }),
    ...(tlsAllowInsecure === true ? { allowInsecure: true } : {}),
  };
}

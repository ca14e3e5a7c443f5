import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Command, Option } from "commander";
import type { AgentRef } from "./client.ts";
import { AgentClient } from "./client.ts";
import type { Context } from "./context.ts";
import { CliError, type CliErrorParts, exitCode, formatError, usageError } from "./errors.ts";
import { withProgress } from "./output.ts";

/** Options by which every command finds its agents. */
export interface AgentOptions {
  agent?: string;
  lab?: string;
  node?: string[];
}

/** State directories of the labs. */
function runDir(context: Context): string {
  return context.env["AXON_RUN_DIR"] ?? "/run/axon";
}

const clusterSocket = "/run/axoneme/agent.sock";
const clusterRelay = "/run/axoneme/relay.sock";

/** Adds --agent, --lab, --node to a command. */
export function addAgentOptions(command: Command): Command {
  return command
    .addOption(new Option("--agent <socket>", "talk to the agent on this UNIX socket").helpGroup("Agents:"))
    .addOption(
      new Option("--lab <name>", "agents of this lab (default: $AXON_LAB, else the only one)").helpGroup(
        "Agents:",
      ),
    )
    .addOption(new Option("--node <name...>", "only the agents of these nodes").helpGroup("Agents:"));
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new CliError(exitCode.failed, { what: "cannot look for labs", object: directory, cause: error });
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Names of the labs on this machine. */
function labNames(context: Context): string[] {
  return entries(runDir(context)).filter((name) => exists(join(runDir(context), name, "nodes")));
}

/** The lab a command means: --lab, $AXON_LAB, "default", or the only one; undefined when there is none. */
export function chooseLab(context: Context, wanted: string | undefined): string | undefined {
  const named = wanted ?? context.env["AXON_LAB"];
  if (named !== undefined && named !== "") return named;
  const names = labNames(context);
  if (names.includes("default") || names.length === 0) return names.length === 0 ? undefined : "default";
  if (names.length === 1) return names[0];
  throw usageError(`there are several labs: ${names.join(", ")}`, "choose one with --lab <name> or AXON_LAB");
}

function agentsOfLab(context: Context, lab: string): AgentRef[] {
  const nodes = join(runDir(context), lab, "nodes");
  const agents = entries(nodes).map((node) => ({ node, socket: join(nodes, node, "agent.sock") }));
  if (agents.length > 0) return agents;
  const fix =
    labNames(context).length === 0 ? "start one: axon lab up" : `labs here: ${labNames(context).join(", ")}`;
  throw new CliError(exitCode.notFound, { what: "no such lab", object: lab, fix });
}

/**
 * The agents a command is about.
 * @throws CliError usage (several labs), not found (lab, node), unreachable (nothing runs here)
 */
export function findAgents(context: Context, options: AgentOptions): AgentRef[] {
  if (options.agent !== undefined) return [{ node: "", socket: options.agent }];
  const lab = chooseLab(context, options.lab);
  if (lab === undefined) {
    if (exists(clusterSocket)) return [{ node: "", socket: clusterSocket }];
    throw new CliError(exitCode.unreachable, {
      what: "no agent found",
      object: `${runDir(context)}/*/nodes/*/agent.sock, ${clusterSocket}`,
      fix: "start a lab (axon lab up) or name a socket (--agent <socket>)",
    });
  }
  const agents = agentsOfLab(context, lab);
  const wanted = options.node ?? [];
  const unknown = wanted.find((node) => !agents.some((agent) => agent.node === node));
  if (unknown !== undefined) {
    const fix = `nodes of lab ${lab}: ${agents.map((agent) => agent.node).join(", ")}`;
    throw new CliError(exitCode.notFound, { what: "no such node", object: unknown, fix });
  }
  return wanted.length === 0 ? agents : agents.filter((agent) => wanted.includes(agent.node));
}

/** The socket of the relay that serves the flows of these agents; undefined when there is none. */
export function findRelay(context: Context, options: AgentOptions): string | undefined {
  if (options.agent !== undefined) return undefined;
  const lab = chooseLab(context, options.lab);
  const socket = lab === undefined ? clusterRelay : join(runDir(context), lab, "relay.sock");
  return exists(socket) ? socket : undefined;
}

/** The answer of one agent. */
export interface Answer<T> {
  readonly node: string;
  readonly value: T;
}

/**
 * Asks all agents at once. Those that fail are told on stderr and set the exit code, the others' answers are
 * returned; when all fail, the first failure is thrown.
 */
export async function askAll<T>(
  context: Context,
  options: AgentOptions,
  ask: (client: AgentClient) => Promise<T>,
): Promise<Answer<T>[]> {
  const agents = findAgents(context, options);
  const asked = Promise.allSettled(agents.map((agent) => askOne(agent, ask)));
  const results = await withProgress(context, "waiting for the agents", asked);
  const answers: Answer<T>[] = [];
  const failures: unknown[] = [];
  for (const [i, result] of results.entries()) {
    if (result.status === "fulfilled") answers.push({ node: agents[i]?.node ?? "", value: result.value });
    else failures.push(result.reason);
  }
  if (answers.length === 0) throw failures[0];
  for (const failed of failures) {
    await context.stderr.write(`${formatError(failed)}\n`);
    context.setExitCode(failed instanceof CliError ? failed.exit : exitCode.failed);
  }
  return answers;
}

/**
 * Asks all agents for something that some of them may not know: those answer 404, which is no error as long as one
 * does know it.
 * @throws CliError not found as `unknown` says, or the first serious failure when nobody answered
 */
export async function askWhoKnows<T>(
  context: Context,
  options: AgentOptions,
  question: { readonly ask: (client: AgentClient) => Promise<T>; readonly unknown: CliErrorParts },
): Promise<Answer<T>[]> {
  const agents = findAgents(context, options);
  const results = await Promise.allSettled(agents.map((agent) => askOne(agent, question.ask)));
  const answers = results.flatMap((result, i) =>
    result.status === "fulfilled" ? [{ node: agents[i]?.node ?? "", value: result.value }] : [],
  );
  const failures = results.flatMap((result) =>
    result.status === "rejected" ? [result.reason as unknown] : [],
  );
  const serious = failures.filter(
    (error) => !(error instanceof CliError && error.exit === exitCode.notFound),
  );
  if (answers.length === 0) throw serious[0] ?? new CliError(exitCode.notFound, question.unknown);
  for (const failed of serious) {
    await context.stderr.write(`${formatError(failed)}\n`);
    context.setExitCode(failed instanceof CliError ? failed.exit : exitCode.failed);
  }
  return answers;
}

async function askOne<T>(agent: AgentRef, ask: (client: AgentClient) => Promise<T>): Promise<T> {
  const client = new AgentClient(agent);
  try {
    return await ask(client);
  } finally {
    client.close();
  }
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Option } from "commander";
import { type AgentOptions, findAgents } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { withProgress } from "../output.ts";
import type { Cluster } from "./cluster.ts";

/** Where a cluster is read from when no agent is asked. */
export interface ClusterOptions extends AgentOptions {
  readonly kubeconfig?: string;
}

/** `--kubeconfig`. */
export function kubeconfigOption(): Option {
  return new Option(
    "--kubeconfig <file>",
    "ask the API server in place of the agents (default: $KUBECONFIG or ~/.kube/config where no agent is found)",
  ).helpGroup("Agents:");
}

/**
 * The cluster as the API server knows it, where it is to be asked in place of agents: by the option, or because there
 * are no agents here and a kubeconfig is. Undefined: ask the agents. @throws CliError
 */
export async function clusterInstead(
  context: Context,
  options: ClusterOptions,
): Promise<Cluster | undefined> {
  if (options.kubeconfig === undefined && !isOnlyKubeconfig(context, options)) return undefined;
  const { readCluster } = await import("./cluster.ts");
  return withProgress(context, "reading the cluster", readCluster(options.kubeconfig, context));
}

function isOnlyKubeconfig(context: Context, options: AgentOptions): boolean {
  if (options.agent !== undefined || options.lab !== undefined) return false;
  const { KUBECONFIG = "", HOME = "" } = context.env;
  if (KUBECONFIG === "" && (HOME === "" || !existsSync(join(HOME, ".kube/config")))) return false;
  try {
    findAgents(context, options);
    return false;
  } catch (error) {
    if (error instanceof CliError && error.exit === exitCode.unreachable) return true;
    throw error;
  }
}

import { errorText } from "@axoneme/base";
import { findConfig, KubeClient } from "@axoneme/kube";
import { names } from "../../../../deploy/source/kubernetes/index.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { clientOf } from "./objects.ts";

/** Which cluster a command is about. */
export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/**
 * Works with the cluster that the options, $KUBECONFIG or ~/.kube/config name.
 * @throws CliError unreachable, naming the server and why
 */
export async function withCluster<T>(
  context: Context,
  options: ClusterOptions,
  work: (client: KubeClient) => Promise<T>,
): Promise<T> {
  const client = connect(context, options);
  try {
    await client.version().catch((cause: unknown) => {
      throw new CliError(exitCode.unreachable, {
        what: "the cluster does not answer",
        object: client.server,
        cause,
        fix: "name another with --kubeconfig or --context",
      });
    });
    return await work(client);
  } finally {
    await client.close();
  }
}

function connect(context: Context, { kubeconfig, context: name }: ClusterOptions): KubeClient {
  try {
    const config = findConfig({
      ...(kubeconfig === undefined ? {} : { path: kubeconfig }),
      ...(name === undefined ? {} : { context: name }),
      env: context.env as NodeJS.ProcessEnv,
    });
    return new KubeClient(config, { userAgent: `axon/${context.version}` });
  } catch (error) {
    throw new CliError(exitCode.unreachable, {
      what: "no cluster to talk to",
      cause: errorText(error),
      fix: "name a kubeconfig: --kubeconfig FILE, or KUBECONFIG",
    });
  }
}

/** Two who install would take each other's changes back. */
export async function refuseHelm(client: KubeClient, namespace: string): Promise<void> {
  const ref = { apiVersion: "apps/v1", kind: "DaemonSet", namespace, name: names.agent };
  const found = await clientOf(client, ref).find(names.agent, { namespace });
  const release = found?.metadata?.annotations?.["meta.helm.sh/release-name"];
  if (release === undefined) return;
  throw new CliError(exitCode.failed, {
    what: "Helm has installed this",
    object: `release ${release} in ${namespace}`,
    fix: `helm upgrade ${release}, or helm uninstall ${release} first`,
  });
}

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Layer, textLayer } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { type CiliumNodeConfig, isNotFound, type KubeClient, resources } from "@axoneme/kube";
import { compileLabelSelector, plainLabels } from "@axoneme/loadbalancer";
import { type AgentConfig, agentOptions } from "../options.ts";

/** How long a start waits for an API server that does not answer, before it goes on with what it knew last. */
const deadlineMs = 2000;

/** A CiliumNodeConfig that selects this node. */
export interface NodeOptions {
  readonly name: string;
  readonly texts: Readonly<Record<string, string>>;
}

/**
 * Those of the configurations that select a node with these labels, in the order of their names: of two that say
 * something of one option, the one that comes last wins.
 */
export function selected(
  configs: Iterable<CiliumNodeConfig>,
  labels: Readonly<Record<string, string>>,
): NodeOptions[] {
  const own = plainLabels(labels);
  return [...configs]
    .filter(({ spec }) => compileLabelSelector(spec.nodeSelector)(own))
    .map(({ metadata, spec }) => ({ name: metadata?.name ?? "", texts: spec.defaults ?? {} }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** As layers of the configuration; what only a start can say is refused. */
export function layersOf(configs: readonly NodeOptions[]): Layer[] {
  return configs.map(({ name, texts }) => apiLayer(`CiliumNodeConfig ${name}`, texts));
}

/** A layer that comes over the API. */
export function apiLayer(origin: string, texts: Readonly<Record<string, string>>): Layer {
  const { values, problems = [] } = textLayer(agentOptions, origin, texts);
  const early = Object.keys(values).filter((name) => "atStart" in agentOptions[name as keyof AgentConfig]);
  const refused = early.map(
    (name) => `"${name}" is said by the agent's file or flags only: take it out here`,
  );
  return { origin, values, problems: [...problems, ...refused] };
}

/** The configurations of this node at the start: of the API, or those known last when it does not answer. */
export async function firstNodeOptions(
  client: KubeClient,
  { configNamespace: namespace, runDir }: AgentConfig,
  nodeName: string,
  log: Logger,
): Promise<readonly NodeOptions[]> {
  try {
    const [configs, node] = await Promise.all([
      listed(client, namespace),
      client.resource(resources.nodes).find(nodeName, { deadlineMs }),
    ]);
    return remember(runDir, selected(configs, node?.metadata?.labels ?? {}));
  } catch (error) {
    log.warn({ err: errorText(error) }, "CiliumNodeConfigs cannot be read: those known last count");
    return remembered(runDir);
  }
}

async function listed(client: KubeClient, namespace: string): Promise<CiliumNodeConfig[]> {
  try {
    return (await client.resource(resources.ciliumnodeconfigs).list({ namespace, deadlineMs })).items;
  } catch (error) {
    // The operator has not installed the definition yet: nobody can have made one.
    if (isNotFound(error)) return [];
    throw error;
  }
}

const fileOf = (runDir: string): string => join(runDir, "node-config.json");

/** Keeps them for a start without an API server. */
export function remember(runDir: string, configs: readonly NodeOptions[]): readonly NodeOptions[] {
  const path = fileOf(runDir);
  writeFileSync(`${path}.tmp`, JSON.stringify(configs), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
  return configs;
}

function remembered(runDir: string): readonly NodeOptions[] {
  const path = fileOf(runDir);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as NodeOptions[]) : [];
}

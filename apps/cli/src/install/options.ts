import { join } from "node:path";
import { configKey, nearest, resolveLayers, textLayer } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { builtinResources, type KubeClient, resources } from "@axoneme/kube";
import type { ConfigOptionView } from "@axoneme/observe";
import { names } from "../../../../deploy/source/kubernetes/index.ts";
import { refuseContradictions } from "../../../agent/src/config/contradictions.ts";
import { agentOptions } from "../../../agent/src/options.ts";
import { chooseLab } from "../agents.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { withCluster } from "./session.ts";

/** Which cluster, and where in it. */
export interface PlaceOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly lab?: string;
  readonly namespace: string;
}

/** An option that is wanted on a node and not in force there. */
export interface PendingRow extends Pick<ConfigOptionView, "key" | "running" | "desired" | "change"> {
  readonly node: string;
  /** Why nothing that is wanted is taken up. */
  readonly problem?: string;
}

/** Where agents write what waits. */
const annotation = "axoneme.io/config";

/** The named cluster, or that of the lab, or of the kubeconfig. */
export function inPlace<T>(
  context: Context,
  options: Omit<PlaceOptions, "namespace">,
  work: (client: KubeClient) => Promise<T>,
): Promise<T> {
  const named = options.kubeconfig ?? context.env["KUBECONFIG"];
  const lab = named === undefined || options.lab !== undefined ? chooseLab(context, options.lab) : undefined;
  const runDir = context.env["AXON_RUN_DIR"] ?? "/run/axon";
  const kubeconfig = lab === undefined ? options.kubeconfig : join(runDir, lab, "kubeconfig");
  return withCluster(context, { ...options, ...(kubeconfig === undefined ? {} : { kubeconfig }) }, work);
}

/** What waits on which nodes, as their agents say. */
export function pendingOf(context: Context, options: PlaceOptions): Promise<PendingRow[]> {
  return inPlace(context, options, async (client) => {
    const { items } = await client.resource(resources.ciliumnodes).list({ signal: context.signal });
    return items.flatMap(({ metadata }) => rowsOf(metadata?.name ?? "", metadata?.annotations?.[annotation]));
  });
}

function rowsOf(node: string, text: string | undefined): PendingRow[] {
  if (text === undefined) return [];
  const { pending = [], problem } = JSON.parse(text) as {
    pending?: Omit<PendingRow, "node">[];
    problem?: string;
  };
  const rows = pending.map((row) => ({ node, ...row }));
  const none = { key: "-", running: "", desired: "", change: "restart" } as const;
  return problem === undefined ? rows : [...rows, { node, ...none, problem }];
}

/** What was set; null: back to the default. */
export interface SetRow {
  readonly key: string;
  readonly value: string | null;
  readonly change: ConfigOptionView["change"];
}

/**
 * Sets options, of all nodes in the agents' ConfigMap, of some in a CiliumNodeConfig.
 * @throws CliError usage: what is no option, no value of it, or contradicts another; not found: no such ConfigMap
 */
export function setOptions(
  context: Context,
  assignments: readonly string[],
  options: PlaceOptions & { readonly selector?: string; readonly name: string; readonly dryRun?: boolean },
): Promise<SetRow[]> {
  const rows = assignments.map(rowOf);
  const changes = Object.fromEntries(rows.map(({ key, value }) => [key, value]));
  return inPlace(context, options, async (client) => {
    const { namespace, selector, name, dryRun } = options;
    const maps = client.resource(builtinResources.configmaps);
    const map = await maps.find(names.agentConfig, { namespace });
    if (map === undefined && selector === undefined)
      throw new CliError(exitCode.notFound, {
        what: "there is no ConfigMap of the agents",
        object: `${namespace}/${names.agentConfig}`,
        fix: "name the namespace with -n, or nodes with --selector",
      });
    check({ ...map?.data, ...changes });
    if (dryRun === true) return rows;
    if (selector === undefined) await maps.patch(names.agentConfig, { data: changes }, { namespace });
    else await setOnNodes(client, { namespace, name, matchLabels: labelsOf(selector) }, changes);
    return rows;
  });
}

function rowOf(text: string): SetRow {
  const equals = text.indexOf("=");
  if (equals <= 0) throw usageError(`${text} is not KEY=VALUE`, "as log-level=debug");
  const key = text.slice(0, equals);
  const keys = Object.entries(agentOptions).map(
    ([name, option]) => [configKey(name, option), option] as const,
  );
  const option = keys.find(([known]) => known === key)?.[1];
  if (option === undefined) {
    const meant = nearest(
      key,
      keys.map(([known]) => known),
    );
    throw usageError(`agents have no option ${key}${meant === undefined ? "" : ` (is ${meant} meant?)`}`);
  }
  if ("atStart" in option) throw usageError(`${key} is said by the agent's file or flags only`);
  const value = text.slice(equals + 1);
  return { key, value: value === "" ? null : value, change: option.liveness };
}

function check(texts: Readonly<Record<string, string | null>>): void {
  const given = Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== null);
  try {
    const layer = textLayer(agentOptions, "", Object.fromEntries(given));
    refuseContradictions(resolveLayers(agentOptions, [layer]).values);
  } catch (error) {
    throw usageError(errorText(error));
  }
}

function labelsOf(selector: string): Record<string, string> {
  const pairs = selector.split(",").map((part) => part.split("="));
  if (pairs.some((pair) => pair.length !== 2 || pair[0] === ""))
    throw usageError(`--selector ${selector}: take LABEL=VALUE, several with commas`);
  return Object.fromEntries(pairs.map(([label = "", value = ""]) => [label, value]));
}

async function setOnNodes(
  client: KubeClient,
  { namespace, name, matchLabels }: { namespace: string; name: string; matchLabels: Record<string, string> },
  changes: Readonly<Record<string, string | null>>,
): Promise<void> {
  const configs = client.resource(resources.ciliumnodeconfigs);
  const spec = { defaults: changes, nodeSelector: { matchLabels } };
  if ((await configs.find(name, { namespace })) !== undefined) {
    await configs.patch(name, { spec }, { namespace });
    return;
  }
  const defaults = Object.fromEntries(
    Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== null),
  );
  await configs.create({ metadata: { name, namespace }, spec: { ...spec, defaults } });
}

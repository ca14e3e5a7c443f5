import { delay } from "@axoneme/base";
import { builtinResources, crdManifests, type KubeClient } from "@axoneme/kube";
import { cleanUpObject, names, type Scope } from "../../../../deploy/source/kubernetes/index.ts";
import { applyAll, removeAll, type Step } from "./apply.ts";
import { type ObjectRef, refOf, titleOf } from "./objects.ts";
import { hasReadiness, type Waited, waitReady } from "./readiness.ts";
import { removeRecord } from "./record.ts";

/** How an uninstall goes. */
export interface UninstallOptions {
  /** Objects of the installation, in the order they were made. */
  readonly installed: readonly ObjectRef[];
  readonly scope: Scope;
  /** Take what is on the nodes away. */
  readonly cleanNodes: boolean;
  /** Take the definitions away too, and with them every policy and whatever else is stored under them. */
  readonly crds: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly tell: (line: string) => Promise<void>;
  readonly step: (step: Step) => Promise<void>;
}

const ref = (apiVersion: string, kind: string, name: string, namespace = ""): ObjectRef => ({
  apiVersion,
  kind,
  name,
  namespace,
});

/** What an uninstall would remove, in order. */
export function removalOrder({ installed, scope, crds }: UninstallOptions): ObjectRef[] {
  const programs = installed.filter(hasReadiness);
  const others = installed.filter((each) => !hasReadiness(each)).reverse();
  const leases = [ref("coordination.k8s.io/v1", "Lease", names.operator, scope.namespace)];
  const definitions = crdManifests.map(({ metadata }) =>
    ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", metadata?.name ?? ""),
  );
  return [...programs, ...others, ...leases, ...(crds ? definitions : [])];
}

/**
 * Undoes an installation: programs first, then what they left on the nodes and in the API, then what they ran with.
 * @returns nodes that could not be cleaned, by what keeps them from it; empty when all is gone
 */
export async function uninstall(client: KubeClient, options: UninstallOptions): Promise<Waited[]> {
  const { installed, cleanNodes, signal, step, tell, scope } = options;
  const programs = installed.filter(hasReadiness);
  await removeAll(client, programs, step, signal);
  await waitGone(client, programs, options);
  const failed = cleanNodes ? await clean(client, options) : [];
  await removeTaints(client, options);
  await removeOwnCa(client, scope.namespace);
  const rest = removalOrder(options).filter((each) => !hasReadiness(each));
  await removeAll(client, rest, step, signal);
  await removeRecord(client, scope.namespace);
  if (!options.crds)
    await tell("definitions, policies and what else is stored under them stay (--crds removes them)");
  return failed;
}

/** Pods of programs that end may still write: what they write is removed after them. */
async function waitGone(
  client: KubeClient,
  programs: readonly ObjectRef[],
  { timeoutMs, signal, scope, tell }: UninstallOptions,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  const labelSelector = `k8s-app in (${programs.map(({ name }) => name).join(",")})`;
  if (programs.length === 0) return;
  for (let told = -1; performance.now() < until && !signal.aborted; await delay(500)) {
    const { items } = await client
      .resource(builtinResources.pods)
      .list({ namespace: scope.namespace, labelSelector, signal });
    if (items.length === 0) return;
    if (items.length !== told) await tell(`waiting for ${items.length} pods to end`);
    told = items.length;
  }
}

/** Runs the clean-up on each node. */
async function clean(client: KubeClient, options: UninstallOptions): Promise<Waited[]> {
  const { scope, signal, step, tell, timeoutMs } = options;
  const object = cleanUpObject(scope);
  await applyAll(client, [object], step, signal);
  const waited = await waitReady(client, [refOf(object)], { timeoutMs, signal, tell });
  await removeAll(client, [refOf(object)], step, signal);
  return waited.filter(({ ready }) => !ready);
}

/** Nodes that were waiting for their agent wait for nobody any more. */
async function removeTaints(client: KubeClient, { scope, tell, signal }: UninstallOptions): Promise<void> {
  const key = scope.values["agentNotReadyTaintKey"];
  const nodes = client.resource(builtinResources.nodes);
  for (const { metadata, spec } of (await nodes.list({ signal })).items) {
    const taints = spec?.taints ?? [];
    const kept = taints.filter((taint) => taint.key !== key);
    if (kept.length === taints.length) continue;
    const patch = [
      { op: "test", path: "/spec/taints", value: taints },
      { op: "replace", path: "/spec/taints", value: kept },
    ];
    await nodes.patch(metadata?.name ?? "", patch, { type: "json", signal });
    await tell(`Node ${metadata?.name}: taint ${key} removed`);
  }
}

/** The CA that our operator made; one that was given stays. */
async function removeOwnCa(client: KubeClient, namespace: string): Promise<void> {
  const secrets = client.resource(builtinResources.secrets);
  const secret = await secrets.find("cilium-ca", { namespace });
  const owner = secret?.metadata?.labels?.["app.kubernetes.io/managed-by"];
  if (owner === "axoneme-operator") await secrets.deleteIfExists("cilium-ca", { namespace });
}

/** What is said of objects that did not come up. */
export function failureText({ reasons = [], ...object }: Waited): string {
  return [`${titleOf(object)} is not ready`, ...reasons.map((reason) => `  ${reason}`)].join("\n");
}

import type { KubeClient } from "@axoneme/kube";
import {
  type KubernetesObject,
  names,
  objects,
  type Scope,
} from "../../../../deploy/source/kubernetes/index.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { applyAll, removeAll, type Step, withoutThose } from "./apply.ts";
import { type ObjectRef, refOf, titleOf } from "./objects.ts";
import { type Waited, waitReady } from "./readiness.ts";
import { type InstallRecord, readRecord, writeRecord } from "./record.ts";
import { type ClusterOptions, refuseHelm, withCluster } from "./session.ts";
import { failureText, removalOrder, type UninstallOptions, uninstall } from "./uninstall.ts";
import { checkedScope, type GivenValues, givenValues, type Values } from "./values.ts";

/** What an install or upgrade is asked for. */
export interface InstallRequest extends ClusterOptions {
  readonly mode: "install" | "upgrade";
  readonly namespace: string;
  readonly given: GivenValues;
  /** Forget the values of before. */
  readonly resetValues: boolean;
  readonly wait: boolean;
  readonly timeoutMs: number;
}

/** What came of it. */
export interface InstallResult {
  readonly version: string;
  readonly namespace: string;
  readonly objects: readonly (Step & { readonly ready?: boolean; readonly reasons?: readonly string[] })[];
}

/** The objects that would be applied. Asks the cluster only for the values of before. */
export async function plan(context: Context, request: InstallRequest): Promise<KubernetesObject[]> {
  const before = request.mode === "upgrade" ? await recordOf(context, request) : undefined;
  return objects(scopeOf(context, request, before).scope);
}

function recordOf(context: Context, request: InstallRequest): Promise<InstallRecord> {
  return withCluster(context, request, (client) => neededRecord(context, client, request.namespace));
}

async function neededRecord(context: Context, client: KubeClient, namespace: string): Promise<InstallRecord> {
  const record = await readRecord(client, namespace, context.signal);
  if (record !== undefined) return record;
  throw new CliError(exitCode.notFound, {
    what: "axon has installed nothing here",
    object: `namespace ${namespace} at ${client.server}`,
    fix: "axon install, or name the namespace with -n",
  });
}

function scopeOf(
  context: Context,
  { given, namespace, resetValues }: InstallRequest,
  before: InstallRecord | undefined,
): { scope: Scope; values: Values } {
  const values = givenValues(given, resetValues ? {} : before?.values);
  return { scope: checkedScope(values, namespace, context.version), values };
}

/**
 * Installs or upgrades, tells of each step on stderr, and waits.
 * @throws CliError usage (values), unreachable, failed (installed already, by Helm), not found (nothing to upgrade)
 */
export async function runInstall(context: Context, request: InstallRequest): Promise<InstallResult> {
  // Before the cluster is asked for anything: a mistake in values is no reason to wait for it.
  if (request.mode === "install") scopeOf(context, request, undefined);
  return withCluster(context, request, async (client) => {
    const { namespace, mode } = request;
    const { signal, version } = context;
    await refuseHelm(client, namespace);
    const before =
      mode === "upgrade"
        ? await neededRecord(context, client, namespace)
        : await noRecord(context, client, namespace);
    const { scope, values } = scopeOf(context, request, before);
    const wanted = withNamespace(objects(scope), namespace);
    const refs = wanted.map(refOf);
    const record = { version, values, objects: refs };
    await applyAll(client, wanted.slice(0, firstOf(wanted)), quietly, signal);
    // What is begun can be undone: the record is there before the objects, with those of before.
    const obsolete = withoutThose(before?.objects ?? [], refs);
    await writeRecord(client, namespace, { ...record, objects: [...refs, ...obsolete] }, signal);
    const steps = await applyAll(client, wanted, (step) => tellStep(context, step), signal);
    steps.push(...(await removeAll(client, obsolete, (step) => tellStep(context, step), signal)));
    await writeRecord(client, namespace, record, signal);
    if (steps.some(({ name, action }) => name === names.agentConfig && action === "configured"))
      await context.stderr.write(
        "options of the agents changed: axon config diff says which wait for a restart\n",
      );
    const waited = request.wait ? await wait(context, client, refs, request.timeoutMs) : [];
    return { version, namespace, objects: steps.map((step) => ({ ...step, ...stateOf(step, waited) })) };
  });
}

const quietly = async (): Promise<void> => undefined;

async function noRecord(context: Context, client: KubeClient, namespace: string): Promise<undefined> {
  const record = await readRecord(client, namespace, context.signal);
  if (record === undefined) return undefined;
  throw new CliError(exitCode.failed, {
    what: "it is installed already",
    object: `version ${record.version} in ${namespace}`,
    fix: "axon upgrade",
  });
}

/** A namespace of our own is made, and goes again with the rest. */
function withNamespace(all: readonly KubernetesObject[], name: string): readonly KubernetesObject[] {
  if (name === "kube-system" || name === "default") return all;
  return [{ apiVersion: "v1", kind: "Namespace", metadata: { name } }, ...all];
}

/** How many of the first objects have to be there before the record can be. */
function firstOf(all: readonly KubernetesObject[]): number {
  return all[0]?.kind === "Namespace" && all[1]?.kind === "Namespace" ? 1 : 0;
}

function tellStep(context: Context, step: Step): Promise<void> {
  return context.stderr.write(`${step.action.padEnd(10)} ${titleOf(step)}\n`);
}

async function wait(
  context: Context,
  client: KubeClient,
  refs: readonly ObjectRef[],
  timeoutMs: number,
): Promise<Waited[]> {
  const tell = (line: string): Promise<void> => context.stderr.write(`${line}\n`);
  const waited = await waitReady(client, refs, { timeoutMs, signal: context.signal, tell });
  for (const failed of waited.filter(({ ready }) => !ready)) {
    context.setExitCode(exitCode.failed);
    await tell(failureText(failed));
  }
  return waited;
}

function stateOf(step: Step, waited: readonly Waited[]): { ready?: boolean; reasons?: readonly string[] } {
  const found = waited.find((each) => titleOf(each) === titleOf(step));
  if (found === undefined) return {};
  return { ready: found.ready, ...(found.reasons === undefined ? {} : { reasons: found.reasons }) };
}

/** What an uninstall is asked for. */
export interface UninstallRequest
  extends ClusterOptions,
    Pick<UninstallOptions, "cleanNodes" | "crds" | "timeoutMs"> {
  readonly namespace: string;
  readonly dryRun: boolean;
}

/** Uninstalls; tells of each step on stderr. Exit code 1: a node could not be cleaned. */
export async function runUninstall(
  context: Context,
  request: UninstallRequest,
): Promise<{ removed: readonly ObjectRef[] }> {
  return withCluster(context, request, async (client) => {
    const { namespace } = request;
    await refuseHelm(client, namespace);
    const record = await neededRecord(context, client, namespace);
    const removed: ObjectRef[] = [];
    const options = {
      ...request,
      installed: record.objects,
      scope: checkedScope(record.values, namespace, record.version),
      signal: context.signal,
      tell: (line: string) => context.stderr.write(`${line}\n`),
      step: async (step: Step) => {
        if (step.action === "removed") removed.push(step);
        await tellStep(context, step);
      },
    };
    if (request.dryRun) {
      const order = removalOrder(options);
      for (const ref of order) await context.stdout.write(`would remove ${titleOf(ref)}\n`);
      return { removed: order };
    }
    for (const failed of await uninstall(client, options)) {
      context.setExitCode(exitCode.failed);
      await options.tell(failureText(failed));
    }
    return { removed };
  });
}

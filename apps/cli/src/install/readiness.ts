import { delay } from "@axoneme/base";
import { builtinResources, isTransient, type KubeClient, type KubeObject, type Pod } from "@axoneme/kube";
import { clientOf, type ObjectRef, titleOf } from "./objects.ts";

/** Milliseconds between looks. */
const everyMs = 500;

/** How far a DaemonSet or a Deployment is. */
interface Progress {
  readonly ready: number;
  readonly wanted: number;
  readonly isDone: boolean;
}

interface Workload extends KubeObject {
  readonly spec?: { readonly replicas?: number; readonly selector?: { readonly matchLabels?: object } };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled?: number;
    readonly updatedNumberScheduled?: number;
    readonly numberReady?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
  };
}

/** What a wait for an object came to. */
export interface Waited extends ObjectRef {
  readonly ready: boolean;
  /** Why not: of each pod that is not ready, where it is and what it waits for. */
  readonly reasons?: readonly string[];
}

/** Kinds that take a while. */
export const hasReadiness = ({ kind }: ObjectRef): boolean => kind === "DaemonSet" || kind === "Deployment";

/** Waits until these are rolled out, and tells each change; after `timeoutMs` says of those that are not why not. */
export async function waitReady(
  client: KubeClient,
  refs: readonly ObjectRef[],
  {
    timeoutMs,
    signal,
    tell,
  }: { timeoutMs: number; signal: AbortSignal; tell: (line: string) => Promise<void> },
): Promise<Waited[]> {
  const until = performance.now() + timeoutMs;
  const told = new Map<string, string>();
  const open = new Map(refs.filter(hasReadiness).map((ref) => [titleOf(ref), ref]));
  const done: Waited[] = [];
  while (open.size > 0 && performance.now() < until && !signal.aborted) {
    for (const [title, ref] of open) {
      const progress = progressOf(await look(client, ref, signal));
      const line = `${title}: ${progress.ready} of ${progress.wanted} ready`;
      if (told.get(title) !== line) await tell(line);
      told.set(title, line);
      if (!progress.isDone) continue;
      open.delete(title);
      done.push({ ...ref, ready: true });
    }
    if (open.size > 0) await delay(everyMs);
  }
  for (const ref of open.values()) done.push({ ...ref, ready: false, reasons: await reasonsOf(client, ref) });
  return done;
}

/** A server that does not answer for a moment (it may restart) is asked again. */
async function look(client: KubeClient, ref: ObjectRef, signal: AbortSignal): Promise<Workload | undefined> {
  try {
    const { name, namespace } = ref;
    return (await clientOf(client, ref).find(name, { namespace, signal })) as Workload | undefined;
  } catch (error) {
    if (isTransient(error)) return undefined;
    throw error;
  }
}

function progressOf(object: Workload | undefined): Progress {
  const { kind, metadata, spec, status = {} } = object ?? {};
  const isDaemonSet = kind === "DaemonSet";
  const wanted = (isDaemonSet ? status.desiredNumberScheduled : spec?.replicas) ?? 0;
  const ready = (isDaemonSet ? status.numberReady : status.readyReplicas) ?? 0;
  const updated = (isDaemonSet ? status.updatedNumberScheduled : status.updatedReplicas) ?? 0;
  const isSeen = (status.observedGeneration ?? 0) >= (metadata?.generation ?? 1);
  return { ready, wanted, isDone: isSeen && ready >= wanted && updated >= wanted };
}

async function reasonsOf(client: KubeClient, ref: ObjectRef): Promise<string[]> {
  const object = await look(client, ref, AbortSignal.timeout(5000));
  if (object === undefined) return ["it is not there"];
  const labels = Object.entries(object.spec?.selector?.matchLabels ?? {}).map(
    ([key, value]) => `${key}=${value}`,
  );
  const { items } = await client
    .resource(builtinResources.pods)
    .list({ namespace: ref.namespace, labelSelector: labels.join(",") });
  const reasons = items.filter((pod) => !isReady(pod)).map(reasonOf);
  if (reasons.length > 0) return reasons;
  return items.length === 0
    ? ["there is no pod of it: see its events (kubectl describe)"]
    : ["its pods are ready, and not all there yet"];
}

const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") === true;

function reasonOf({ metadata, spec, status }: Pod): string {
  const containers = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const waiting = containers.map(({ name, state, restartCount, lastState }) => {
    const ended = state?.terminated ?? lastState?.terminated;
    if (state?.waiting?.reason !== undefined)
      return `${name}: ${state.waiting.reason} ${state.waiting.message ?? ended?.message ?? ""}`.trim();
    return ended !== undefined && ended.exitCode !== 0
      ? `${name}: ended with ${ended.exitCode}, started ${restartCount} times again`
      : "";
  });
  const unschedulable = status?.conditions?.find(
    ({ type, status: is }) => type === "PodScheduled" && is === "False",
  );
  const why =
    waiting.filter((text) => text !== "").join("; ") || unschedulable?.message || status?.phase || "";
  const where = spec?.nodeName === undefined ? "no node yet" : spec.nodeName;
  return `pod ${metadata?.name} (${where}): ${why}`;
}

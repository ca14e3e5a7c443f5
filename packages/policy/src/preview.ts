import { isObject } from "./reader.ts";
import {
  type Judged,
  PolicySandbox,
  type SandboxContext,
  type SandboxQuery,
  type SandboxSide,
} from "./sandbox.ts";

/** A pod by its name. */
export interface NamedPod {
  /** `namespace/name`. */
  readonly name: string;
  readonly side: SandboxSide;
}

interface Isolation {
  readonly ingress: boolean;
  readonly egress: boolean;
}

/** A pod to which something else applies than before. */
export interface ChangedPod {
  readonly name: string;
  readonly before: Isolation;
  readonly after: Isolation;
  /** Changed policies that select it, before or after, as `kind namespace/name`. */
  readonly policies: readonly string[];
}

/** A connection that was seen and would be decided otherwise. */
export interface ChangedFlow<Flow> {
  readonly flow: Flow;
  readonly before: Judged;
  readonly after: Judged;
}

/** What a change of policies would do. */
export interface Preview<Flow> {
  readonly pods: readonly ChangedPod[];
  readonly flows: readonly ChangedFlow<Flow>[];
  /** Of those: connections that are let through today. */
  readonly nowDenied: number;
  readonly nowAllowed: number;
  /** Parts of the changed policies that are not understood. */
  readonly problems: readonly string[];
}

/** An object of the API, as far as it names itself. */
function nameOf(object: unknown): string {
  const metadata = isObject(object) && isObject(object["metadata"]) ? object["metadata"] : {};
  const [kind, namespace, name] = [
    isObject(object) ? object["kind"] : "",
    metadata["namespace"],
    metadata["name"],
  ];
  return `${String(kind)} ${typeof namespace === "string" ? `${namespace}/` : ""}${String(name)}`;
}

/** Objects after `changed` are applied, or deleted. */
export function applied(
  objects: readonly unknown[],
  changed: readonly unknown[],
  isDeletion: boolean,
): unknown[] {
  const names = new Set(changed.map(nameOf));
  const kept = objects.filter((object) => !names.has(nameOf(object)));
  return isDeletion ? kept : [...kept, ...changed];
}

/**
 * Compares what policies decide today with what they would decide: for pods, and for connections that were seen. Each
 * different question is asked once, however often it was seen.
 */
export function previewChange<Flow extends SandboxQuery>(
  today: readonly unknown[],
  change: { readonly objects: readonly unknown[]; readonly isDeletion: boolean },
  seen: { readonly pods: readonly NamedPod[]; readonly flows: Iterable<Flow> },
  context: SandboxContext = {},
): Preview<Flow> {
  const before = new PolicySandbox(today, context);
  const after = new PolicySandbox(applied(today, change.objects, change.isDeletion), context);
  const names = new Set(change.objects.map(nameOf));
  const flows = changedFlows(before, after, seen.flows);
  const changed = change.isDeletion ? [] : after.policies.filter(({ ref }) => names.has(refName(ref)));
  return {
    pods: seen.pods.flatMap((pod) => changedPod(before, after, pod, names) ?? []),
    flows,
    nowDenied: flows.filter((flow) => flow.before.isAllowed && !flow.after.isAllowed).length,
    nowAllowed: flows.filter((flow) => !flow.before.isAllowed && flow.after.isAllowed).length,
    problems: changed.flatMap(({ ref, problems }) =>
      problems.map(({ severity, path, message }) => `${refName(ref)}: ${severity}: ${path} ${message}`),
    ),
  };
}

function refName({ kind, namespace, name }: { kind: string; namespace?: string; name: string }): string {
  return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

function changedPod(
  before: PolicySandbox,
  after: PolicySandbox,
  { name, side }: NamedPod,
  changed: ReadonlySet<string>,
): ChangedPod | undefined {
  const selecting = [...before.selecting(side), ...after.selecting(side)].map(({ ref }) => refName(ref));
  const policies = [...new Set(selecting)].filter((policy) => changed.has(policy)).sort();
  if (policies.length === 0) return undefined;
  return { name, before: before.isolation(side), after: after.isolation(side), policies };
}

function changedFlows<Flow extends SandboxQuery>(
  before: PolicySandbox,
  after: PolicySandbox,
  flows: Iterable<Flow>,
): ChangedFlow<Flow>[] {
  const asked = new Set<string>();
  const changed: ChangedFlow<Flow>[] = [];
  for (const flow of flows) {
    const { source, destination, proto, port } = flow;
    const key = JSON.stringify([sideKey(source), sideKey(destination), proto, port]);
    if (asked.has(key)) continue;
    asked.add(key);
    const [was, will] = [before.judge(flow), after.judge(flow)];
    if (was.isAllowed !== will.isAllowed) changed.push({ flow, before: was, after: will });
  }
  return changed;
}

function sideKey({ isPod, labels, ip, names }: SandboxSide): unknown {
  return [isPod, labels, ip, names];
}

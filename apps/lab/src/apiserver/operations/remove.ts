import type { Cluster } from "../cluster.ts";
import { badRequest, conflict } from "../errors.ts";
import { at, isObject, type JsonObject, type KubeObject, stringOf, timestamp } from "../object.ts";
import { copyOf, type Resource, uidConflict } from "./prepare.ts";
import { isFinished, overwrite, removeNow } from "./write.ts";

/** What a client may ask of a deletion (meta/v1 DeleteOptions). */
export interface DeleteOptions {
  gracePeriodSeconds?: number;
  propagationPolicy?: string;
  preconditions?: { uid?: string; resourceVersion?: string };
  dryRun: boolean;
}

/** Reads DeleteOptions from a body and the query; the query wins where both speak. */
export function deleteOptions(body: unknown, query: URLSearchParams): DeleteOptions {
  const given: JsonObject = isObject(body) ? body : {};
  const grace = query.get("gracePeriodSeconds") ?? given["gracePeriodSeconds"];
  const policy = query.get("propagationPolicy") ?? given["propagationPolicy"];
  const orphan = query.get("orphanDependents") ?? given["orphanDependents"];
  const dryRun =
    query.getAll("dryRun").includes("All") ||
    (Array.isArray(given["dryRun"]) && given["dryRun"].includes("All"));
  const options: DeleteOptions = { dryRun };
  if (grace !== undefined && grace !== null) {
    options.gracePeriodSeconds = Number(grace);
    if (!Number.isInteger(options.gracePeriodSeconds))
      throw badRequest(`gracePeriodSeconds ${String(grace)} is not a number`);
    if (options.gracePeriodSeconds < 0) options.gracePeriodSeconds = 1;
  }
  if (typeof policy === "string") {
    if (!["Foreground", "Background", "Orphan"].includes(policy)) {
      throw badRequest(
        `invalid propagationPolicy ${JSON.stringify(policy)}: Foreground, Background or Orphan`,
      );
    }
    options.propagationPolicy = policy;
  } else if (orphan !== undefined && orphan !== null) {
    options.propagationPolicy = String(orphan) === "true" ? "Orphan" : "Background";
  }
  const preconditions = given["preconditions"];
  if (isObject(preconditions))
    options.preconditions = preconditions as { uid?: string; resourceVersion?: string };
  return options;
}

/** Result: the object is gone, or is on its way and still stored. */
export interface Deleted {
  object: KubeObject;
  gone: boolean;
}

function graceSeconds(object: KubeObject, options: DeleteOptions): number {
  if (object.kind !== "Pod" || object.apiVersion !== "v1") return 0;
  const phase = at(object, "status", "phase");
  const scheduled = stringOf(at(object, "spec", "nodeName")) !== "";
  // Nobody would end a pod that no kubelet has, and an ended one has nothing to end.
  if (!scheduled || phase === "Failed" || phase === "Succeeded") return 0;
  const wanted = options.gracePeriodSeconds ?? at(object, "spec", "terminationGracePeriodSeconds");
  return typeof wanted === "number" ? wanted : 30;
}

const policyFinalizers: Readonly<Record<string, string>> = {
  Foreground: "foregroundDeletion",
  Orphan: "orphan",
};

function finalizersFor(object: KubeObject, policy: string | undefined): string[] {
  const own = new Set(Object.values(policyFinalizers));
  const present = object.metadata.finalizers ?? [];
  if (policy === undefined) return present;
  const wanted = policyFinalizers[policy];
  return [...present.filter((each) => !own.has(each)), ...(wanted === undefined ? [] : [wanted])];
}

function checkPreconditions(object: KubeObject, { type }: Resource, options: DeleteOptions): void {
  const { uid, resourceVersion } = options.preconditions ?? {};
  const { name } = object.metadata;
  if (uid !== undefined && uid !== object.metadata.uid)
    throw uidConflict(type, name, uid, object.metadata.uid ?? "");
  if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion) {
    throw conflict(
      type.group,
      type.plural,
      name,
      `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${object.metadata.resourceVersion ?? ""}`,
    );
  }
}

/**
 * Deletes an object the way its kind asks for: at once, or marked with a deletionTimestamp until finalizers are
 * gone, until the kubelet has ended the pod, or until the namespace is empty.
 */
export function remove(
  cluster: Cluster,
  resource: Resource,
  object: KubeObject,
  options: DeleteOptions,
): Deleted {
  const { type } = resource;
  checkPreconditions(object, resource, options);
  const next = copyOf(object);
  const { metadata } = next;
  const marked = metadata.deletionTimestamp !== undefined;
  const finalizers = marked ? (metadata.finalizers ?? []) : finalizersFor(next, options.propagationPolicy);
  if (finalizers.length > 0) metadata.finalizers = finalizers;
  const grace = graceSeconds(next, options);
  const known = metadata.deletionGracePeriodSeconds ?? 0;
  // A second deletion can only shorten what the first one granted.
  const granted = marked ? Math.min(grace, known) : grace;
  if (!marked || granted < known) {
    const begun = marked ? Date.parse(metadata.deletionTimestamp ?? "") - known * 1000 : cluster.now();
    metadata.deletionTimestamp = timestamp(begun + granted * 1000);
    metadata.deletionGracePeriodSeconds = granted;
    if (type.counted && !marked) metadata.generation = (metadata.generation ?? 0) + 1;
  }
  if (type.plural === "namespaces" && type.group === "") {
    next["status"] = { ...(isObject(next["status"]) ? next["status"] : {}), phase: "Terminating" };
  }
  if (options.dryRun) return { object: next, gone: isFinished(next) };
  if (isFinished(next)) return { object: removeNow(cluster, resource, next), gone: true };
  const changed = !marked || granted < known;
  const stored = changed ? overwrite(cluster, resource, next) : object;
  type.strategy.terminating?.(stored, cluster);
  return { object: stored, gone: false };
}

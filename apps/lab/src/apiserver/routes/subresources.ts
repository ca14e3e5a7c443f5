import type { Cluster } from "../cluster.ts";
import {
  ApiError,
  badRequest,
  conflict,
  invalid,
  invalidValue,
  methodNotAllowed,
  noSuchResource,
} from "../errors.ts";
import {
  arrayOf,
  at,
  clone,
  ensureObject,
  isObject,
  type JsonObject,
  type KubeObject,
  objectOf,
  stringOf,
  timestamp,
} from "../object.ts";
import type { Resource } from "../operations/prepare.ts";
import { deleteOptions, remove } from "../operations/remove.ts";
import { requireObject, update } from "../operations/write.ts";
import { jsonPatch } from "../patch/json-patch.ts";
import { mergePatch } from "../patch/merge-patch.ts";
import type { ScalePaths } from "../resources/resource.ts";
import { matchesLabels, selectorText } from "../selectors.ts";
import {
  type Exchange,
  mediaType,
  parseDocument,
  readBody,
  readDocument,
  sendJson,
  writeOptionsOf,
} from "./exchange.ts";
import { podLogs } from "./kubelet.ts";
import { replaceObject, sendObject } from "./objects.ts";
import { patchObject } from "./patch.ts";
import type { RequestInfo } from "./request.ts";

type Handler = (cluster: Cluster, exchange: Exchange, info: RequestInfo, resource: Resource) => Promise<void>;

async function status(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  const method = exchange.request.method;
  if (!resource.version.status) throw noSuchResource();
  if (method === "GET")
    sendObject(cluster, exchange, 200, requireObject(cluster, resource, info.namespace, info.name), resource);
  else if (method === "PUT") await replaceObject(cluster, exchange, info, resource, "status");
  else if (method === "PATCH") await patchObject(cluster, exchange, info, resource, "status");
  else throw methodNotAllowed();
}

function steps(path: string): string[] {
  return path.split(".").filter((step) => step !== "");
}

function scaleOf(object: KubeObject, paths: ScalePaths): JsonObject {
  const selector =
    paths.labelSelectorPath === undefined ? undefined : at(object, ...steps(paths.labelSelectorPath));
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const text = typeof selector === "string" ? selector : selector === undefined ? "" : selectorText(selector);
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: at(object, ...steps(paths.specReplicasPath)) ?? 0 },
    status: {
      replicas: at(object, ...steps(paths.statusReplicasPath)) ?? 0,
      ...(text === "" ? {} : { selector: text }),
    },
  };
}

async function scale(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  const paths = resource.version.scale;
  if (paths === undefined) throw noSuchResource();
  const old = requireObject(cluster, resource, info.namespace, info.name);
  const { method } = exchange.request;
  if (method === "GET") {
    sendJson(exchange, 200, scaleOf(old, paths));
    return;
  }
  let wanted: unknown;
  if (method === "PUT") wanted = await readDocument(exchange.request);
  else if (method === "PATCH") {
    const patch = parseDocument((await readBody(exchange.request)).toString("utf8"), true);
    wanted = mediaType(exchange.request).startsWith("application/json-patch")
      ? jsonPatch(scaleOf(old, paths), patch)
      : mergePatch(scaleOf(old, paths), patch);
  } else throw methodNotAllowed();
  const replicas = at(wanted, "spec", "replicas") ?? 0;
  if (typeof replicas !== "number" || replicas < 0) {
    throw invalid("autoscaling", "Scale", info.name, [
      invalidValue("spec.replicas", replicas, "must be greater than or equal to 0"),
    ]);
  }
  const next = clone(old);
  const given = stringOf(at(wanted, "metadata", "resourceVersion"));
  if (given !== "") next.metadata.resourceVersion = given;
  else delete next.metadata.resourceVersion;
  const path = steps(paths.specReplicasPath);
  const last = path.pop() ?? "replicas";
  path.reduce<JsonObject>((parent, step) => ensureObject(parent, step), next)[last] = replicas;
  const updated = update(cluster, resource, next, old, {
    ...writeOptionsOf(exchange),
    fieldValidation: "Ignore",
  });
  sendJson(exchange, 200, scaleOf(updated, paths));
}

/** Puts a pod on a node, once. */
async function binding(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  if (exchange.request.method !== "POST") throw methodNotAllowed();
  const body = await readDocument(exchange.request);
  const node = stringOf(at(body, "target", "name"));
  if (node === "") throw badRequest("the binding names no target node");
  const old = requireObject(cluster, resource, info.namespace, info.name);
  const current = stringOf(at(old, "spec", "nodeName"));
  if (current !== "") {
    throw conflict(
      "",
      "pods/binding",
      info.name,
      `pod ${info.name} is already assigned to node ${JSON.stringify(current)}`,
    );
  }
  if (old.metadata.deletionTimestamp !== undefined) {
    throw conflict(
      "",
      "pods/binding",
      info.name,
      `pod ${info.name} is being deleted, cannot be assigned to a host`,
    );
  }
  const next = clone(old);
  ensureObject(next, "spec")["nodeName"] = node;
  Object.assign(
    ensureObject(next.metadata as unknown as JsonObject, "annotations"),
    objectOf(at(body, "metadata", "annotations")),
  );
  if (Object.keys(next.metadata.annotations ?? {}).length === 0) delete next.metadata.annotations;
  const options = { ...writeOptionsOf(exchange), fieldValidation: "Ignore" as const };
  const bound = update(cluster, resource, next, old, options);
  const scheduled = clone(bound);
  const conditions = arrayOf(at(scheduled, "status", "conditions")).filter(
    (each) => at(each, "type") !== "PodScheduled",
  );
  const condition = {
    type: "PodScheduled",
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: timestamp(cluster.now()),
  };
  ensureObject(scheduled, "status")["conditions"] = [...conditions, condition];
  if (!options.dryRun) update(cluster, resource, scheduled, bound, options, "status");
  sendJson(exchange, 201, { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 });
}

function disruptionAllowed(cluster: Cluster, pod: KubeObject): boolean {
  const prefix = `${pod.metadata.namespace ?? ""}/`;
  for (const { object } of cluster.store.bucket("policy/poddisruptionbudgets").entries(prefix)) {
    const selector = at(object, "spec", "selector");
    if (!isObject(selector) || !matchesLabels(selector, objectOf(pod.metadata.labels))) continue;
    if (Number(at(object, "status", "disruptionsAllowed") ?? 0) <= 0) return false;
  }
  return true;
}

/** Deletes a pod unless a PodDisruptionBudget forbids it now. */
async function eviction(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  if (exchange.request.method !== "POST") throw methodNotAllowed();
  const body = await readDocument(exchange.request);
  const pod = requireObject(cluster, resource, info.namespace, info.name);
  const ended = ["Succeeded", "Failed", "Pending"].includes(stringOf(at(pod, "status", "phase")));
  if (!ended && !disruptionAllowed(cluster, pod)) {
    throw new ApiError(
      429,
      "TooManyRequests",
      "Cannot evict pod as it would violate the pod's disruption budget.",
      {
        causes: [
          { reason: "DisruptionBudget", message: "The disruption budget needs more healthy pods first." },
        ],
        retryAfterSeconds: 10,
      },
    );
  }
  remove(cluster, resource, pod, deleteOptions(at(body, "deleteOptions"), exchange.query));
  sendJson(exchange, 201, { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 });
}

/** The finalizers of a namespace's spec: when the last is gone, so is the namespace. */
async function finalize(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  if (exchange.request.method !== "PUT") throw methodNotAllowed();
  await replaceObject(cluster, exchange, info, resource, "finalize");
}

const handlers: Readonly<Record<string, Handler>> = {
  "/pods/binding": binding,
  "/pods/eviction": eviction,
  "/pods/log": podLogs,
  "/namespaces/finalize": finalize,
};

/** Serves `<object>/<subresource>`. Upgrades (exec, portforward) do not come here: routes/kubelet.ts takes them. */
export async function subresource(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  if (info.subresource === "status") return status(cluster, exchange, info, resource);
  if (info.subresource === "scale") return scale(cluster, exchange, info, resource);
  const handler = handlers[`${info.group}/${info.resource}/${info.subresource}`];
  if (handler !== undefined) return handler(cluster, exchange, info, resource);
  if (["exec", "attach", "portforward"].includes(info.subresource)) {
    throw badRequest(
      `${info.subresource} needs a WebSocket upgrade (kubectl 1.30 or later); the request was ${exchange.request.headers.upgrade ?? "a plain one"}`,
    );
  }
  throw noSuchResource();
}

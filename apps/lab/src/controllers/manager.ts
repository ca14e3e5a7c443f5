import { type Clock, errorText, type Logger, systemClock } from "@axoneme/base";
import type { KubeClient } from "@axoneme/kube";
import type {
  ControllerRevision,
  DaemonSet,
  Deployment,
  ReplicaSet,
  StatefulSet,
} from "kubernetes-types/apps/v1";
import type { Job } from "kubernetes-types/batch/v1";
import type { Lease } from "kubernetes-types/coordination/v1";
import type {
  ConfigMap,
  Endpoints,
  Namespace,
  Node,
  Pod,
  Service,
  ServiceAccount,
} from "kubernetes-types/core/v1";
import type { EndpointSlice } from "kubernetes-types/discovery/v1";
import type { Action } from "./action.ts";
import { type CacheEvent, Caches } from "./cache.ts";
import { reconcileDaemonSet } from "./daemonset.ts";
import { reconcileDeployment } from "./deployment.ts";
import { mirrorEndpoints } from "./endpointmirror.ts";
import { reconcileEndpoints } from "./endpoints.ts";
import { reconcileEndpointSlices, serviceNameLabel } from "./endpointslice.ts";
import { EventRecorder } from "./eventrecorder.ts";
import { ActionExecutor } from "./executor.ts";
import { GarbageCollector } from "./garbagecollector.ts";
import { reconcileJob } from "./job.ts";
import { reconcileNamespace } from "./namespace.ts";
import { reconcileNode, reconcileOrphanedPods } from "./nodelifecycle.ts";
import {
  controllerOf,
  type KubeObject,
  keyOf,
  mapMatches,
  meta,
  nameOf,
  selectorMatches,
  splitKey,
} from "./objects.ts";
import { WorkQueue } from "./queue.ts";
import { reconcileReplicaSet } from "./replicaset.ts";
import { schedule } from "./scheduler.ts";
import { reconcileStatefulSet } from "./statefulset.ts";

export interface ManagerOptions {
  client: KubeClient;
  log: Logger;
  clock?: Clock;
  /** Published in every namespace as config map kube-root-ca.crt. */
  caCertificate?: string;
  /** How long a node's lease stays fresh (default 40 s) and its pods stay on it once it is away (300 s). */
  nodeGraceMs?: number;
  evictAfterMs?: number;
}

const workloads = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"] as const;
type Workload = (typeof workloads)[number];
type QueueName = Workload | "Scheduler" | "EndpointSlice" | "Namespace" | "Node" | "OrphanedPods";

/** Runs all controllers: turns changes into keys, and for each key builds the view and carries out the answer. */
export class ControllerManager {
  readonly #options: ManagerOptions;
  readonly #clock: Clock;
  readonly #caches: Caches;
  readonly #executor: ActionExecutor;
  readonly #garbage: GarbageCollector;
  readonly #queues = new Map<QueueName, WorkQueue>();
  #started = false;
  #discovery: Promise<void> = Promise.resolve();

  constructor(options: ManagerOptions) {
    const { client, log } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#caches = new Caches(client, log, (event) => this.#onEvent(event));
    const events = new EventRecorder(client, "axon-lab-controllers", log);
    this.#executor = new ActionExecutor(client, this.#caches, events);
    this.#garbage = new GarbageCollector({
      client,
      caches: this.#caches,
      executor: this.#executor,
      clock: this.#clock,
      log,
    });
    for (const kind of workloads) this.#addQueue(kind, (key) => this.#workload(kind, key));
    this.#addQueue("Scheduler", () => this.#schedule(), 2);
    this.#addQueue("EndpointSlice", (key) => this.#endpoints(key), 20);
    this.#addQueue("Namespace", (key) => this.#namespace(key));
    this.#addQueue("Node", (key) => this.#node(key));
    this.#addQueue("OrphanedPods", () => this.#orphanedPods(), 1000);
  }

  /** Fills the caches, then reconciles everything once and from then on what changes. */
  async start(): Promise<void> {
    await this.#caches.discover();
    this.#started = true;
    for (const cache of this.#caches.all()) {
      for (const object of cache.values()) this.#route({ type: "add", resource: cache.resource, object });
    }
    this.#queue("OrphanedPods").add("all");
  }

  async stop(): Promise<void> {
    for (const queue of this.#queues.values()) queue.stop();
    this.#garbage.stop();
    await this.#caches.stop();
  }

  #addQueue(name: QueueName, reconcile: (key: string) => Action[], gatherMs = 0): void {
    const run = async (key: string): Promise<{ againMs?: number }> => this.#executor.run(reconcile(key));
    const { log } = this.#options;
    this.#queues.set(name, new WorkQueue({ name, clock: this.#clock, log, gatherMs, run }));
  }

  #queue(name: QueueName): WorkQueue {
    const queue = this.#queues.get(name);
    if (queue === undefined) throw new Error(`no queue ${name}`);
    return queue;
  }

  // --- from changes to keys ---

  #onEvent(event: CacheEvent): void {
    this.#garbage.observe(event);
    if (this.#started) this.#route(event);
  }

  #route(event: CacheEvent): void {
    const { object, resource } = event;
    this.#garbage.enqueue(event);
    if (resource.kind === "Pod") this.#podChanged(event);
    else if (resource.kind === "Node") this.#nodeChanged(event);
    else if (resource.kind === "Service" || resource.kind === "Endpoints")
      this.#queue("EndpointSlice").add(keyOf(object));
    else if (resource.kind === "EndpointSlice") this.#sliceChanged(object);
    else if (resource.kind === "Namespace") this.#queue("Namespace").add(nameOf(object));
    else if (resource.kind === "CustomResourceDefinition") this.#rediscover(event);
    else this.#otherChanged(event);
  }

  #otherChanged({ type, object, resource }: CacheEvent): void {
    const kind = workloads.find((name) => name === resource.kind);
    if (kind !== undefined) this.#queue(kind).add(keyOf(object));
    this.#ownerChanged(object);
    if (type === "delete") this.#furnitureGone(object);
  }

  /** What every namespace has comes back when somebody deletes it. */
  #furnitureGone(object: KubeObject): void {
    const namespace = meta(object).namespace;
    const isFurniture = object.kind === "ServiceAccount" || object.kind === "ConfigMap";
    if (namespace !== undefined && isFurniture) this.#queue("Namespace").add(namespace);
  }

  #ownerChanged(object: KubeObject): void {
    const owner = controllerOf(object);
    const kind = workloads.find((name) => name === owner?.kind);
    if (owner !== undefined && kind !== undefined)
      this.#queue(kind).add(`${meta(object).namespace}/${owner.name}`);
  }

  #podChanged(event: CacheEvent): void {
    const pod = event.object as Pod;
    const namespace = meta(pod).namespace;
    this.#ownerChanged(pod);
    if (controllerOf(pod) === undefined && event.type !== "delete") this.#offerOrphan(pod);
    if (event.type === "delete") this.#recreatingDeployment(pod);
    if (event.type === "delete" || pod.spec?.nodeName === undefined || isOver(pod))
      this.#queue("Scheduler").add("all");
    if (event.type === "add" && pod.spec?.nodeName !== undefined) this.#queue("OrphanedPods").add("all");
    if (event.type === "update" && !endpointRelevant(pod, event.previous as Pod | undefined)) return;
    for (const service of this.#objects<Service>("", "services", namespace)) {
      const selector = service.spec?.selector;
      if (selector === undefined) continue;
      const before = event.previous === undefined ? undefined : meta(event.previous).labels;
      if (mapMatches(selector, meta(pod).labels) || (before !== undefined && mapMatches(selector, before))) {
        this.#queue("EndpointSlice").add(keyOf(service));
      }
    }
  }

  /** A pod nobody controls may belong to a workload whose selector it matches. */
  #offerOrphan(pod: Pod): void {
    const namespace = meta(pod).namespace;
    const takers: [Workload, string, string][] = [
      ["ReplicaSet", "apps", "replicasets"],
      ["StatefulSet", "apps", "statefulsets"],
      ["DaemonSet", "apps", "daemonsets"],
      ["Job", "batch", "jobs"],
    ];
    for (const [kind, group, plural] of takers) {
      for (const taker of this.#objects<ReplicaSet>(group, plural, namespace)) {
        if (selectorMatches(taker.spec?.selector, meta(pod).labels)) this.#queue(kind).add(keyOf(taker));
      }
    }
  }

  #recreatingDeployment(pod: Pod): void {
    const owner = controllerOf(pod);
    if (owner?.kind !== "ReplicaSet") return;
    const set = this.#caches.of("apps", "replicasets")?.get(`${meta(pod).namespace}/${owner.name}`);
    if (set !== undefined) this.#ownerChanged(set);
  }

  #nodeChanged(event: CacheEvent): void {
    this.#queue("Node").add(nameOf(event.object));
    this.#queue("Scheduler").add("all");
    if (event.type === "delete") this.#queue("OrphanedPods").add("all");
    if (zoneOf(event.object) !== zoneOf(event.previous)) {
      for (const service of this.#objects<Service>("", "services"))
        this.#queue("EndpointSlice").add(keyOf(service));
    }
    if (event.type === "update" && !placementRelevant(event.object as Node, event.previous as Node)) return;
    for (const set of this.#objects<DaemonSet>("apps", "daemonsets"))
      this.#queue("DaemonSet").add(keyOf(set));
  }

  #sliceChanged(slice: KubeObject): void {
    const service = meta(slice).labels?.[serviceNameLabel];
    if (service !== undefined) this.#queue("EndpointSlice").add(`${meta(slice).namespace}/${service}`);
  }

  /** A new kind is served a moment after its CRD is there, a removed one no more. */
  #rediscover(event: CacheEvent): void {
    const crd = event.object as KubeObject & { spec?: { group?: string; names?: { plural?: string } } };
    const { group = "", names } = crd.spec ?? {};
    const gone = event.type === "delete";
    if (!gone && this.#caches.of(group, names?.plural ?? "") !== undefined) return;
    this.#discovery = this.#discovery
      .then(() => (gone ? this.#caches.drop(group, names?.plural ?? "") : this.#caches.discover()))
      .catch((error: unknown) => this.#options.log.warn({ err: errorText(error) }, "discovery failed"));
  }

  // --- from keys to actions ---

  *#objects<T extends KubeObject>(group: string, plural: string, namespace?: string): Iterable<T> {
    for (const object of this.#caches.of(group, plural)?.in(namespace) ?? []) yield object as T;
  }

  #list<T extends KubeObject>(group: string, plural: string, namespace?: string): T[] {
    return [...this.#objects<T>(group, plural, namespace)];
  }

  #workload(kind: Workload, key: string): Action[] {
    const cache =
      kind === "Job" ? this.#caches.of("batch", "jobs") : this.#caches.of("apps", `${kind.toLowerCase()}s`);
    const object = cache?.get(key);
    if (object === undefined) return [];
    const { namespace } = splitKey(key);
    const now = this.#clock.now();
    const pods = this.#list<Pod>("", "pods", namespace);
    const revisions = (): ControllerRevision[] =>
      this.#list<ControllerRevision>("apps", "controllerrevisions", namespace);
    switch (kind) {
      case "Deployment": {
        const replicaSets = this.#list<ReplicaSet>("apps", "replicasets", namespace);
        return reconcileDeployment({ deployment: object as Deployment, replicaSets, pods, now });
      }
      case "ReplicaSet":
        return reconcileReplicaSet({ replicaSet: object as ReplicaSet, pods, now });
      case "StatefulSet":
        return reconcileStatefulSet({
          statefulSet: object as StatefulSet,
          pods,
          revisions: revisions(),
          now,
        });
      case "DaemonSet": {
        const nodes = this.#list<Node>("", "nodes");
        return reconcileDaemonSet({
          daemonSet: object as DaemonSet,
          pods,
          nodes,
          revisions: revisions(),
          now,
        });
      }
      case "Job":
        return reconcileJob({ job: object as Job, pods, now });
    }
  }

  #schedule(): Action[] {
    const pods = this.#list<Pod>("", "pods");
    const hasNode = (pod: Pod): boolean => pod.spec?.nodeName !== undefined && pod.spec.nodeName !== "";
    const pending = pods.filter((pod) => !hasNode(pod));
    if (pending.length === 0) return [];
    pending.sort((a, b) => ((meta(a).creationTimestamp ?? "") < (meta(b).creationTimestamp ?? "") ? -1 : 1));
    const placed = pods.filter(hasNode);
    return schedule({ pending, placed, nodes: this.#list<Node>("", "nodes"), now: this.#clock.now() });
  }

  #endpoints(key: string): Action[] {
    const service = this.#caches.of("", "services")?.get(key) as Service | undefined;
    if (service === undefined) return [];
    const { namespace } = splitKey(key);
    const pods = this.#list<Pod>("", "pods", namespace);
    const slices = this.#list<EndpointSlice>("discovery.k8s.io", "endpointslices", namespace);
    const nodes = new Map(this.#list<Node>("", "nodes").map((node) => [nameOf(node), node]));
    const endpoints = this.#caches.of("", "endpoints")?.get(key) as Endpoints | undefined;
    return [
      ...reconcileEndpointSlices({ service, pods, slices, nodes }),
      ...reconcileEndpoints({ service, pods, endpoints }),
      ...mirrorEndpoints({ service, endpoints, slices }),
    ];
  }

  #namespace(name: string): Action[] {
    const namespace = this.#caches.of("", "namespaces")?.get(name) as Namespace | undefined;
    if (namespace === undefined) return [];
    return reconcileNamespace({
      namespace,
      serviceAccounts: this.#list<ServiceAccount>("", "serviceaccounts", name),
      configMaps: this.#list<ConfigMap>("", "configmaps", name),
      caCertificate: this.#options.caCertificate,
    });
  }

  #node(name: string): Action[] {
    const node = this.#caches.of("", "nodes")?.get(name) as Node | undefined;
    if (node === undefined) return [];
    const lease = this.#caches.of("coordination.k8s.io", "leases")?.get(`kube-node-lease/${name}`);
    const pods = this.#list<Pod>("", "pods").filter((pod) => pod.spec?.nodeName === name);
    const { nodeGraceMs: graceMs = 40_000, evictAfterMs = 300_000 } = this.#options;
    const now = this.#clock.now();
    return reconcileNode({ node, lease: lease as Lease | undefined, pods, now, graceMs, evictAfterMs });
  }

  #orphanedPods(): Action[] {
    const nodes = new Set(this.#list<Node>("", "nodes").map(nameOf));
    return reconcileOrphanedPods(this.#list<Pod>("", "pods"), nodes);
  }
}

function isOver(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** Whether the change may alter an endpoint: its address, its readiness, its end, its labels. */
function endpointRelevant(pod: Pod, previous: Pod | undefined): boolean {
  if (previous === undefined) return true;
  const view = (object: Pod): string =>
    JSON.stringify([
      object.metadata?.labels,
      object.metadata?.deletionTimestamp,
      object.status?.podIPs,
      object.status?.phase,
      object.spec?.nodeName,
      object.status?.conditions?.find((entry) => entry.type === "Ready")?.status,
    ]);
  return view(pod) !== view(previous);
}

function zoneOf(node: KubeObject | undefined): string | undefined {
  return node?.metadata?.labels?.["topology.kubernetes.io/zone"];
}

function placementRelevant(node: Node, previous: Node): boolean {
  const view = (object: Node): string =>
    JSON.stringify([object.metadata?.labels, object.spec?.taints, object.spec?.unschedulable]);
  return view(node) !== view(previous);
}

import type { HealthReporter, Module } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import { type Kernel, readServiceRows } from "@axoneme/datapath";
import type { CiliumLocalRedirectPolicy, EventRecorder, ListWatchHandlers } from "@axoneme/kube";
import {
  type EndpointSliceObject,
  type LbChange,
  type LocalRedirectPolicyObject,
  type Owner,
  type Problem,
  ServiceCompiler,
  type ServiceObject,
} from "@axoneme/loadbalancer";
import { HealthCheckServers } from "../lb/health-check.ts";
import type { LocalPodState } from "../lb/local-pods.ts";
import { hostPortsOf, localPodOf } from "../lb/local-pods.ts";
import { ProblemReporter, type UidOf } from "../lb/reporter.ts";
import type { ServiceSettings } from "../lb/settings.ts";
import { ServiceWriter } from "../lb/writer.ts";

/** How often freed slots are looked after. */
const reclaimEveryMs = 1000;
const udp = 17;

/** What the module works with. */
export interface ServiceDeps {
  readonly kernel: Kernel;
  readonly settings: ServiceSettings;
  /** Events that are the same whichever node writes them, and those of this node. */
  readonly events: { readonly shared: EventRecorder; readonly own: EventRecorder };
  readonly uidOf: UidOf;
  /** Whether a health check that came to this address is to be answered. */
  readonly servesHealthChecks: (address: string) => boolean;
  readonly log: Logger;
}

/** Problems of one object, from wherever they come. */
export interface ObjectProblems {
  readonly owner: Owner;
  readonly texts: readonly string[];
  /** Some of its rows are not in the kernel, and are tried again. */
  readonly refused: boolean;
}

/**
 * Services from the API to the kernel. What one turn of the event loop brings is compiled and written together: a
 * list of 20,000 is one commit, a single change is written before anything else happens.
 */
export class ServiceModule implements Module {
  readonly name = "services";
  readonly compiler: ServiceCompiler;
  readonly writer: ServiceWriter;
  readonly #kernel: Kernel;
  readonly #reporter: ProblemReporter;
  readonly #healthChecks: HealthCheckServers;
  readonly #portProblems = new Map<string, string>();
  readonly #queue: (() => void)[] = [];
  #healthCheckPorts = new Set<string>();
  #healthChecksChanged = false;
  #timer: NodeJS.Timeout | undefined;
  #health: HealthReporter | undefined;
  #synced = false;
  #lastUpdated = new Date();
  /** Told of backends whose rows are gone: their sockets are left over. */
  onBackendsRemoved: (ids: readonly number[]) => void = () => undefined;
  /** Objects seen, by what happened to them: for metrics. */
  readonly seen = { add: 0, update: 0, delete: 0 };

  constructor({ kernel, settings, events, uidOf, servesHealthChecks, log }: ServiceDeps) {
    this.#kernel = kernel;
    this.compiler = new ServiceCompiler(settings);
    this.compiler.restore(readServiceRows(kernel.maps));
    this.#reporter = new ProblemReporter(events, uidOf);
    this.writer = new ServiceWriter(
      kernel.maps,
      {
        written: (changes) => this.#written(changes),
        failuresChanged: () => this.#failuresChanged(),
      },
      log,
    );
    this.#healthChecks = new HealthCheckServers({
      localEndpoints: (namespace, name) => this.#localEndpoints(namespace, name),
      serves: servesHealthChecks,
      onProblem: (service, problem) => this.#portProblem(service, problem),
      log,
    });
  }

  start(health: HealthReporter): void {
    this.#health = health;
    this.#report();
    this.#timer = setInterval(() => this.#reclaim(), reclaimEveryMs).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.flush();
    this.writer.stop();
    await this.#healthChecks.stop();
  }

  // ---- sources --------------------------------------------------------------------------------------------------

  /** For a ListWatch of Service. */
  services(): ListWatchHandlers<ServiceObject> {
    const upsert = (object: ServiceObject) => {
      this.compiler.upsertService(object);
      this.#healthChecksChanged ||= this.#hasHealthCheck(object);
    };
    return this.#counted({
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (object) => {
        const { namespace = "", name = "" } = object.metadata ?? {};
        this.compiler.deleteService(namespace, name);
        this.#healthChecksChanged ||= this.#hasHealthCheck(object);
      },
    });
  }

  /** For a ListWatch of EndpointSlice. */
  slices(): ListWatchHandlers<EndpointSliceObject> {
    return this.#queued({
      onAdd: (object) => void this.compiler.upsertSlice(object),
      onUpdate: (object) => void this.compiler.upsertSlice(object),
      onDelete: (object) => void this.compiler.deleteSlice(object),
    });
  }

  /** For a ListWatch of CiliumLocalRedirectPolicy. */
  redirects(): ListWatchHandlers<CiliumLocalRedirectPolicy> {
    const upsert = (policy: CiliumLocalRedirectPolicy) =>
      void this.compiler.upsertRedirect(policy as LocalRedirectPolicyObject);
    return this.#queued({
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: ({ metadata = {} }) =>
        void this.compiler.deleteRedirect(metadata.namespace ?? "", metadata.name ?? ""),
    });
  }

  /** A pod of this node is there or another than before; undefined: gone. */
  localPod(key: string, pod: LocalPodState | undefined): void {
    this.#enqueue(() => {
      this.compiler.upsertHostPorts(key, pod ? hostPortsOf(pod) : []);
      const [namespace = "", name = ""] = key.split("/");
      if (pod) this.compiler.upsertLocalPod(localPodOf(pod));
      else this.compiler.deleteLocalPod(namespace, name);
    });
  }

  /** The node's own object: its zone narrows backends that are hinted. */
  setNode(node: { readonly name: string; readonly zone: string | undefined }): void {
    this.#enqueue(() => void this.compiler.setNode(node));
  }

  /** Removes rows of Services that went while no agent ran. Call after all resources were listed. */
  prune(): void {
    this.flush();
    this.writer.write(this.compiler.prune());
    this.#synced = true;
    this.#committed();
  }

  // ---- to the kernel --------------------------------------------------------------------------------------------

  #counted<S>(handlers: Required<Omit<ListWatchHandlers<S>, "onSynced">>): ListWatchHandlers<S> {
    const { onAdd, onUpdate, onDelete } = this.#queued(handlers);
    return {
      onAdd: (object) => {
        this.seen.add++;
        onAdd?.(object);
      },
      onUpdate: (object, previous) => {
        this.seen.update++;
        onUpdate?.(object, previous);
      },
      onDelete: (object) => {
        this.seen.delete++;
        onDelete?.(object);
      },
    };
  }

  #queued<S>(handlers: Required<Omit<ListWatchHandlers<S>, "onSynced">>): ListWatchHandlers<S> {
    return {
      onAdd: (object) => this.#enqueue(() => handlers.onAdd(object)),
      onUpdate: (object, previous) => this.#enqueue(() => handlers.onUpdate(object, previous)),
      onDelete: (object) => this.#enqueue(() => handlers.onDelete(object)),
    };
  }

  #enqueue(event: () => void): void {
    this.#queue.push(event);
    if (this.#queue.length === 1) queueMicrotask(() => this.flush());
  }

  /** Compiles and writes what has been told so far. */
  flush(): void {
    const events = this.#queue.splice(0);
    if (events.length === 0) return;
    const changes = this.compiler.batch(() => {
      for (const event of events) event();
    });
    this.writer.write(changes);
    this.#committed();
  }

  #committed(): void {
    this.#lastUpdated = new Date();
    this.#openHealthChecks();
    for (const { owner, problems } of this.compiler.drainProblems()) this.#reporter.compiled(owner, problems);
    this.#report();
  }

  /**
   * Datagrams go on as their connection was decided, to a backend that is gone or past a port that nobody served until
   * now: they find out at the next packet only if the epoch says so.
   */
  #written(changes: readonly LbChange[]): void {
    const removed = changes.flatMap((change) => (change.op === "delete-backend" ? [change.id] : []));
    if (removed.length > 0) this.onBackendsRemoved(removed);
    if (changes.some(redirectsDatagrams)) this.#kernel.changed();
  }

  /** Slots are not given again while a row that may still name them could not be written. */
  #reclaim(): void {
    if (this.writer.failed().size > 0) return;
    const changes = this.compiler.reclaim(performance.now());
    if (changes.length === 0) return;
    this.writer.write(changes);
    this.#committed();
  }

  // ---- health checks --------------------------------------------------------------------------------------------

  #hasHealthCheck({ metadata, spec }: ServiceObject): boolean {
    const port = spec?.healthCheckNodePort ?? 0;
    return port > 0 || this.#healthCheckPorts.has(`${metadata?.namespace}/${metadata?.name}`);
  }

  #openHealthChecks(): void {
    if (!this.#healthChecksChanged) return;
    this.#healthChecksChanged = false;
    const checks = this.compiler.healthChecks();
    const wanted = new Map(checks.map((check) => [`${check.namespace}/${check.name}`, check]));
    for (const key of this.#healthCheckPorts) {
      if (wanted.has(key)) continue;
      this.#healthChecks.set(key, undefined);
      this.#portProblems.delete(key);
    }
    for (const [key, check] of wanted) this.#healthChecks.set(key, check);
    this.#healthCheckPorts = new Set(wanted.keys());
  }

  #localEndpoints(namespace: string, name: string): number {
    return (
      this.compiler.healthChecks().find((check) => check.namespace === namespace && check.name === name)
        ?.localEndpoints ?? 0
    );
  }

  #portProblem(key: string, problem: string | undefined): void {
    const before = this.#portProblems.get(key);
    if (before === problem) return;
    if (problem === undefined) this.#portProblems.delete(key);
    else {
      this.#portProblems.set(key, problem);
      this.#reporter.local(serviceOwner(key), "HealthCheckPortTaken", problem);
    }
    this.#report();
  }

  // ---- problems -------------------------------------------------------------------------------------------------

  /** Everything that is not as an object asks, by object. */
  problems(): ObjectProblems[] {
    const all = new Map<string, { owner: Owner; texts: string[]; refused: boolean }>();
    const add = (owner: Owner, text: string, refused: boolean) => {
      const entry = all.get(owner.text) ?? { owner, texts: [], refused: false };
      all.set(owner.text, { owner, texts: [...entry.texts, text], refused: entry.refused || refused });
    };
    for (const problem of this.compiler.problems()) add(ownerOfProblem(problem), problemText(problem), false);
    for (const [key, problem] of this.#portProblems) add(serviceOwner(key), problem, false);
    for (const { owner, error } of this.#refusals().values())
      add(owner, `its rows could not be written: ${error}`, true);
    return [...all.values()];
  }

  /** The Services whose rows the kernel refused. */
  #refusals(): Map<string, { owner: Owner; error: string }> {
    const refusals = new Map<string, { owner: Owner; error: string }>();
    for (const [id, { error }] of this.writer.failed()) {
      const owner = this.compiler.ownerOf(id);
      if (owner) refusals.set(owner.text, { owner, error });
    }
    return refusals;
  }

  #failuresChanged(): void {
    this.#reporter.refused(this.#refusals());
    this.#report();
  }

  #report(): void {
    const health = this.#health;
    if (!health) return;
    const refused = this.writer.failed().size;
    if (refused > 0) {
      const [first] = this.writer.failed().values();
      health.degraded(`the kernel refuses rows of ${refused} Service ports: ${first?.error ?? ""}`);
      return;
    }
    health.ok("in step with the API");
  }

  /** For kube-proxy's health check. */
  proxyHealth(): { healthy: boolean; lastUpdated: Date } {
    const healthy = this.#synced && this.writer.failed().size === 0;
    // Nothing to do counts as up to date: what was written is what is wanted.
    return { healthy, lastUpdated: healthy ? new Date() : this.#lastUpdated };
  }
}

function redirectsDatagrams(change: LbChange): boolean {
  if (change.op === "delete-backend") return change.row.proto === udp;
  return change.op === "put-service" && change.fresh === true && change.key.proto === udp;
}

function serviceOwner(key: string): Owner {
  const [namespace = "", name = ""] = key.split("/");
  return { kind: "Service", namespace, name, text: `Service ${key}` };
}

function ownerOfProblem({ kind, namespace, name }: Problem): Owner {
  return { kind, namespace, name, text: `${kind} ${namespace}/${name}` };
}

function problemText({ port, reason }: Problem): string {
  return port === "" ? reason : `port ${port}: ${reason}`;
}

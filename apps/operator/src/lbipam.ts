import { setMaxListeners } from "node:events";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  type CiliumLoadBalancerIPPool,
  isConflict,
  isNotFound,
  type KubeClient,
  ListWatch,
  poolConditions,
  resources,
  type Service,
} from "@axoneme/kube";
import { LoadBalancerIpam, type PoolState, requestCondition, type ServiceState } from "@axoneme/loadbalancer";
import { fieldManager } from "./crds.ts";
import type { EventRecorder } from "./eventrecorder.ts";
import { type Ingress, type PoolRow, poolRow, type ServiceRow, serviceRow, timeNow } from "./lbrows.ts";
import { WorkQueue } from "./workqueue.ts";

/** Services written side by side: the server's time for one does not hold up the others. */
const writers = 16;
/** The numbers of a pool are written at most this often: every Service changes them. */
const poolPauseMs = 250;

interface Around {
  client: KubeClient;
  events: EventRecorder;
  log: Logger;
  signal: AbortSignal;
}

/**
 * Gives Services of type LoadBalancer their addresses (LB-IPAM): watches pools and Services, lets the allocator
 * decide, and writes `status.loadBalancer.ingress` and our condition. The objects are the only record: at start the
 * addresses in use are taken over before any is given out, so that a restart moves none.
 */
export class LoadBalancerPools implements Module {
  readonly name = "lb-ipam";
  readonly #around: Around;
  readonly #pools: ListWatch<CiliumLoadBalancerIPPool, PoolRow>;
  readonly #services: ListWatch<Service, ServiceRow>;
  readonly #ipam = new LoadBalancerIpam();
  readonly #serviceQueue: WorkQueue;
  readonly #poolQueue: WorkQueue;
  readonly #duePools = new Set<string>();
  #poolTimer: NodeJS.Timeout | undefined;
  /** Until both collections are known, nothing is decided. */
  #restored = false;
  #health: HealthReporter | undefined;

  /** `classless`: Services without a load balancer class are ours too. */
  constructor(around: Around, classless: boolean) {
    const { client, log } = around;
    this.#around = around;
    // Each call under way listens to it.
    setMaxListeners(writers * 4, around.signal);
    this.#pools = new ListWatch(client, resources.ciliumloadbalancerippools, { log, trim: poolRow });
    this.#services = new ListWatch(client, resources.services, {
      log,
      trim: (service) => serviceRow(service, classless),
    });
    const failed = (name: string, error: unknown): void => this.#failed(name, error);
    this.#serviceQueue = new WorkQueue((key) => this.#writeService(key), failed, writers);
    this.#poolQueue = new WorkQueue((name) => this.#writePool(name), failed);
  }

  /** Does not wait: where pools are not served yet, there is nothing to give. */
  start(health: HealthReporter): void {
    this.#health = health;
    const putPool = (row: PoolRow): void => this.#act(() => this.#ipam.putPool(row.object));
    this.#pools.start({
      onAdd: putPool,
      // Most updates are our own, of the status.
      onUpdate: (row, before) => (row.text === before.text ? this.#pool(row.name) : putPool(row)),
      onDelete: (row) => this.#act(() => this.#ipam.deletePool(row.name)),
      onSynced: () => this.#restore(),
    });
    const putService = (row: ServiceRow): void => this.#act(() => this.#ipam.putService(row.request));
    this.#services.start({
      onAdd: putService,
      onUpdate: putService,
      onDelete: (row) => this.#act(() => this.#ipam.deleteService(row.request.key)),
      onSynced: () => this.#restore(),
    });
    health.ok();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#poolTimer);
    await Promise.all([this.#pools.stop(), this.#services.stop()]);
    await Promise.all([this.#serviceQueue.stop(), this.#poolQueue.stop()]);
  }

  /** For metrics. */
  usage(): { services: number; unsatisfied: number; pools: ({ name: string } & PoolState)[] } {
    const pools = this.#ipam.pools.flatMap((name) => {
      const state = this.#ipam.poolState(name);
      return state === undefined ? [] : [{ name, ...state }];
    });
    return { ...this.#ipam.counts(), pools };
  }

  #restore(): void {
    if (this.#restored || !this.#pools.health().synced || !this.#services.health().synced) return;
    this.#restored = true;
    const pools = [...this.#pools.store.values()].map(({ object }) => object);
    const requests = [...this.#services.store.values()].map(({ request }) => request);
    this.#ipam.restore(pools, requests);
    this.#publish();
    for (const { name } of this.#pools.store.values()) this.#pool(name);
  }

  #act(change: () => void): void {
    if (!this.#restored) return;
    change();
    this.#publish();
  }

  #publish(): void {
    const { services, pools } = this.#ipam.takeChanges();
    for (const key of services) this.#serviceQueue.add(key);
    for (const name of pools) this.#pool(name);
  }

  #pool(name: string): void {
    this.#duePools.add(name);
    this.#poolTimer ??= setTimeout(() => {
      this.#poolTimer = undefined;
      for (const due of this.#duePools) this.#poolQueue.add(due);
      this.#duePools.clear();
    }, poolPauseMs);
  }

  async #writeService(key: string): Promise<void> {
    const row = this.#services.store.byKey(key);
    const state = this.#ipam.serviceState(key);
    if (row === undefined || state === undefined) return;
    const ingress = ingressOf(row, state);
    const condition = serviceCondition(row, state);
    const before = row.conditions.find(({ type }) => type === requestCondition);
    if (sameJson(ingress, row.ingress) && sameJson(condition, before)) return;
    const others = row.conditions.filter(({ type }) => type !== requestCondition);
    const conditions = condition === undefined ? others : [...others, condition];
    // The version makes it a conflict when the object has changed: the watch then brings the newer one.
    const { resourceVersion, namespace, name } = row;
    const patch = { metadata: { resourceVersion }, status: { loadBalancer: { ingress }, conditions } };
    const { client, signal, log } = this.#around;
    const options = { namespace, subresource: "status", fieldManager, signal };
    try {
      await client.resource(resources.services).patch(name, patch, options);
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) return;
      throw error;
    }
    log.info({ service: key, addresses: state.addresses }, "load balancer addresses written");
    if (state.verdict?.satisfied === false && state.verdict.reason !== before?.reason) {
      const about = { metadata: { name, namespace, uid: row.uid } };
      await this.#around.events.warn(
        resources.services,
        about,
        "IPAMRequestNotSatisfied",
        state.verdict.message,
      );
    }
    this.#health?.ok();
  }

  async #writePool(name: string): Promise<void> {
    const row = this.#pools.store.byKey(name);
    const state = this.#ipam.poolState(name);
    if (row === undefined || state === undefined) return;
    const wanted = poolStatus(state);
    const present = new Map(row.conditions.map((condition) => [condition.type, condition]));
    const isSame = (condition: PoolCondition): boolean => {
      const { status, reason, message } = present.get(condition.type) ?? {};
      return status === condition.status && reason === condition.reason && message === condition.message;
    };
    if (wanted.every(isSame)) return;
    const lastTransitionTime = timeNow();
    const conditions = wanted.map((condition) => ({ ...condition, lastTransitionTime }));
    const { client, signal } = this.#around;
    try {
      const object = { metadata: { name }, status: { conditions } } as CiliumLoadBalancerIPPool;
      const options = { fieldManager, force: true, signal };
      await client.resource(resources.ciliumloadbalancerippools).applyStatus(object, options);
    } catch (error) {
      // It went meanwhile.
      if (!isNotFound(error)) throw error;
    }
  }

  #failed(object: string, error: unknown): void {
    this.#around.log.warn({ object, err: errorText(error) }, "could not write load balancer addresses");
    this.#health?.degraded(`load balancer addresses of ${object}: ${errorText(error)}`);
  }
}

/** Our addresses; of those that stay, what else the entry says; entries with a host name only are not ours. */
function ingressOf(row: ServiceRow, { addresses }: ServiceState): Ingress[] {
  const present = new Map(row.ingress.map((entry) => [entry.ip, entry]));
  const foreign = row.ingress.filter(({ ip }) => ip === undefined || ip === "");
  return [...addresses.map((ip) => present.get(ip) ?? { ip }), ...foreign];
}

function serviceCondition(
  row: ServiceRow,
  { verdict }: ServiceState,
): ServiceRow["conditions"][number] | undefined {
  if (verdict === undefined) return undefined;
  const status = verdict.satisfied ? "True" : "False";
  const { reason, message } = verdict;
  const before = row.conditions.find(({ type }) => type === requestCondition);
  const lastTransitionTime = before?.status === status ? before.lastTransitionTime : timeNow();
  return { type: requestCondition, status, reason, message, lastTransitionTime };
}

interface PoolCondition {
  type: string;
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
}

/** Numbers are messages of conditions that are neither true nor false, as the field has them. */
function poolStatus({ conflict, total, available, used }: PoolState): PoolCondition[] {
  const number = (type: string, value: bigint): PoolCondition => ({
    ...{ type, status: "Unknown", reason: "noop", message: String(value) },
  });
  return [
    {
      type: poolConditions.conflict,
      status: conflict === undefined ? "False" : "True",
      reason: conflict?.reason ?? "resolved",
      message: conflict?.message ?? "",
    },
    number(poolConditions.total, total),
    number(poolConditions.available, available),
    number(poolConditions.used, used),
  ];
}

function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

/** Keys in order: the server may send them in another. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort()
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

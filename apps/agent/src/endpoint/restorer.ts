import { errorText, type Logger } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import type { EndpointRecord, EndpointStore, PodNetwork } from "@axoneme/endpoint";
import { reserved, reservedLabels } from "@axoneme/identity";
import type { RemoteEndpoint } from "../remote-endpoints.ts";
import type { Handover } from "../state/handover.ts";
import type { PodFollower } from "./follower.ts";
import { keyOf, type LiveEndpoints } from "./live.ts";
import type { PodDirectory, PodFacts } from "./pods.ts";
import type { EndpointPublisher } from "./publisher.ts";

/** What putting records to rights takes. */
export interface RestorerDeps {
  readonly store: EndpointStore;
  readonly network: PodNetwork;
  readonly kernel: Kernel;
  readonly pods: PodDirectory;
  readonly publisher: EndpointPublisher;
  readonly namespaces: { put(record: EndpointRecord): void };
  readonly log: Logger;
}

/** What a pod is called of which nothing is known. */
export const initLabels = reservedLabels(reserved.init) ?? {};

/** Records an earlier agent left, from the disk to live endpoints. */
export class Restorer {
  readonly #deps: RestorerDeps;
  readonly #live: LiveEndpoints;
  readonly #follower: PodFollower;
  readonly #undo: (record: EndpointRecord) => Promise<void>;
  /** Not put to rights yet. */
  readonly records: EndpointRecord[] = [];
  /** The record being put to rights now. */
  #restoring: { readonly key: string; readonly done: Promise<void> } | undefined;

  constructor(
    deps: RestorerDeps,
    live: LiveEndpoints,
    follower: PodFollower,
    undo: (record: EndpointRecord) => Promise<void>,
  ) {
    this.#deps = deps;
    this.#live = live;
    this.#follower = follower;
    this.#undo = undo;
  }

  /** Reads the records. Their rows in the kernel are in force meanwhile. */
  load(): void {
    const { records, unreadable } = this.#deps.store.load();
    for (const path of unreadable)
      this.#deps.log.error({ path }, "endpoint record cannot be read: left as it is");
    this.records.push(...records);
  }

  /** Takes a record out: somebody else sees to it. */
  take(key: string): EndpointRecord | undefined {
    const at = this.records.findIndex((record) => keyOf(record) === key);
    return at < 0 ? undefined : this.records.splice(at, 1)[0];
  }

  /** Resolves when the record of this key is not being put to rights. */
  async settled(key: string): Promise<void> {
    if (this.#restoring?.key === key) await this.#restoring.done;
  }

  /**
   * Pods go by their new numbers under the policies of the agent before, which are made to know them: when the
   * endpoints then get their policies, one after the other, packets carry numbers that both know.
   */
  async renumber(handover: Pick<Handover, "carry">): Promise<void> {
    for (const record of [...this.records]) {
      if (record.state !== "ready") continue;
      const plan = await this.#planOf(record);
      // A DEL may have come meanwhile.
      if (this.records.includes(record))
        this.#live.renumberRows({ ...record, identity: plan.identity }, plan.facts, handover);
    }
  }

  /** What a record is to become. Asked once: the API may be slow. */
  readonly #plans = new Map<EndpointRecord, { facts: PodFacts; identity: number }>();

  async #planOf(record: EndpointRecord): Promise<{ facts: PodFacts; identity: number }> {
    const known = this.#plans.get(record);
    if (known) return known;
    const facts = await this.#factsOrUnknown(record);
    const identity = await this.#follower.identityOf(facts).catch(() => record.identity);
    const plan = { facts, identity };
    this.#plans.set(record, plan);
    return plan;
  }

  /**
   * Puts the records to rights once the Pods are known: adopts what is whole, undoes what was half made or half
   * removed, and removes devices, links and rows that no record names.
   */
  async restore(): Promise<void> {
    const { log, network } = this.#deps;
    const unsettled: EndpointRecord[] = [];
    for (let record = this.records.shift(); record; record = this.records.shift()) {
      const done = this.#restoreOne(record).catch((err: unknown) => {
        log.error({ err, endpoint: record.id }, "an endpoint could not be put to rights: kept for DEL");
        unsettled.push(record);
      });
      this.#restoring = { key: keyOf(record), done };
      await done;
      this.#restoring = undefined;
    }
    this.records.push(...unsettled);
    network.removeLeftovers();
    for (const ip of this.#live.prune()) log.info({ ip }, "endpoint row without an endpoint removed");
  }

  /**
   * Makes the published endpoints of this node those that are here: an agent that was killed may have published one
   * that is gone, or not published one that is here.
   */
  reconcilePublished(published: readonly RemoteEndpoint[]): void {
    const seen = new Map(published.map((p) => [`${p.metadata.namespace}/${p.metadata.name}`, p]));
    for (const { metadata } of seen.values()) {
      const { namespace, name } = metadata;
      if (this.#live.keyOfPod(namespace, name) === undefined) this.#deps.publisher.retract(namespace, name);
    }
    for (const live of this.#live.all()) {
      const { pod, ips, identity } = live.record;
      const known = pod && seen.get(`${pod.namespace}/${pod.name}`);
      const isTrue =
        known?.identity === identity &&
        ips.every((ip) => known.ips.includes(ip)) &&
        known.labels?.join() === live.labels.join();
      if (!isTrue) this.#live.publish(live);
    }
  }

  async #restoreOne(record: EndpointRecord): Promise<void> {
    const { log, network } = this.#deps;
    if (record.state === "ready") {
      const problems = record.chained
        ? (await hasDevice(network, record))
          ? []
          : [`the device ${record.hostIfname} that another plugin made is gone`]
        : await network.check(record).catch((error: unknown) => [errorText(error)]);
      if (problems.length === 0) {
        await this.#adopt(record);
        return;
      }
      log.warn({ endpoint: record.id, problems }, "an endpoint of an earlier agent is broken: removed");
    }
    await this.#undo(record);
  }

  async #adopt(record: EndpointRecord): Promise<void> {
    const { facts, identity } = await this.#planOf(record);
    this.#plans.delete(record);
    this.#deps.namespaces.put(record);
    this.#live.install({ ...record, identity }, facts);
    const { attachments } = this.#deps.kernel;
    if (!attachments.isPodAttached(record.hostIfindex)) attachments.attachPod(record.hostIfindex);
    // The pod may have changed meanwhile, or the API may not have given it its identity.
    this.#follower.followLater(keyOf(record));
  }

  /** A pod that went while no agent ran: its endpoint stays isolated under the identity it had, until DEL. */
  async #factsOrUnknown(record: EndpointRecord): Promise<PodFacts> {
    const unknown = {
      labels: initLabels,
      namedPorts: [],
      uid: record.pod?.uid ?? "",
      workload: undefined,
    };
    if (!record.pod) return unknown;
    // It was locked, since the API did not answer: it stays so.
    const isLocked = record.identity === reserved.init;
    const gone: PodFacts = isLocked ? { ...unknown, isUnknown: true } : unknown;
    return this.#deps.pods.facts(record.pod).catch(() => gone);
  }
}

/** Whether the device a chained endpoint was put behind is still that one: its index may be another pod's now. */
export async function hasDevice(network: PodNetwork, record: EndpointRecord): Promise<boolean> {
  return (await network.findVeth([record.hostIfname]))?.index === record.hostIfindex;
}

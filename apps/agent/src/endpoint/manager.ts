import { EpFlags } from "@axoneme/abi";
import {
  AxonError,
  errorText,
  formatIp,
  hostPrefix,
  type Ip,
  isV4,
  KeyedQueue,
  type Logger,
  parseIp,
  parseMac,
  withDeadline,
} from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import {
  attachmentKey,
  CniCode,
  CniError,
  type CniRequest,
  type CniResult,
  type EndpointRecord,
  type EndpointStore,
  linkNames,
  type PodNetwork,
} from "@axoneme/endpoint";
import { type Ipcache, type Labels, labelLines, reserved, reservedLabels } from "@axoneme/identity";
import type { NodePool } from "@axoneme/ipam";
import type { CniHandler } from "../cni-server.ts";
import type { LocalPods } from "../lb/local-pods.ts";
import type { RemoteEndpoint } from "../remote-endpoints.ts";
import type { IdentityAllocator } from "../state/identities.ts";
import type { IpcacheWriter } from "../state/ipcache.ts";
import type { PolicyModule } from "../state/policy.ts";
import type { PodNamespaces } from "./namespaces.ts";
import { type PodDirectory, type PodFacts, sameFacts } from "./pods.ts";
import type { EndpointPublisher } from "./publisher.ts";
import { adopt, hostDevicesOf, resultOf } from "./result.ts";

/** A pod of this node as the agent holds it: the record on disk and what is known of the Pod. */
export interface LiveEndpoint {
  readonly record: EndpointRecord;
  readonly facts: PodFacts;
  readonly identity: number;
}

/** What the manager works with. */
export interface EndpointDeps {
  readonly store: EndpointStore;
  readonly network: PodNetwork;
  readonly kernel: Kernel;
  readonly pods: PodDirectory;
  readonly identities: IdentityAllocator;
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: IpcacheWriter;
  readonly policy: PolicyModule;
  readonly publisher: EndpointPublisher;
  readonly namespaces: Pick<PodNamespaces, "put" | "remove" | "prune">;
  readonly log: Logger;
  readonly nodeIp: () => string;
  readonly gateways: () => { v4: Ip | undefined; v6: Ip | undefined };
  /** Told of every address that is given up: what the datapath remembers of it has to go. */
  readonly addressFreed: (ip: Ip) => void;
  /** Told when a pod can be reached, and before it no longer can. */
  readonly localPods: Pick<LocalPods, "endpointUp" | "endpointDown">;
  /** Milliseconds an ADD may wait for the agent, the pod and its identity. */
  readonly timeoutMs: number;
}

/** Pause before an endpoint that could not follow its Pod tries again. */
const refreshRetryMs = 1000;

/** Endpoint ids, 1..65535. */
const maxEndpointId = 65_535;

/** The life of this node's endpoints: made and removed by the CNI plugin, adopted at start, changed with their Pods. */
export class EndpointManager implements CniHandler {
  readonly #deps: EndpointDeps;
  readonly #live = new Map<string, LiveEndpoint>();
  readonly #byId = new Map<number, LiveEndpoint>();
  readonly #byPod = new Map<string, string>();
  readonly #queue = new KeyedQueue<string>();
  readonly #names = new Map<number, string>();
  #pool: NodePool | undefined;
  #nextId = 1;
  #ready: Promise<void> = new Promise(() => undefined);
  #isReady = false;

  constructor(deps: EndpointDeps) {
    this.#deps = deps;
  }

  /** All endpoints, by id. */
  endpoints(): LiveEndpoint[] {
    return [...this.#byId.values()].sort((a, b) => a.record.id - b.record.id);
  }

  /** One endpoint by its id. */
  get(id: number): LiveEndpoint | undefined {
    return this.#byId.get(id);
  }

  /** The name of an endpoint's host device. */
  interfaceName(ifindex: number): string | undefined {
    return this.#names.get(ifindex);
  }

  /** The pool addresses come from; every record's addresses are reserved in it first. */
  usePool(pool: NodePool): void {
    this.#pool = pool;
    for (const record of this.#records) {
      for (const ip of record.ips) this.#reserve(pool, record, ip);
    }
  }

  /** Requests are held until `ready` resolves: the first moment at which isolation can be complete. */
  serveAfter(ready: Promise<void>): void {
    this.#ready = ready.then(() => {
      this.#isReady = true;
    });
    this.#ready.catch(() => undefined);
  }

  // ---- CNI ------------------------------------------------------------------------------------------------------

  add(request: CniRequest): Promise<CniResult> {
    return this.#queue.run(keyOf(request), async () => {
      await this.#whenReady();
      await this.#removeIfPresent(request);
      return this.#create(request);
    });
  }

  del(request: CniRequest): Promise<void> {
    return this.#queue.run(keyOf(request), () => this.#removeIfPresent(request));
  }

  async check(request: CniRequest): Promise<void> {
    await this.#whenReady();
    const live = this.#live.get(keyOf(request));
    if (!live)
      throw new CniError(
        CniCode.unknownContainer,
        `no endpoint for container ${request.containerId} ${request.ifname}`,
      );
    const problems = live.record.chained ? [] : await this.#deps.network.check(live.record);
    const { kernel } = this.#deps;
    if (!kernel.attachments.isPodAttached(live.record.hostIfindex)) {
      problems.push(`the eBPF programs are not attached to ${live.record.hostIfname}`);
    }
    for (const ip of live.record.ips) {
      if (kernel.maps.endpoints.get(parseIp(ip))?.id !== live.record.id)
        problems.push(`the datapath does not know ${ip}`);
    }
    if (problems.length > 0) {
      throw new CniError(
        CniCode.checkFailed,
        `the network of container ${request.containerId} is not as ADD left it`,
        problems.join("; "),
      );
    }
  }

  async status(): Promise<void> {
    if (!this.#isReady)
      throw new CniError(CniCode.notAvailable, "the agent has not synced with the API server yet");
    const free = this.#pool?.usage().some(({ capacity, used }) => BigInt(used) < capacity) ?? false;
    if (!free) throw new CniError(CniCode.limitedConnectivity, "this node has no free pod address");
  }

  async gc(request: CniRequest): Promise<void> {
    await this.#whenReady();
    const valid = new Set(
      (request.validAttachments ?? []).map((a) => attachmentKey(a.containerID, a.ifname)),
    );
    const known = [...[...this.#live.values()].map(({ record }) => record), ...this.#records];
    const stale = known.filter((record) => !valid.has(keyOf(record)));
    await Promise.all(
      stale.map((record) => this.#queue.run(keyOf(record), () => this.#removeIfPresent(record))),
    );
  }

  // ---- start ----------------------------------------------------------------------------------------------------

  readonly #records: EndpointRecord[] = [];
  /** The record being put to rights now. */
  #restoring: { readonly key: string; readonly done: Promise<void> } | undefined;

  /** Reads the records an earlier agent left. Their rows in the kernel are in force meanwhile. */
  load(): void {
    const { records, unreadable } = this.#deps.store.load();
    for (const path of unreadable)
      this.#deps.log.error({ path }, "endpoint record cannot be read: left as it is");
    this.#records.push(...records);
    this.#nextId = Math.max(0, ...records.map((r) => r.id)) + 1;
    for (const { id } of records) this.#usedIds.add(id);
    // The remembered pod CIDRs are known before the records are.
    if (this.#pool) this.usePool(this.#pool);
  }

  /**
   * Puts the records to rights once the Pods are known: adopts what is whole, undoes what was half made or half
   * removed, and removes devices, links and rows that no record names.
   */
  async restore(): Promise<void> {
    const unsettled: EndpointRecord[] = [];
    for (let record = this.#records.shift(); record; record = this.#records.shift()) {
      const done = this.#restoreOne(record).catch((err: unknown) => {
        this.#deps.log.error(
          { err, endpoint: record.id },
          "an endpoint could not be put to rights: kept for DEL",
        );
        unsettled.push(record);
      });
      this.#restoring = { key: keyOf(record), done };
      await done;
      this.#restoring = undefined;
    }
    this.#records.push(...unsettled);
    this.#deps.network.removeLeftovers();
    this.#pruneRows();
  }

  /**
   * Makes the published endpoints of this node those that are here: an agent that was killed may have published one
   * that is gone, or not published one that is here.
   */
  reconcilePublished(published: readonly RemoteEndpoint[]): void {
    const seen = new Map(published.map((p) => [`${p.metadata.namespace}/${p.metadata.name}`, p]));
    for (const [name, { metadata }] of seen) {
      if (!this.#byPod.has(name)) this.#deps.publisher.retract(metadata.namespace, metadata.name);
    }
    for (const live of this.#live.values()) {
      const { pod, ips } = live.record;
      const known = pod && seen.get(`${pod.namespace}/${pod.name}`);
      const isTrue = known?.identity === live.identity && ips.every((ip) => known.ips.includes(ip));
      if (!isTrue) this.#publish(live);
    }
  }

  async #restoreOne(record: EndpointRecord): Promise<void> {
    const { log, network } = this.#deps;
    if (record.state === "ready") {
      const problems = record.chained
        ? (await this.#hasDevice(record))
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

  /** Whether the device a chained endpoint was put behind is still that one: its index may be another pod's now. */
  async #hasDevice(record: EndpointRecord): Promise<boolean> {
    return (await this.#deps.network.findVeth([record.hostIfname]))?.index === record.hostIfindex;
  }

  async #adopt(record: EndpointRecord): Promise<void> {
    const facts = await this.#factsOrUnknown(record);
    const identity = await this.#identityOf(facts).catch(() => {
      this.#refreshLater(keyOf(record));
      return record.identity;
    });
    this.#deps.namespaces.put(record);
    this.#install({ record: { ...record, identity }, facts, identity });
    const { attachments } = this.#deps.kernel;
    if (!attachments.isPodAttached(record.hostIfindex)) attachments.attachPod(record.hostIfindex);
  }

  /** A pod that went while no agent ran: its endpoint stays isolated under the identity it had, until DEL. */
  async #factsOrUnknown(record: EndpointRecord): Promise<PodFacts> {
    const unknown: PodFacts = {
      labels: reservedLabels(reserved.init) ?? {},
      namedPorts: [],
      uid: record.pod?.uid ?? "",
      workload: undefined,
    };
    if (!record.pod) return unknown;
    return this.#deps.pods.facts(record.pod).catch(() => unknown);
  }

  #pruneRows(): void {
    const { kernel, log } = this.#deps;
    const ips = new Set([...this.#live.values()].flatMap(({ record }) => record.ips));
    for (const [ip, row] of kernel.maps.endpoints.entries()) {
      if (row.flags & EpFlags.HOST || ips.has(formatIp(ip))) continue;
      kernel.maps.endpoints.delete(ip);
      log.info({ ip: formatIp(ip) }, "endpoint row without an endpoint removed");
    }
    this.#deps.namespaces.prune();
    kernel.changed();
  }

  // ---- changes --------------------------------------------------------------------------------------------------

  /** A Pod of this node, or its namespace, changed: its labels may make another identity. */
  podChanged(namespace: string, name: string): void {
    const key = this.#byPod.get(`${namespace}/${name}`);
    if (key === undefined) return;
    this.#queue
      .run(key, () => this.#refresh(key))
      .catch((err: unknown) => {
        this.#deps.log.error(
          { err, pod: `${namespace}/${name}` },
          "the endpoint could not follow its pod yet",
        );
        this.#refreshLater(key);
      });
  }

  /** Endpoints that are not yet what their Pod asks for, since the API did not give them an identity. */
  readonly #behind = new Set<string>();
  #behindTimer: NodeJS.Timeout | undefined;

  #refreshLater(key: string): void {
    this.#behind.add(key);
    this.#behindTimer ??= setTimeout(() => {
      this.#behindTimer = undefined;
      for (const late of this.#behind) {
        const pod = this.#live.get(late)?.record.pod;
        if (pod) this.podChanged(pod.namespace, pod.name);
        else this.#behind.delete(late);
      }
    }, refreshRetryMs).unref();
  }

  /** A namespace's labels are part of its pods' identities. */
  namespaceChanged(namespace: string): void {
    for (const { record } of this.#live.values()) {
      if (record.pod?.namespace === namespace) this.podChanged(namespace, record.pod.name);
    }
  }

  /** The policy an endpoint falls under has got another id. */
  policyChanged(id: number): void {
    const live = this.#byId.get(id);
    if (live) this.#writeRows(live);
  }

  async #refresh(key: string): Promise<void> {
    const live = this.#live.get(key);
    const facts = live?.record.pod && this.#deps.pods.known(live.record.pod);
    if (!live || !facts || (sameFacts(facts, live.facts) && !this.#behind.has(key))) return;
    const identity = await this.#identityOf(facts);
    this.#behind.delete(key);
    const record = { ...live.record, identity };
    this.#deps.store.write(record);
    this.#install({ record, facts, identity });
    this.#publish({ record, facts, identity });
  }

  // ---- one endpoint ---------------------------------------------------------------------------------------------

  async #create(request: CniRequest): Promise<CniResult> {
    const chained = request.prevResult !== undefined;
    const creating = request.prevResult
      ? await this.#adoptLink(request, request.prevResult)
      : this.#allocate(request);
    let made = creating;
    try {
      this.#deps.store.write(creating);
      const [hostIfindex, facts] = await Promise.all([
        chained ? creating.hostIfindex : this.#deps.network.create(creating),
        this.#factsOf(request),
      ]);
      const identity = await this.#identityOf(facts);
      const record: EndpointRecord = { ...creating, state: "ready", hostIfindex, identity };
      made = record;
      this.#isolate({ record, facts, identity });
      if (!chained) await this.#deps.network.connect(record);
      this.#deps.store.write(record);
      this.#publish({ record, facts, identity });
      return chained && request.prevResult
        ? request.prevResult
        : resultOf(request, record, this.#deps.gateways());
    } catch (error) {
      await this.#abandon(made);
      throw error;
    }
  }

  /** What a failed ADD left goes at once, or else with the DEL or GC that follows it. */
  async #abandon(record: EndpointRecord): Promise<void> {
    try {
      await this.#undo(record);
    } catch (err) {
      this.#deps.log.error({ err, endpoint: record.id }, "a failed ADD could not be undone: kept for DEL");
      if (!this.#live.has(keyOf(record))) this.#records.push(record);
    }
  }

  /** Rows first, programs second: from the first packet on the endpoint is under its policy. */
  #isolate(live: LiveEndpoint): void {
    const { kernel, namespaces } = this.#deps;
    namespaces.put(live.record);
    this.#install(live);
    kernel.settle();
    kernel.attachments.attachPod(live.record.hostIfindex);
  }

  #install(live: LiveEndpoint): void {
    const key = keyOf(live.record);
    const { policy, ipcache, ipcacheWriter } = this.#deps;
    this.#live.set(key, live);
    this.#byId.set(live.record.id, live);
    this.#names.set(live.record.hostIfindex, live.record.hostIfname);
    if (live.record.pod) this.#byPod.set(`${live.record.pod.namespace}/${live.record.pod.name}`, key);
    policy.setEndpoint({
      id: live.record.id,
      identity: live.identity,
      labels: live.facts.labels,
      namedPorts: live.facts.namedPorts,
    });
    this.#writeRows(live);
    for (const ip of live.record.ips.map(parseIp)) {
      const pod = live.record.pod && { namespace: live.record.pod.namespace, name: live.record.pod.name };
      ipcache.upsert(hostPrefix(ip), "local", key, { identity: live.identity, ...(pod ? { pod } : {}) });
    }
    ipcacheWriter.flush();
    if (live.record.pod) this.#deps.localPods.endpointUp(live.record.pod, live.record.ips);
  }

  #writeRows({ record, identity }: LiveEndpoint): void {
    const { kernel, policy } = this.#deps;
    const row = {
      ifindex: record.hostIfindex,
      identity,
      policyId: policy.policyOf(record.id),
      id: record.id,
      flags: 0,
      mac: parseMac(record.mac),
      hostMac: parseMac(record.hostMac),
    };
    for (const ip of record.ips) kernel.maps.endpoints.put(parseIp(ip), row);
    kernel.changed();
  }

  #publish({ record, facts, identity }: LiveEndpoint): void {
    if (!record.pod) return;
    const ips = record.ips.map(parseIp);
    const text = (v4: boolean) => ips.filter((ip) => isV4(ip) === v4).map(formatIp)[0];
    this.#deps.publisher.publish({
      namespace: record.pod.namespace,
      name: record.pod.name,
      podUid: facts.uid,
      id: record.id,
      identity,
      labels: labelLines(facts.labels),
      ipv4: text(true),
      ipv6: text(false),
      nodeIp: this.#deps.nodeIp(),
      namedPorts: [...facts.namedPorts],
    });
  }

  async #removeIfPresent(request: Pick<EndpointRecord, "containerId" | "ifname">): Promise<void> {
    // Not through the queue: an ADD in it may be waiting for the restoring to end.
    if (this.#restoring?.key === keyOf(request)) await this.#restoring.done;
    const live = this.#live.get(keyOf(request));
    if (live) {
      this.#deps.store.write({ ...live.record, state: "deleting" });
      await this.#undo(live.record);
      return;
    }
    // DEL may come before the records were put to rights: then it works on what is on disk.
    const at = this.#records.findIndex((record) => keyOf(record) === keyOf(request));
    const [record] = at < 0 ? [] : this.#records.splice(at, 1);
    if (record) await this.#undo(record);
  }

  /** Walks ADD back, from wherever it got to. Each step is idempotent. */
  async #undo(record: EndpointRecord): Promise<void> {
    const { kernel, network, policy, ipcache, ipcacheWriter, store, publisher } = this.#deps;
    const key = keyOf(record);
    const isCurrent = record.pod && this.#byPod.get(`${record.pod.namespace}/${record.pod.name}`) === key;
    if (record.pod && isCurrent) this.#deps.localPods.endpointDown(record.pod);
    if (!record.chained) await network.destroy(record);
    else if (await this.#hasDevice(record)) kernel.attachments.detachPod(record.hostIfindex);
    for (const ip of record.ips.map(parseIp)) {
      if (kernel.maps.endpoints.get(ip)?.id === record.id) kernel.maps.endpoints.delete(ip);
      ipcache.delete(hostPrefix(ip), "local", key);
      this.#deps.addressFreed(ip);
    }
    ipcacheWriter.flush();
    this.#deps.namespaces.remove(record);
    kernel.changed();
    policy.removeEndpoint(record.id);
    this.#live.delete(key);
    this.#byId.delete(record.id);
    this.#names.delete(record.hostIfindex);
    this.#usedIds.delete(record.id);
    if (record.pod && this.#byPod.get(`${record.pod.namespace}/${record.pod.name}`) === key) {
      this.#byPod.delete(`${record.pod.namespace}/${record.pod.name}`);
      publisher.retract(record.pod.namespace, record.pod.name);
    }
    store.remove(record);
    this.#pool?.release(key);
  }

  #allocate(request: CniRequest): EndpointRecord {
    const key = keyOf(request);
    const { v4, v6 } = this.#addresses(key);
    return {
      version: 1,
      state: "creating",
      id: this.#idOrRelease(key),
      containerId: request.containerId,
      ifname: request.ifname,
      netns: request.netns,
      pod: request.pod,
      ips: [v4, v6].filter((ip) => ip !== undefined).map(formatIp),
      ...linkNames(key),
      hostIfindex: 0,
      identity: 0,
      chained: false,
      createdAt: Date.now(),
    };
  }

  async #adoptLink(request: CniRequest, result: CniResult): Promise<EndpointRecord> {
    const host = await this.#deps.network.findVeth(hostDevicesOf(result));
    // The id last: what is wrong with the request must not cost one.
    return { ...adopt(request, 0, host), id: this.#freeId() };
  }

  #addresses(key: string): { v4?: Ip; v6?: Ip } {
    if (!this.#pool) throw new CniError(CniCode.tryAgainLater, "this node has no pod CIDR yet");
    try {
      return this.#pool.allocate(key);
    } catch (cause) {
      throw new CniError(CniCode.noAddress, errorText(cause), "", { cause });
    }
  }

  async #factsOf(request: CniRequest): Promise<PodFacts> {
    if (!request.pod) {
      return { labels: reservedLabels(reserved.init) ?? {}, namedPorts: [], uid: "", workload: undefined };
    }
    return this.#deps.pods.facts(request.pod);
  }

  async #identityOf(facts: PodFacts): Promise<number> {
    if (isInit(facts.labels)) return reserved.init;
    const { identities, timeoutMs } = this.#deps;
    return withDeadline(
      identities.idFor(facts.labels),
      timeoutMs,
      "finding the identity of the pod's labels",
    );
  }

  async #whenReady(): Promise<void> {
    if (this.#isReady) return;
    try {
      await withDeadline(this.#ready, this.#deps.timeoutMs, "the first sync with the API server");
    } catch (cause) {
      throw new CniError(CniCode.tryAgainLater, errorText(cause), "", { cause });
    }
  }

  #idOrRelease(key: string): number {
    try {
      return this.#freeId();
    } catch (error) {
      this.#pool?.release(key);
      throw error;
    }
  }

  readonly #usedIds = new Set<number>();

  #freeId(): number {
    for (let tries = 0; tries < maxEndpointId; tries++) {
      const id = this.#nextId;
      this.#nextId = id >= maxEndpointId ? 1 : id + 1;
      if (this.#usedIds.has(id)) continue;
      this.#usedIds.add(id);
      return id;
    }
    throw new AxonError("endpoint.ids", `all ${maxEndpointId} endpoint ids of this node are in use`);
  }

  #reserve(pool: NodePool, record: EndpointRecord, ip: string): void {
    try {
      pool.reserve(keyOf(record), parseIp(ip));
    } catch (err) {
      this.#deps.log.error({ err, endpoint: record.id, ip }, "two endpoints claim one address");
    }
  }
}

function keyOf(record: Pick<EndpointRecord, "containerId" | "ifname">): string {
  return attachmentKey(record.containerId, record.ifname);
}

function isInit(labels: Labels): boolean {
  return "reserved:init" in labels;
}

import { delay, errorText, type Ip, KeyedQueue, type Logger, parseIp, withDeadline } from "@axoneme/base";
import {
  attachmentKey,
  CniCode,
  CniError,
  type CniRequest,
  type CniResult,
  type EndpointRecord,
} from "@axoneme/endpoint";
import { reserved } from "@axoneme/identity";
import type { PoolChoice } from "@axoneme/ipam";
import { KubeError } from "@axoneme/kube";
import type { CniHandler } from "../cni/server.ts";
import type { RemoteEndpoint } from "../remote-endpoints.ts";
import type { Handover } from "../state/handover.ts";
import { type AddressSource, Allocation } from "./allocation.ts";
import { PodBandwidth } from "./bandwidth.ts";
import type { FixedAddresses, FixedHere } from "./fixed.ts";
import { type FollowerDeps, PodFollower } from "./follower.ts";
import { keyOf, type LiveDeps, type LiveEndpoint, LiveEndpoints } from "./live.ts";
import type { PodFacts } from "./pods.ts";
import { hasDevice, initLabels, Restorer, type RestorerDeps } from "./restorer.ts";
import { resultOf } from "./result.ts";

/** Longest wait for another CIDR, in milliseconds. */
const growthMs = 5000;

/** The API server was not reached, or did not answer in time. */
function isUnanswered(error: unknown): boolean {
  return error instanceof KubeError && (error.code === "kube.unreachable" || error.code === "kube.deadline");
}

/** What the manager works with. */
export interface EndpointDeps extends LiveDeps, Omit<FollowerDeps, "bandwidth">, RestorerDeps {
  readonly namespaces: LiveDeps["namespaces"];
  readonly podIdentities: LiveDeps["podIdentities"];
  readonly gateways: () => { v4: Ip | undefined; v6: Ip | undefined };
  readonly fixed: FixedAddresses;
  /** Told of every address that is taken, or was not to be had. */
  readonly poolUsed: () => void;
  /** Resolves when the node has other CIDRs; undefined: nobody would give it any. */
  readonly poolChanged: (() => Promise<void>) | undefined;
  /** Told of every address that is given up: what the datapath remembers of it has to go. */
  readonly addressFreed: (ip: Ip) => void;
  /** Milliseconds an ADD may wait for the agent, the pod and its identity. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

/** The life of this node's endpoints: made and removed by the CNI plugin, adopted at start, changed with their Pods. */
export class EndpointManager implements CniHandler {
  readonly #deps: EndpointDeps;
  readonly #live: LiveEndpoints;
  readonly #allocation: Allocation;
  readonly #bandwidth: PodBandwidth;
  readonly #follower: PodFollower;
  readonly #restorer: Restorer;
  readonly #queue = new KeyedQueue<string>();
  #ready: Promise<void> = new Promise(() => undefined);
  #isReady = false;

  constructor(deps: EndpointDeps) {
    this.#deps = deps;
    this.#live = new LiveEndpoints(deps);
    this.#allocation = new Allocation(deps.network, deps.log);
    this.#bandwidth = new PodBandwidth(deps.network, deps.log);
    const parts = { ...deps, bandwidth: this.#bandwidth };
    this.#follower = new PodFollower(parts, this.#live, this.#queue);
    this.#restorer = new Restorer(deps, this.#live, this.#follower, (record) => this.#undo(record));
    deps.fixed.here = (pod) =>
      fixedHere(this.#live.byKey(this.#live.keyOfPod(pod.namespace, pod.name) ?? ""));
    deps.fixed.evict = (pod) => this.#evict(pod);
  }

  /** All endpoints, by id. */
  endpoints(): LiveEndpoint[] {
    return this.#live.all();
  }

  /** One endpoint by its id. */
  get(id: number): LiveEndpoint | undefined {
    return this.#live.byId(id);
  }

  /** The name of an endpoint's host device. */
  interfaceName(ifindex: number): string | undefined {
    return this.#live.interfaceName(ifindex);
  }

  /** The pool addresses come from; every record's addresses are reserved in it first. */
  usePool(pool: AddressSource): void {
    this.#allocation.usePool(pool, this.#restorer.records);
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
    const live = this.#live.byKey(keyOf(request));
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
    if (!this.#allocation.hasFree)
      throw new CniError(CniCode.limitedConnectivity, "this node has no free pod address");
  }

  async gc(request: CniRequest): Promise<void> {
    await this.#whenReady();
    const valid = new Set(
      (request.validAttachments ?? []).map((a) => attachmentKey(a.containerID, a.ifname)),
    );
    const known = [...this.#live.all().map(({ record }) => record), ...this.#restorer.records];
    const stale = known.filter((record) => !valid.has(keyOf(record)));
    await Promise.all(
      stale.map((record) => this.#queue.run(keyOf(record), () => this.#removeIfPresent(record))),
    );
  }

  // ---- start ----------------------------------------------------------------------------------------------------

  /** Reads the records an earlier agent left. Their rows in the kernel are in force meanwhile. */
  load(): void {
    this.#restorer.load();
    this.#allocation.learn(this.#restorer.records);
  }

  /** Puts the records to rights once the Pods are known. */
  async restore(handover: Pick<Handover, "carry">): Promise<void> {
    await this.#restorer.renumber(handover);
    await this.#restorer.restore();
    this.#deps.fixed.open(this.#live.all().flatMap((live) => fixedHere(live) ?? []));
  }

  /** Makes the published endpoints of this node those that are here. */
  reconcilePublished(published: readonly RemoteEndpoint[]): void {
    this.#restorer.reconcilePublished(published);
  }

  // ---- changes --------------------------------------------------------------------------------------------------

  /** A Pod of this node changed: its labels may make another identity. */
  podChanged(namespace: string, name: string): void {
    const key = this.#live.keyOfPod(namespace, name);
    if (key !== undefined) this.#follower.follow(key);
  }

  /** A namespace's labels are part of its pods' labels. */
  namespaceChanged(namespace: string): void {
    for (const { record } of this.#live.inNamespace(namespace)) this.#follower.follow(keyOf(record));
  }

  /** The policy an endpoint falls under has got another id. */
  policyChanged(id: number): void {
    const live = this.#live.byId(id);
    if (live) this.#live.writeRows(live);
  }

  /** Whether policy only reports what it would drop at an endpoint. Kept with its record; false when it is gone. */
  setPolicyAuditMode(live: LiveEndpoint, policyAuditMode: boolean): Promise<boolean> {
    const key = keyOf(live.record);
    return this.#queue.run(key, () => {
      const now = this.#live.byKey(key);
      if (now === undefined) return Promise.resolve(false);
      const record = { ...now.record, policyAuditMode };
      this.#deps.store.write(record);
      this.#live.amend(now, record);
      return Promise.resolve(true);
    });
  }

  /** Policies tell pods apart by fewer labels than before: some endpoints get the identity they should have now. */
  mergeSome(): void {
    this.#follower.mergeSome();
  }

  // ---- one endpoint ---------------------------------------------------------------------------------------------

  async #create(request: CniRequest): Promise<CniResult> {
    const chained = request.prevResult !== undefined;
    const facts = await this.#factsOf(request);
    const creating = request.prevResult
      ? await this.#allocation.adoptLink(request, request.prevResult)
      : await this.#allocate(request, facts);
    let made = creating;
    try {
      this.#deps.store.write(creating);
      const [hostIfindex, identity] = await Promise.all([
        chained ? creating.hostIfindex : this.#deps.network.create(creating),
        this.#identityOf(facts),
      ]);
      const state = "ready";
      const ready: EndpointRecord = { ...creating, state, hostIfindex, identity: identity ?? reserved.init };
      made = ready;
      const record = await this.#bandwidth.apply(ready, facts);
      const live = this.#live.isolate(record, facts);
      if (!chained) await this.#deps.network.connect(record);
      this.#deps.store.write(record);
      this.#live.publish(live);
      // What changed about the Pod while this waited for its identity found no endpoint to tell.
      this.#follower.followChanges(live);
      if (identity === undefined) this.#follower.followLater(keyOf(record));
      return chained && request.prevResult
        ? request.prevResult
        : resultOf(request, record, this.#deps.gateways());
    } catch (error) {
      await this.#abandon(made);
      throw error;
    }
  }

  async #allocate(request: CniRequest, facts: PodFacts): Promise<EndpointRecord> {
    const { fixed } = this.#deps;
    const { pod } = request;
    if (!pod || !facts.fixed) return this.#allocateWhenThere(request, facts.pools);
    // The runtime has a new sandbox for the pod's name: one that is still here lost its DEL.
    await this.#evict(pod);
    const key = keyOf(request);
    const addresses = await fixed.take(pod, facts, facts.fixed, key);
    try {
      return this.#allocation.allocate(request, undefined, { addresses, podUid: facts.uid });
    } catch (error) {
      fixed.giveBack({ pod, fixed: { podUid: facts.uid, addresses } }, key);
      throw error;
    }
  }

  /** Where the pool is empty, another CIDR may come within the time that a pod may wait. */
  async #allocateWhenThere(request: CniRequest, pools: PoolChoice | undefined): Promise<EndpointRecord> {
    const { poolChanged, poolUsed } = this.#deps;
    const until = performance.now() + Math.min(this.#deps.timeoutMs, growthMs);
    for (;;) {
      try {
        return this.#allocation.allocate(request, pools);
      } catch (error) {
        const left = until - performance.now();
        const isEmpty = error instanceof CniError && error.cniCode === CniCode.noAddress;
        if (!isEmpty || left <= 0 || !poolChanged) throw error;
        poolUsed();
        await Promise.race([poolChanged(), delay(left)]);
      } finally {
        poolUsed();
      }
    }
  }

  /** Ends the endpoint of a pod that has fixed addresses. */
  async #evict({ namespace, name }: { namespace: string; name: string }): Promise<void> {
    const live = this.#live.byKey(this.#live.keyOfPod(namespace, name) ?? "");
    if (live?.record.fixed === undefined) return;
    await this.#queue.run(keyOf(live.record), () => this.#removeIfPresent(live.record));
  }

  /** What a failed ADD left goes at once, or else with the DEL or GC that follows it. */
  async #abandon(record: EndpointRecord): Promise<void> {
    try {
      await this.#undo(record);
    } catch (err) {
      this.#deps.log.error({ err, endpoint: record.id }, "a failed ADD could not be undone: kept for DEL");
      if (!this.#live.byKey(keyOf(record))) this.#restorer.records.push(record);
    }
  }

  async #removeIfPresent(request: Pick<EndpointRecord, "containerId" | "ifname">): Promise<void> {
    // Not through the queue: an ADD in it may be waiting for the restoring to end.
    await this.#restorer.settled(keyOf(request));
    const live = this.#live.byKey(keyOf(request));
    if (live) {
      this.#deps.store.write({ ...live.record, state: "deleting" });
      await this.#undo(live.record);
      return;
    }
    // DEL may come before the records were put to rights: then it works on what is on disk.
    const record = this.#restorer.take(keyOf(request));
    if (record) await this.#undo(record);
  }

  /** Walks ADD back, from wherever it got to. Each step is idempotent. */
  async #undo(record: EndpointRecord): Promise<void> {
    const { kernel, network, store } = this.#deps;
    this.#live.announceEnd(record);
    if (!record.chained) await network.destroy(record);
    else if (await hasDevice(network, record)) kernel.attachments.detachPod(record.hostIfindex);
    this.#live.remove(record, this.#deps.addressFreed);
    store.remove(record);
    this.#allocation.release(record);
    this.#deps.fixed.giveBack(record, keyOf(record));
  }

  async #factsOf(request: CniRequest): Promise<PodFacts> {
    if (!request.pod) {
      const egressLimit = request.bandwidth?.egress;
      const limits = egressLimit === undefined ? {} : { egressLimit };
      return { labels: initLabels, namedPorts: [], uid: "", workload: undefined, ...limits };
    }
    const { pod } = request;
    return this.#deps.pods.facts(pod).catch((error: unknown) => {
      if (!isUnanswered(error)) throw error;
      const why =
        "the API server does not answer and the pod is not known: it starts, and is cut off until it is";
      this.#deps.log.warn({ pod: `${pod.namespace}/${pod.name}` }, why);
      return { labels: initLabels, namedPorts: [], uid: pod.uid, workload: undefined, isUnknown: true };
    });
  }

  /**
   * The identity of a pod; undefined when the API would have to make one and does not answer. Then it goes by a number
   * of this node, which stands for its labels: policies here hold for it as they should.
   */
  async #identityOf(facts: PodFacts): Promise<number | undefined> {
    if (facts.isUnknown) return undefined;
    return this.#follower.identityOf(facts).catch((error: unknown) => {
      if (!isUnanswered(error)) throw error;
      this.#deps.log.warn(
        { uid: facts.uid },
        "the API server does not answer: the pod's identity is made later",
      );
      return undefined;
    });
  }

  async #whenReady(): Promise<void> {
    if (this.#isReady) return;
    try {
      await withDeadline(this.#ready, this.#deps.timeoutMs, "the first sync with the API server");
    } catch (cause) {
      throw new CniError(CniCode.tryAgainLater, errorText(cause), "", { cause });
    }
  }
}

function fixedHere(live: LiveEndpoint | undefined): FixedHere | undefined {
  const { pod, fixed } = live?.record ?? {};
  return pod && fixed && { pod, ...fixed };
}

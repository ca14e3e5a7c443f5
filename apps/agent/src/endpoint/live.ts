import { EpFlags } from "@axoneme/abi";
import { formatIp, hostPrefix, isV4, parseIp, parseMac } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { attachmentKey, type EndpointRecord, type PodNetwork } from "@axoneme/endpoint";
import { type Ipcache, labelLines, type PodClaim, withPorts } from "@axoneme/identity";
import type { LocalPods } from "../lb/local-pods.ts";
import type { Handover } from "../state/handover.ts";
import type { IpcacheWriter } from "../state/ipcache.ts";
import type { PodIdentities, PodMove } from "../state/pod-identities.ts";
import type { PolicyModule } from "../state/policy.ts";
import type { PodNamespaces } from "./namespaces.ts";
import type { PodFacts } from "./pods.ts";
import type { EndpointPublisher } from "./publisher.ts";

/** A policy without heads, which nothing is ever written for: in both directions everything is denied. */
const lockedPolicy = 0xffff_ffff;

/** A pod of this node as the agent holds it: the record on disk and what is known of the Pod. */
export interface LiveEndpoint {
  /** Its `identity` is the one the endpoint is published with. */
  readonly record: EndpointRecord;
  readonly facts: PodFacts;
  /** The number packets carry: the published identity, or for a while a class of this node. */
  readonly identity: number;
  /** The pod's labels as lines. */
  readonly labels: readonly string[];
}

/** An endpoint under the policy of the agent before. */
interface Awaited {
  readonly live: LiveEndpoint;
  /** Makes that policy know the numbers it is given meanwhile. */
  readonly handover: Pick<Handover, "carry">;
}

/** What the live endpoints are written to. */
export interface LiveDeps {
  readonly network: PodNetwork;
  readonly kernel: Kernel;
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: Pick<IpcacheWriter, "flush">;
  readonly policy: PolicyModule;
  readonly podIdentities: Pick<PodIdentities, "set" | "delete" | "wanted" | "onMove" | "labelsOf">;
  readonly publisher: EndpointPublisher;
  readonly namespaces: Pick<PodNamespaces, "put" | "remove" | "prune">;
  readonly nodeIp: () => string;
  /** Told when a pod can be reached, and before it no longer can. */
  readonly localPods: Pick<LocalPods, "endpointUp" | "endpointDown">;
}

/** The endpoints in force, and their rows in the kernel. */
export class LiveEndpoints {
  readonly #deps: LiveDeps;
  readonly #byKey = new Map<string, LiveEndpoint>();
  readonly #byId = new Map<number, LiveEndpoint>();
  readonly #byPod = new Map<string, string>();
  readonly #names = new Map<number, string>();
  /** Those of an earlier agent that go by their number already and are yet to be installed. */
  readonly #awaited = new Map<string, Awaited>();
  /** An endpoint goes by a number that is not its published identity: that wants a better one. */
  onCoarse: (key: string) => void = () => undefined;

  constructor(deps: LiveDeps) {
    this.#deps = deps;
    deps.podIdentities.onMove("local", (moves) => this.#renumber(moves));
  }

  /** All, by id. */
  all(): LiveEndpoint[] {
    return [...this.#byId.values()].sort((a, b) => a.record.id - b.record.id);
  }

  /** Those of the pods of a namespace. */
  inNamespace(namespace: string): LiveEndpoint[] {
    return [...this.#byKey.values()].filter(({ record }) => record.pod?.namespace === namespace);
  }

  byId(id: number): LiveEndpoint | undefined {
    return this.#byId.get(id);
  }

  byKey(key: string): LiveEndpoint | undefined {
    return this.#byKey.get(key);
  }

  /** The key of a pod's endpoint. */
  keyOfPod(namespace: string, name: string): string | undefined {
    return this.#byPod.get(`${namespace}/${name}`);
  }

  /** The name of an endpoint's host device. */
  interfaceName(ifindex: number): string | undefined {
    return this.#names.get(ifindex);
  }

  /** Rows first, programs second: from the first packet on the endpoint is under its policy. */
  isolate(record: EndpointRecord, facts: PodFacts): LiveEndpoint {
    const { kernel, namespaces } = this.#deps;
    namespaces.put(record);
    const live = this.install(record, facts);
    kernel.settle();
    kernel.attachments.attachPod(record.hostIfindex);
    return live;
  }

  /** States an endpoint, new or changed. When this returns, its rows and those of its policy are in the kernel. */
  install(record: EndpointRecord, facts: PodFacts): LiveEndpoint {
    const key = keyOf(record);
    const { podIdentities, localPods } = this.#deps;
    const before = this.#byKey.get(key) ?? this.#awaited.get(key)?.live;
    const labels = labelLines(facts.labels);
    const identity = podIdentities.set("local", key, claimOf(record, facts));
    const live = { record, facts, identity, labels };
    if (before) this.#keepPorts(before);
    this.#put(key, live);
    this.#names.set(record.hostIfindex, record.hostIfname);
    if (record.pod) this.#byPod.set(`${record.pod.namespace}/${record.pod.name}`, key);
    this.#setPolicy(live);
    // Its own policy may have told it apart from others just now.
    const now = this.#byKey.get(key) ?? live;
    this.#awaited.delete(key);
    this.writeRows(now);
    this.#tellIpcache(key, now);
    this.#deps.ipcacheWriter.flush();
    if (before) this.#releasePorts(before);
    if (record.pod) localPods.endpointUp(record.pod, record.ips);
    if (now.identity !== record.identity) this.onCoarse(key);
    return now;
  }

  /**
   * Gives rows that an earlier agent wrote the number the pod goes by now; they keep its policy. Endpoints are installed
   * one after the other: the policies of the first ones may name ports of the last, which are known from here on.
   */
  renumberRows(record: EndpointRecord, facts: PodFacts, handover: Pick<Handover, "carry">): void {
    const { ipcacheWriter, podIdentities } = this.#deps;
    const key = keyOf(record);
    const identity = podIdentities.set("local", key, claimOf(record, facts));
    const live = { record, facts, identity, labels: labelLines(facts.labels) };
    this.#awaited.set(key, { live, handover });
    this.#keepPorts(live);
    this.#renumberAwaited({ live, handover });
    ipcacheWriter.flush();
    this.#deps.kernel.changed();
  }

  /** The policy it is under is still that of the agent before: no other can be written yet. */
  #renumberAwaited({ live, handover }: Awaited): void {
    const { endpoints } = this.#deps.kernel.maps;
    const { record, identity } = live;
    for (const ip of record.ips.map(parseIp)) {
      const row = endpoints.get(ip);
      if (row?.id !== record.id || row.identity === identity) continue;
      handover.carry(row.identity, identity);
      this.#deps.policy.places.beforeEndpoint([ip], identity);
      endpoints.put(ip, { ...row, identity });
    }
    this.#tellIpcache(keyOf(record), live);
  }

  #put(key: string, live: LiveEndpoint): void {
    this.#byKey.set(key, live);
    this.#byId.set(live.record.id, live);
  }

  #setPolicy({ record, identity, facts }: LiveEndpoint): void {
    const { labels, namedPorts } = facts;
    this.#deps.policy.setEndpoint({ id: record.id, identity, labels, namedPorts });
  }

  /** Until the kernel knows the new number, packets carry the old one: it keeps the pod's named ports. */
  #keepPorts(before: LiveEndpoint): void {
    this.#statePorts(leaving(before.record), before);
  }

  #statePorts(pod: string, { identity, facts }: LiveEndpoint): void {
    if (facts.namedPorts.length > 0)
      this.#deps.policy.setPeerPorts([{ pod, identity, ports: facts.namedPorts }]);
  }

  #releasePorts({ record, facts }: LiveEndpoint): void {
    if (facts.namedPorts.length > 0) this.#deps.policy.deletePeerPorts([leaving(record), arriving(record)]);
  }

  #tellIpcache(key: string, { record, identity, labels }: LiveEndpoint): void {
    const pod = record.pod && { namespace: record.pod.namespace, name: record.pod.name, labels };
    const entry = { identity, ...(pod ? { pod } : {}) };
    for (const ip of record.ips) this.#deps.ipcache.upsert(hostPrefix(parseIp(ip)), "local", key, entry);
  }

  /** Writes the endpoint's row: its identity, and the policy it falls under now. */
  writeRows({ record, facts, identity }: LiveEndpoint): void {
    const { kernel, policy } = this.#deps;
    const row = {
      ifindex: record.hostIfindex,
      identity,
      policyId: facts.isUnknown ? lockedPolicy : policy.policyOf(record.id),
      id: record.id,
      flags: record.policyAuditMode === true ? EpFlags.AUDIT : 0,
      mac: parseMac(record.mac),
      hostMac: parseMac(record.hostMac),
    };
    const ips = record.ips.map(parseIp);
    policy.places.beforeEndpoint(ips, identity);
    for (const ip of ips) kernel.maps.endpoints.put(ip, row);
    kernel.changed();
  }

  /** Puts an endpoint's record in the place of the one it had, and writes its row: nothing about its policy changed. */
  amend(live: LiveEndpoint, record: EndpointRecord): void {
    const amended = { ...live, record };
    this.#put(keyOf(record), amended);
    this.writeRows(amended);
  }

  /** Endpoints go by other numbers: first the rows of their ports, then the addresses, then the old rows go. */
  #renumber(moves: readonly PodMove[]): void {
    const moved: LiveEndpoint[] = [];
    for (const { key, to } of moves) {
      const awaited = this.#awaited.get(key);
      const before = this.#byKey.get(key) ?? awaited?.live;
      if (!before) continue;
      const live = { ...before, identity: to };
      if (this.#byKey.has(key)) {
        this.#keepPorts(before);
        this.#put(key, live);
        this.#setPolicy(live);
      } else this.#statePorts(arriving(live.record), live);
      if (awaited) {
        const next = { ...awaited, live };
        this.#awaited.set(key, next);
        this.#renumberAwaited(next);
        moved.push(live);
        continue;
      }
      this.writeRows(live);
      this.#tellIpcache(key, live);
      moved.push(live);
    }
    this.#deps.ipcacheWriter.flush();
    for (const live of moved) {
      const key = keyOf(live.record);
      if (this.#awaited.has(key)) {
        this.#keepPorts(live);
        continue;
      }
      this.#releasePorts(live);
      if (live.identity !== live.record.identity) this.onCoarse(key);
    }
  }

  /** Makes other nodes know it. */
  publish({ record, facts, labels }: LiveEndpoint): void {
    if (!record.pod) return;
    const ips = record.ips.map(parseIp);
    const text = (v4: boolean) => ips.filter((ip) => isV4(ip) === v4).map(formatIp)[0];
    this.#deps.publisher.publish({
      namespace: record.pod.namespace,
      name: record.pod.name,
      podUid: facts.uid,
      id: record.id,
      identity: record.identity,
      labels,
      ipv4: text(true),
      ipv6: text(false),
      nodeIp: this.#deps.nodeIp(),
      namedPorts: [...facts.namedPorts],
    });
  }

  /** Its pod is not to be sent to any more: what comes before its device goes. */
  announceEnd(record: EndpointRecord): void {
    if (record.pod && this.#isCurrent(record)) this.#deps.localPods.endpointDown(record.pod);
  }

  /** Forgets an endpoint whose device is gone, with its rows. Idempotent. */
  remove(record: EndpointRecord, addressFreed: (ip: Uint8Array) => void): void {
    const { kernel, ipcache, ipcacheWriter, namespaces, podIdentities, policy, publisher } = this.#deps;
    const key = keyOf(record);
    for (const ip of record.ips.map(parseIp)) {
      if (kernel.maps.endpoints.get(ip)?.id === record.id) kernel.maps.endpoints.delete(ip);
      ipcache.delete(hostPrefix(ip), "local", key);
      addressFreed(ip);
    }
    ipcacheWriter.flush();
    namespaces.remove(record);
    kernel.changed();
    policy.removeEndpoint(record.id);
    const awaited = this.#awaited.get(key);
    this.#awaited.delete(key);
    if (awaited) this.#releasePorts(awaited.live);
    podIdentities.delete("local", key);
    this.#byKey.delete(key);
    this.#byId.delete(record.id);
    this.#names.delete(record.hostIfindex);
    if (record.pod && this.#isCurrent(record)) {
      this.#byPod.delete(`${record.pod.namespace}/${record.pod.name}`);
      publisher.retract(record.pod.namespace, record.pod.name);
    }
  }

  #isCurrent(record: EndpointRecord): boolean {
    return record.pod !== undefined && this.keyOfPod(record.pod.namespace, record.pod.name) === keyOf(record);
  }

  /** Removes rows of endpoints that are not here: those an earlier agent left. The addresses they were of. */
  prune(): string[] {
    const { kernel, namespaces } = this.#deps;
    const ips = new Set([...this.#byKey.values()].flatMap(({ record }) => record.ips));
    const removed: string[] = [];
    for (const [ip, row] of kernel.maps.endpoints.entries()) {
      if (row.flags & EpFlags.HOST || ips.has(formatIp(ip))) continue;
      kernel.maps.endpoints.delete(ip);
      removed.push(formatIp(ip));
    }
    namespaces.prune();
    kernel.changed();
    return removed;
  }
}

/** What names an endpoint: its container and interface. */
export function keyOf(record: Pick<EndpointRecord, "containerId" | "ifname">): string {
  return attachmentKey(record.containerId, record.ifname);
}

function claimOf(record: EndpointRecord, { labels, namedPorts }: PodFacts): PodClaim {
  return { labels: labelLines(withPorts(labels, namedPorts)), published: record.identity };
}

function arriving({ id }: EndpointRecord): string {
  return `endpoint ${id} arriving`;
}

function leaving({ id }: EndpointRecord): string {
  return `endpoint ${id} leaving`;
}

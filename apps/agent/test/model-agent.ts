import { Deferred, FakeClock, parseIp } from "@axoneme/base";
import { nextPolicyIds } from "@axoneme/datapath";
import type { CniRequest, EndpointRecord } from "@axoneme/endpoint";
import { IdentityCache, Ipcache, LocalIdentities, podLabels } from "@axoneme/identity";
import { defaultPool, NodePools } from "@axoneme/ipam";
import { type KubeClient, KubeError, type KubeObject } from "@axoneme/kube";
import { PolicyEngine } from "@axoneme/policy";
import type { RawPolicy } from "../../../packages/policy/test/generate.ts";
import type { Objects, Pod } from "../../../packages/policy/test/oracle.ts";
import { keyOf } from "../../../packages/policy/test/world.ts";
import { type EndpointDeps, EndpointManager } from "../src/endpoint/manager.ts";
import type { PodFacts } from "../src/endpoint/pods.ts";
import type { PublishedEndpoint } from "../src/endpoint/publisher.ts";
import { type RemoteEndpoint, RemoteEndpoints, remoteKey } from "../src/remote-endpoints.ts";
import { announceWorld, restoreIdentities } from "../src/state/first-identities.ts";
import { Handover } from "../src/state/handover.ts";
import { IdentityAllocator } from "../src/state/identities.ts";
import { IpcacheWriter } from "../src/state/ipcache.ts";
import type { CiliumIdentityObject } from "../src/state/objects.ts";
import { PodIdentities } from "../src/state/pod-identities.ts";
import { PolicyModule } from "../src/state/policy.ts";
import { quiet } from "./logger.ts";
import { ModelKernel } from "./model-kernel.ts";

const protocols: Record<number, string> = { 6: "TCP", 17: "UDP", 132: "SCTP" };

/** Something the API server tells. */
export type Event =
  | { readonly kind: "policy"; readonly raw: RawPolicy; readonly gone?: boolean }
  | { readonly kind: "service"; readonly service: Objects["services"][number]; readonly gone?: boolean }
  | { readonly kind: "identity"; readonly object: CiliumIdentityObject }
  | { readonly kind: "endpoint"; readonly endpoint: RemoteEndpoint; readonly gone?: boolean }
  | { readonly kind: "pod"; readonly pod: Pod; readonly gone?: boolean };

/** The API server: objects, and for every agent what it has not been told yet, by kind in the order it happened. */
export class ModelApi {
  readonly identities = new Map<string, CiliumIdentityObject>();
  readonly endpoints = new Map<string, RemoteEndpoint>();
  readonly policies = new Map<string, RawPolicy>();
  readonly services = new Map<string, Objects["services"][number]>();
  readonly pods = new Map<string, { pod: Pod; node: number }>();
  /** Where pods of a name are, also when there is none at the moment. */
  readonly homes = new Map<string, { namespace: string; node: number }>();
  readonly streams: Map<Event["kind"], Event[]>[];
  /** Requests that have not been answered. */
  #pending: { readonly of: object; readonly answer: () => void }[] = [];

  constructor(agents: number) {
    this.streams = Array.from({ length: agents }, () => new Map());
  }

  tell(event: Event, agents: readonly number[] = [...this.streams.keys()]): void {
    for (const agent of agents) {
      const streams = this.streams[agent];
      streams?.set(event.kind, [...(streams.get(event.kind) ?? []), event]);
    }
  }

  /** Answers the oldest request; false: there is none. */
  answer(): boolean {
    const request = this.#pending.shift();
    request?.answer();
    return request !== undefined;
  }

  /** Nobody waits for the answers of one that is dead. */
  forget(agent: object): void {
    this.#pending = this.#pending.filter(({ of }) => of !== agent);
  }

  /** What the identity allocator asks for; answers come when the test lets them. */
  client(of: object): KubeClient {
    const later = <T>(answer: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        const answerIt = () => {
          try {
            resolve(answer());
          } catch (error) {
            reject(error);
          }
        };
        this.#pending.push({ of, answer: answerIt });
      });
    const resource = () => ({
      create: (object: CiliumIdentityObject) => later(() => this.#create(object)),
      find: (name: string) => later(() => this.identities.get(name)),
      patch: () => later(() => undefined),
    });
    return { resource } as unknown as KubeClient;
  }

  #create(object: CiliumIdentityObject): CiliumIdentityObject {
    const name = object.metadata?.name ?? "";
    if (this.identities.has(name))
      throw new KubeError("kube.conflict", name, { status: 409, reason: "AlreadyExists" });
    this.identities.set(name, object);
    this.tell({ kind: "identity", object });
    return object;
  }
}

/** The address of a pod, by its name. */
export function addressOf({ name }: Pick<Pod, "name">): string {
  return `10.244.0.${name.slice(1)}`;
}

/** An agent over a model of the kernel: everything above the maps that has to do with who pods are is the real thing. */
export class ModelAgent {
  readonly number: number;
  readonly kernel: ModelKernel;
  readonly clock = new FakeClock();
  readonly policies = new Map<string, RawPolicy>();
  readonly services = new Map<string, Objects["services"][number]>();
  readonly remotePods = new Map<string, Pod>();
  readonly #api: ModelApi;
  readonly #records: Map<string, EndpointRecord>;
  readonly #pods = new Map<string, Pod>();
  readonly #policy: PolicyModule;
  readonly #remote: RemoteEndpoints;
  readonly #manager: EndpointManager;
  readonly #allocator: IdentityAllocator;
  readonly #handover: Handover;
  readonly #ipcacheWriter: IpcacheWriter;
  readonly podIdentities: PodIdentities;

  constructor(number: number, api: ModelApi, mode: "classes" | "labels", before?: ModelAgent) {
    this.number = number;
    this.#api = api;
    this.kernel = before?.kernel ?? new ModelKernel();
    this.#records = before ? before.#records : new Map();
    const kernel = this.kernel.asKernel();
    const { policyId, ruleId } = nextPolicyIds(kernel.maps);
    const identities = new IdentityCache();
    const ipcache = new Ipcache();
    this.#ipcacheWriter = new IpcacheWriter(ipcache, kernel, quiet);
    const localIdentities = new LocalIdentities({ dualStack: true });
    restoreIdentities(kernel, localIdentities);
    this.#policy = new PolicyModule({
      engine: new PolicyEngine({ firstPolicyId: policyId, firstRuleId: ruleId }),
      kernel,
      localIdentities,
      ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      cluster: "default",
      log: quiet,
    });
    this.#allocator = new IdentityAllocator(identities, api.client(this), quiet);
    this.#handover = new Handover(kernel);
    announceWorld(ipcache, true);
    this.#policy.prefixes.onSplit = (from, to) => this.#handover.carryPrefix(from, to);
    this.#policy.prefixes.start(true);
    this.podIdentities = new PodIdentities(
      { identityMode: mode, identityMergeDelay: 1 },
      {
        identities,
        policy: this.#policy,
        ipcacheWriter: this.#ipcacheWriter,
        firstNumber: this.#handover.firstNumber,
        clock: this.clock,
      },
    );
    this.#remote = new RemoteEndpoints({
      ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      policy: this.#policy,
      podIdentities: this.podIdentities,
      isOwn: (ip) => ip[15] === number,
      wayTo: (nodeIp) => ({ nodeIp }),

      podWays: { place: () => undefined, forget: () => undefined },
    });
    this.#manager = this.#createManager(kernel, ipcache);
    this.#policy.onEndpoint = (id) => this.#manager.policyChanged(id);
    this.podIdentities.onSweep = () => this.#manager.mergeSome();
    this.podIdentities.start();
  }

  #createManager(kernel: ReturnType<ModelKernel["asKernel"]>, ipcache: Ipcache): EndpointManager {
    const records = this.#records;
    const nothing = () => undefined;
    const deps = {
      store: {
        load: () => ({ records: [...records.values()], unreadable: [] }),
        write: (record: EndpointRecord) => void records.set(record.containerId, record),
        remove: (record: EndpointRecord) => void records.delete(record.containerId),
      },
      network: {
        findVeth: async ([name = ""]: string[]) => ({ name, index: Number(name.slice(2)) }),
        removeLeftovers: nothing,
      },
      kernel,
      pods: {
        facts: async ({ name }: { name: string }) => {
          const facts = this.#factsOf(name);
          if (facts === undefined) throw new Error(`there is no pod ${name}`);
          return facts;
        },
        known: ({ name }: { name: string }) => this.#factsOf(name),
      },
      identities: this.#allocator,
      podIdentities: this.podIdentities,
      ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      policy: this.#policy,
      publisher: {
        publish: (endpoint: PublishedEndpoint) => this.#publish(endpoint),
        retract: (_: string, name: string) => this.#retract(name),
      },
      namespaces: { put: nothing, remove: nothing, prune: nothing },
      log: quiet,
      nodeIp: () => `172.30.0.${this.number}`,
      gateways: () => ({ v4: undefined, v6: undefined }),
      poolUsed: () => undefined,
      addressFreed: nothing,
      fixed: { open: nothing, giveBack: nothing },
      localPods: { endpointUp: nothing, endpointDown: nothing },
      timeoutMs: 60_000,
    };
    const manager = new EndpointManager(deps as unknown as EndpointDeps);
    manager.load();
    manager.usePool(new NodePools("n"));
    return manager;
  }

  #factsOf(name: string): PodFacts | undefined {
    const pod = this.#pods.get(name);
    return pod && factsOf(pod);
  }

  #publish({ namespace, name, identity, labels, namedPorts, nodeIp, ipv4 = "" }: PublishedEndpoint): void {
    const endpoint = {
      key: remoteKey(namespace, name),
      metadata: { namespace, name },
      identity,
      labels,
      node: nodeIp,
      ips: [ipv4],
      namedPorts,
    };
    this.#api.endpoints.set(name, endpoint);
    this.#api.tell({ kind: "endpoint", endpoint });
  }

  #retract(name: string): void {
    const endpoint = this.#api.endpoints.get(name);
    if (endpoint === undefined || endpoint.node !== `172.30.0.${this.number}`) return;
    this.#api.endpoints.delete(name);
    this.#api.tell({ kind: "endpoint", endpoint, gone: true });
  }

  get engine(): PolicyEngine {
    return this.#policy.engine;
  }

  /** As an agent starts: everything is listed, then it takes over from the one before. */
  async start(): Promise<void> {
    const { identities, policies, services, endpoints, pods } = this.#api;
    this.#api.streams[this.number]?.clear();
    for (const object of identities.values()) this.take({ kind: "identity", object });
    for (const { pod, node } of pods.values()) if (node === this.number) this.#pods.set(pod.name, pod);
    for (const service of services.values()) this.take({ kind: "service", service });
    for (const raw of policies.values()) this.take({ kind: "policy", raw });
    for (const endpoint of endpoints.values()) this.take({ kind: "endpoint", endpoint });
    this.#policy.open();
    this.#remote.open(this.#handover);
    await this.#manager.restore(this.#handover);
    this.#manager.reconcilePublished(this.#remote.own());
    this.#handover.end();
    this.#policy.prune();
    this.#policy.prefixes.prune();
    this.#ipcacheWriter.prune();
    const ready = new Deferred<void>();
    ready.resolve();
    this.#manager.serveAfter(ready.promise);
    const known = new Set(this.#manager.endpoints().map(({ record }) => record.pod?.name));
    for (const pod of this.#pods.values()) if (!known.has(pod.name)) this.#add(pod);
    for (const { record } of this.#manager.endpoints()) {
      const name = record.pod?.name ?? "";
      if (!this.#pods.has(name)) void this.#manager.del(requestOf({ name, namespace: "" }, "DEL"));
    }
  }

  stop(): void {
    // Its timers find no pod any more.
    this.#pods.clear();
    this.podIdentities.stop();
    this.#api.forget(this);
  }

  /** How many things the API has told. */
  #taken = 0;

  /** What is known now, for comparing: another list of the same members is the same knowledge. */
  moment(): unknown[] {
    return [this.#taken, ...this.#manager.endpoints().map(({ facts }) => facts)];
  }

  /** Takes in what the API tells. */
  take(event: Event): void {
    this.#taken++;
    if (event.kind === "policy") this.#takePolicy(event.raw, event.gone ?? false);
    else if (event.kind === "service") this.#takeService(event.service, event.gone ?? false);
    else if (event.kind === "identity") this.#allocator.handlers().onAdd?.(event.object);
    else if (event.kind === "endpoint") this.#takeEndpoint(event.endpoint, event.gone ?? false);
    else this.#takePod(event.pod, event.gone ?? false);
  }

  #takePolicy(raw: RawPolicy, gone: boolean): void {
    if (gone) this.policies.delete(keyOf(raw));
    else this.policies.set(keyOf(raw), raw);
    const object = raw as unknown as KubeObject;
    const handlers = this.#policyHandlers(raw.kind);
    if (gone) handlers.onDelete?.(object);
    else handlers.onAdd?.(object);
  }

  #policyHandlers(kind: string) {
    if (kind === "NetworkPolicy") return this.#policy.networkPolicies();
    if (kind === "CiliumNetworkPolicy" || kind === "CiliumClusterwideNetworkPolicy")
      return this.#policy.ciliumPolicies(kind);
    return this.#policy.tierPolicies(kind);
  }

  #takeService(service: Objects["services"][number], gone: boolean): void {
    const { namespace, name, addresses } = service;
    if (gone) {
      this.services.delete(`${namespace}/${name}`);
      this.#policy.deleteService(namespace, name);
      return;
    }
    this.services.set(`${namespace}/${name}`, service);
    this.#policy.setService({ ...service, addresses: addresses.map(parseIp), cluster: "default" });
  }

  readonly #seen = new Map<string, RemoteEndpoint>();

  #takeEndpoint(endpoint: RemoteEndpoint, gone: boolean): void {
    const { name } = endpoint.metadata;
    const before = this.#seen.get(name);
    const handlers = this.#remote.handlers();
    const isRemote = endpoint.node !== `172.30.0.${this.number}`;
    if (gone) {
      this.#seen.delete(name);
      this.remotePods.delete(name);
      handlers.onDelete?.(endpoint);
      return;
    }
    this.#seen.set(name, endpoint);
    // One whose Pod went while its agent was away is no pod to policies until it is gone.
    const isPod = isRemote && !endpoint.labels?.includes("reserved:init");
    if (isPod) this.remotePods.set(name, podOf(endpoint));
    else this.remotePods.delete(name);
    if (before === undefined) handlers.onAdd?.(endpoint);
    else handlers.onUpdate?.(endpoint, before);
  }

  #takePod(pod: Pod, gone: boolean): void {
    if (gone) {
      this.#pods.delete(pod.name);
      void this.#manager.del(requestOf(pod, "DEL"));
      return;
    }
    const isNew = !this.#pods.has(pod.name);
    this.#pods.set(pod.name, pod);
    if (isNew) this.#add(pod);
    else this.#manager.podChanged(pod.namespace, pod.name);
  }

  #add(pod: Pod): void {
    // It fails when the pod has gone meanwhile.
    this.#manager.add(requestOf(pod, "ADD")).catch(() => undefined);
  }

  /** Pods of this node as their endpoints are now. */
  localPods(): Map<string, Pod> {
    const pods = this.#manager.endpoints().flatMap(({ record, facts }) => {
      const labels = labelsOf(Object.entries(facts.labels).map(([key, value]) => `${key}=${value}`));
      return record.pod
        ? [{ ...podFrom(record.pod.name, record.pod.namespace, labels), ports: portsOf(facts.namedPorts) }]
        : [];
    });
    return new Map(pods.map((pod) => [pod.name, pod]));
  }
}

function factsOf({ name, namespace, labels, namespaceLabels, ports }: Pod): PodFacts {
  return {
    labels: podLabels(
      { metadata: { namespace, labels } },
      { metadata: { name: namespace, labels: namespaceLabels } },
      "default",
    ),
    namedPorts: ports.map(({ name: port, proto, port: number }) => ({
      name: port,
      port: number,
      protocol: protocols[proto] ?? "TCP",
    })),
    uid: name,
    workload: undefined,
  };
}

function requestOf(
  { name, namespace }: { name: string; namespace: string },
  command: "ADD" | "DEL",
): CniRequest {
  const index = Number(name.slice(1));
  return {
    command,
    cniVersion: "1.1.0",
    networkName: "axoneme",
    containerId: name,
    netns: "/none",
    ifname: "eth0",
    pod: { namespace, name, uid: "" },
    prevResult: {
      cniVersion: "1.1.0",
      interfaces: [{ name: `ve${100 + index}`, mac: "02:00:00:00:00:01" }],
      ips: [{ address: `${addressOf({ name })}/32` }],
    },
    validAttachments: undefined,
    bandwidth: undefined,
  };
}

const namespaceKey = "io.kubernetes.pod.namespace";
const namespaceLabelKey = "io.cilium.k8s.namespace.labels.";

function labelsOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const equals = line.indexOf("=");
      const text = equals < 0 ? line : line.slice(0, equals);
      return [text.replace(/^k8s:/, ""), equals < 0 ? "" : line.slice(equals + 1)];
    }),
  );
}

function podFrom(name: string, namespace: string, labels: Record<string, string>): Omit<Pod, "ports"> {
  const entries = Object.entries(labels);
  return {
    kind: "pod",
    name,
    namespace,
    labels: Object.fromEntries(entries.filter(([key]) => !key.startsWith("io."))),
    namespaceLabels: Object.fromEntries(
      entries
        .filter(([key]) => key.startsWith(namespaceLabelKey))
        .map(([key, value]) => [key.slice(namespaceLabelKey.length), value]),
    ),
  };
}

function portsOf(ports: readonly { name: string; port: number; protocol: string }[]): Pod["ports"] {
  return ports.map(({ name, port, protocol }) => ({
    name,
    port,
    proto: Number(Object.keys(protocols).find((proto) => protocols[Number(proto)] === protocol)),
  }));
}

function podOf({ metadata, labels = [], namedPorts }: RemoteEndpoint): Pod {
  const all = labelsOf(labels);
  return { ...podFrom(metadata.name, all[namespaceKey] ?? "", all), ports: portsOf(namedPorts) };
}

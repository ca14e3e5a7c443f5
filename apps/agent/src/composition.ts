import { hostname } from "node:os";
import { join } from "node:path";
import { Lifecycle, type Module, type StructuredLogger } from "@axoneme/app";
import { Deferred, errorText, formatIp, formatPrefix, type Ip, ipEqual } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { EndpointStore, PodNetwork } from "@axoneme/endpoint";
import { IdentityCache, Ipcache, LocalIdentities, labelFilter } from "@axoneme/identity";
import { builtinResources, heldOnNode, type KubeClient, KubeFixedStore, resources } from "@axoneme/kube";
import { LinkReaper, type Netlink, netnsCookie } from "@axoneme/netlink";
import type { NodePeers } from "@axoneme/observe";
import { EventSources } from "./agent-events.ts";
import { ApiServer } from "./api-server.ts";
import { addCni } from "./cni/parts.ts";
import { ConntrackCollector } from "./collector.ts";
import type { Configuration } from "./config/configuration.ts";
import type { Dns } from "./dns/dns.ts";
import { ProxyProcess } from "./dns/proxy-process.ts";
import { FixedAddresses } from "./endpoint/fixed.ts";
import { EndpointManager } from "./endpoint/manager.ts";
import { PodNamespaces } from "./endpoint/namespaces.ts";
import { PodDirectory, trimNamespace, trimPod } from "./endpoint/pods.ts";
import { PoolChooser } from "./endpoint/pool-choice.ts";
import { EndpointPublisher } from "./endpoint/publisher.ts";
import { EndpointSource } from "./endpoint-source.ts";
import { HostFirewall } from "./host/firewall.ts";
import { hubblePeers } from "./hubble.ts";
import { type ServiceConfig, serviceConfig } from "./lb/config.ts";
import { both, LoadBalancing } from "./lb/load-balancing.ts";
import { agentFigures } from "./metrics/figures.ts";
import type { Meters } from "./metrics/meters.ts";
import { registerState } from "./metrics/registry.ts";
import { healthServer, metricsServer } from "./metrics/server.ts";
import { ClusterNodes } from "./node/cluster-nodes.ts";
import { isDead } from "./node/dead.ts";
import { followHostAddresses } from "./node/host-addresses.ts";
import { addressesOf, type NativeDevice } from "./node/local-node.ts";
import { identityBefore, NodeClasses } from "./node/node-identities.ts";
import { familiesOf, NodeIpam } from "./node/node-ipam.ts";
import { Peers, trimNode } from "./node/peers.ts";
import { PodRoutes } from "./node/pod-routes.ts";
import { NodePublisher } from "./node/publisher.ts";
import { configureKernel, podMtu, pruneNonMasquerade, setUpNode, writeNonMasquerade } from "./node/setup.ts";
import { Observation } from "./observation.ts";
import type { AgentConfig } from "./options.ts";
import { RemoteEndpoints, trimEndpoint } from "./remote-endpoints.ts";
import { createRoutes } from "./routes.ts";
import { ApiServerAddresses } from "./state/apiserver.ts";
import { createPolicy } from "./state/create-policy.ts";
import { announceWorld, restoreIdentities } from "./state/first-identities.ts";
import { Handover } from "./state/handover.ts";
import { IdentityAllocator } from "./state/identities.ts";
import { IpcacheWriter } from "./state/ipcache.ts";
import {
  ciliumClusterwideNetworkPolicies,
  ciliumEndpoints,
  ciliumIdentities,
  ciliumNetworkPolicies,
  ciliumNodes,
} from "./state/objects.ts";
import { PodIdentities } from "./state/pod-identities.ts";
import type { PolicyModule } from "./state/policy.ts";
import { PolicyObjects } from "./state/policy-objects.ts";
import { TierPolicies } from "./state/tier-policies.ts";
import { Watches } from "./state/watches.ts";

/** Devices of pods that went are removed together: the kernel takes as long for a hundred as for one. */
const gatherLinksMs = 100;

declare const AXON_VERSION: string | undefined;
/** Set by the build. */
export const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

/** Where the programs and their maps come from, for `axon status`. */
function howLoaded({ fresh, converted }: Kernel): string {
  if (converted.length > 0) return `, maps of another version converted: ${converted.join(", ")}`;
  return fresh ? "" : ", taken over";
}

/** Where things of this node are. */
export interface Paths {
  readonly objects: string;
  readonly cgroup: string;
}

/** What an agent is composed of that was there before. */
export interface Givens {
  readonly config: AgentConfig;
  readonly configuration: Configuration;
  readonly services: ServiceConfig;
  readonly log: StructuredLogger;
  readonly paths: Paths;
  readonly device: NativeDevice;
  readonly netlink: Netlink;
  readonly kernel: Kernel;
  readonly client: KubeClient;
  readonly meters: Meters;
}

/** The parts of an agent and how they are wired. No logic of its own beyond the order of the start. */
export class Composition {
  readonly #config: AgentConfig;
  readonly #configuration: Configuration;
  readonly #serviceConfig: ServiceConfig;
  readonly #log: StructuredLogger;
  readonly #paths: Paths;
  readonly #device: NativeDevice;
  readonly #netlink: Netlink;
  readonly #kernel: Kernel;
  readonly #client: KubeClient;
  readonly #meters: Meters;
  readonly #nodeName: string;
  readonly #dualStack: boolean;
  readonly #identities = new IdentityCache();
  readonly #ipcache = new Ipcache();
  readonly #loadBalancing: LoadBalancing;
  readonly #localIdentities: LocalIdentities;
  readonly #ipcacheWriter: IpcacheWriter;
  readonly #policies: ReturnType<typeof createPolicy>;
  readonly #policy: PolicyModule;
  readonly #dns: Dns;
  readonly #allocator: IdentityAllocator;
  readonly #handover: Handover;
  readonly #podIdentities: PodIdentities;
  readonly #namespaces: PodNamespaces;
  readonly #endpoints: EndpointManager;
  readonly #nodePublisher: NodePublisher;
  readonly #endpointPublisher: EndpointPublisher;
  readonly #fixed: FixedAddresses;
  readonly #watches: Watches;
  readonly #tierPolicies: TierPolicies;
  /** Where endpoints come from CiliumEndpointSlices. */
  readonly #endpointSource: EndpointSource | undefined;
  readonly #remote: RemoteEndpoints;
  readonly #ipam: NodeIpam;
  readonly #ready = new Deferred<void>();
  readonly #reaper = LinkReaper.open({}, gatherLinksMs);
  readonly #routes: PodRoutes;
  readonly #collector: ConntrackCollector;
  readonly #hubblePeers: NodePeers;
  readonly #nodes: ClusterNodes;
  readonly #eventSources: EventSources;
  readonly #nodeClasses: NodeClasses;
  readonly #host: HostFirewall;
  readonly #apiServer: ApiServerAddresses;

  constructor(givens: Givens) {
    const { config, services, log, paths, device, netlink, kernel, client, meters } = givens;
    this.#config = config;
    this.#configuration = givens.configuration;
    this.#serviceConfig = services;
    this.#log = log;
    this.#paths = paths;
    this.#device = device;
    this.#netlink = netlink;
    this.#kernel = kernel;
    this.#client = client;
    this.#meters = meters;
    this.#nodeName = config.nodeName || hostname();
    this.#dualStack = config.enableIPv4 && config.enableIPv6;
    this.#localIdentities = new LocalIdentities({ dualStack: this.#dualStack });
    this.#ipcacheWriter = new IpcacheWriter(this.#ipcache, kernel, log);
    this.#hubblePeers = hubblePeers(config);
    this.#nodes = new ClusterNodes(this.#nodeName, this.#hubblePeers);
    this.#nodes.onOwn = (node) => this.#ipam.learn(node);
    this.#eventSources = new EventSources(config.clusterName, this.#nodeName);
    this.#namespaces = new PodNamespaces(kernel.maps.netns, netnsCookie, log);
    this.#loadBalancing = new LoadBalancing({
      config,
      services,
      nodeName: this.#nodeName,
      kernel,
      netlink,
      client,
      namespaces: this.#namespaces,
      ready: this.ready,
      log,
    });
    const parts = { config, nodeName: this.#nodeName, kernel, client, registry: meters.registry, log };
    this.#policies = createPolicy({
      ...parts,
      localIdentities: this.#localIdentities,
      ipcache: this.#ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      proxy: new ProxyProcess(config, paths.cgroup, log),
    });
    ({ policy: this.#policy, dns: this.#dns } = this.#policies);
    this.#nodeClasses = this.#createNodeClasses();
    this.#host = new HostFirewall({
      ...{ config, kernel, client, log },
      nodeName: this.#nodeName,
      policy: this.#policy,
      ipcache: this.#ipcache,
      addresses: () => this.#loadBalancing.addresses.current.map(({ ip }) => ip),
    });
    this.#apiServer = this.#createApiServer();
    this.#allocator = new IdentityAllocator(this.#identities, client, log);
    this.#handover = new Handover(kernel);
    this.#podIdentities = new PodIdentities(config, {
      identities: this.#identities,
      policy: this.#policy,
      ipcacheWriter: this.#ipcacheWriter,
      firstNumber: this.#handover.firstNumber,
    });
    this.#watches = new Watches(client, meters, log);
    this.#tierPolicies = new TierPolicies(client, log, (kind) => this.#policy.tierPolicies(kind));
    this.#nodePublisher = new NodePublisher(client, this.#nodeName, log);
    this.#endpointPublisher = new EndpointPublisher(client, () => this.#nodeIp(), log);
    this.#fixed = this.#createFixed();
    this.#ipam = new NodeIpam({
      ...{ config, client, log, nodeName: this.#nodeName, publisher: this.#nodePublisher },
    });
    this.#routes = new PodRoutes(netlink, log);
    this.#collector = new ConntrackCollector(kernel, config.conntrackGCInterval * 1000, config, meters, log);
    this.#endpoints = this.#createEndpoints();
    this.#allocator.isUsed = (id) => this.#endpoints.endpoints().some(({ record }) => record.identity === id);
    this.#podIdentities.onSweep = () => this.#endpoints.mergeSome();
    this.#remote = this.#createRemote();
    this.#endpointSource = config.enableCiliumEndpointSlice
      ? new EndpointSource({ client, meters, log }, this.#remote.handlers())
      : undefined;
    this.#ipam.follow((cidrs) => {
      this.#endpoints.usePool(this.#ipam.pool);
      writeNonMasquerade(kernel, config, cidrs);
    });
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  #createNodeClasses(): NodeClasses {
    const classes = new NodeClasses({
      sink: this.#policy,
      flush: () => this.#ipcacheWriter.flush(),
      before: identityBefore((key) => this.#kernel.maps.ipcache.get(key)),
      path: join(this.#config.runDir, "node-identities.json"),
      log: this.#log,
    });
    this.#policy.nodes = classes;
    return classes;
  }

  #createApiServer(): ApiServerAddresses {
    const own = addressesOf(this.#device);
    const isOwn = (ip: Ip) => own.some((address) => ipEqual(address, ip));
    const apiServer = new ApiServerAddresses(this.#ipcache, isOwn, this.#nodeClasses);
    apiServer.onOwn = (here) => this.#policy.setHostIsApiServer(here);
    apiServer.labelsAt = (ip) => this.#nodes.peers?.labelsAt(ip) ?? {};
    return apiServer;
  }

  /** By which other nodes reach this one's pods. */
  #nodeIp(): string {
    return formatIp(addressesOf(this.#device)[0] ?? new Uint8Array(16));
  }

  #createFixed(): FixedAddresses {
    const fixed = new FixedAddresses({
      store: new KubeFixedStore(this.#client),
      nodeName: this.#nodeName,
      families: familiesOf(this.#config),
      nodeIsDead: (name) => isDead(this.#client, name),
      namespaceLabels: (name) => this.#namespaceLabels(name),
      log: this.#log,
    });
    fixed.onPools = () => {
      writeNonMasquerade(this.#kernel, this.#config, fixed.cidrs);
      this.#kernel.changed();
    };
    this.#watches.add(resources.fixedaddresspools, fixed.poolHandlers());
    const held = { labelSelector: heldOnNode(this.#nodeName) };
    this.#watches.add(resources.fixedaddresses, fixed.bindingHandlers(), held);
    return fixed;
  }

  #namespaceLabels: (name: string) => Readonly<Record<string, string>> = () => ({});

  #createEndpoints(): EndpointManager {
    const { runDir, clusterName, labels } = this.#config;
    const configuration = this.#configuration;
    const own = { fieldSelector: `spec.nodeName=${this.#nodeName}` };
    const namespaces = this.#watches.add(
      builtinResources.namespaces,
      {
        onAdd: (namespace) => this.#namespaceChanged(namespace),
        onUpdate: (namespace) => this.#namespaceChanged(namespace),
        onDelete: ({ metadata }) => this.#policy.setNamespaceAudited(metadata.name, false),
      },
      { trim: trimNamespace },
    );
    this.#namespaceLabels = (name) => namespaces.store.get(name)?.metadata.labels ?? {};
    const pods = this.#watches.add(
      builtinResources.pods,
      both(
        {
          // One that started while the API did not answer is known from here on.
          onAdd: ({ metadata }) => this.#endpoints.podChanged(metadata.namespace, metadata.name),
          onUpdate: ({ metadata }) => this.#endpoints.podChanged(metadata.namespace, metadata.name),
        },
        this.#loadBalancing.localPods.handlers(),
      ),
      { ...own, trim: trimPod },
    );
    const directory = new PodDirectory(
      pods.store,
      namespaces.store,
      this.#client,
      clusterName,
      labelFilter(labels),
    );
    if (this.#config.ipamMode === "multi-pool") {
      directory.pools = new PoolChooser(this.#log);
      this.#watches.add(resources.ciliumpodippools, directory.pools.handlers());
    }
    const gateways = () => this.#ipam.gateways;
    const endpoints = new EndpointManager({
      store: new EndpointStore(join(runDir, "endpoints")),
      network: new PodNetwork(this.#netlink, this.#reaper, gateways, () =>
        podMtu(this.#config, this.#device),
      ),
      kernel: this.#kernel,
      pods: directory,
      poolUsed: () => this.#ipam.used(),
      poolChanged: this.#ipam.mayGrow ? () => this.#ipam.changed() : undefined,
      identities: this.#allocator,
      podIdentities: this.#podIdentities,
      ipcache: this.#ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      policy: this.#policy,
      publisher: this.#endpointPublisher,
      namespaces: this.#namespaces,
      log: this.#log,
      nodeIp: () => this.#nodeIp(),
      fixed: this.#fixed,
      gateways,
      addressFreed: (ip) => this.#collector.flush(ip),
      localPods: this.#eventSources.endpoints(this.#loadBalancing.localPods),
      get timeoutMs() {
        return configuration.running.cniTimeout * 1000;
      },
    });
    this.#policy.onEndpoint = (id) => {
      if (!this.#host.isHost(id)) endpoints.policyChanged(id);
      this.#eventSources.regenerated(id, endpoints.get(id));
    };
    return endpoints;
  }

  #namespaceChanged({ metadata, audited }: ReturnType<typeof trimNamespace>): void {
    this.#policy.setNamespaceAudited(metadata.name, audited);
    this.#endpoints.namespaceChanged(metadata.name);
  }

  /** Options that take a change at once, besides those of the kernel's configuration. */
  #followOptions(): void {
    this.#configuration.onChange = () => this.#nodePublisher.publishConfig(this.#configuration.summary());
    this.#configuration
      .on("cniTimeout", () => undefined) // read at each use
      .on("conntrackGCInterval", ({ conntrackGCInterval }) => {
        this.#collector.intervalMs = conntrackGCInterval * 1000;
      })
      .on("denyCIDRs", (config) => this.#loadBalancing.deny.setFixed(serviceConfig(config).deny));
  }

  compose(): Lifecycle {
    this.#followOptions();
    const lifecycle = new Lifecycle(this.#log);
    const { registry } = this.#meters;
    registerState(registry, this.#kernel, lifecycle.health, this.#figures());
    const observation = this.#createObservation();
    const routes = this.#createRoutes(lifecycle.health, observation);
    this.#dns.restore();
    restoreIdentities(this.#kernel, this.#localIdentities);
    announceWorld(this.#ipcache, this.#dualStack);
    this.#policy.prefixes.onSplit = (from, to) => this.#handover.carryPrefix(from, to);
    this.#policy.prefixes.start(this.#dualStack);
    this.#watchCluster();
    this.#endpoints.load();
    this.#endpoints.serveAfter(this.ready);
    lifecycle
      .add({
        name: "datapath",
        start: (health) => health.ok(`programs of build ${this.#kernel.build}${howLoaded(this.#kernel)}`),
      })
      .add(
        new ApiServer(
          "api",
          { path: join(this.#config.runDir, "agent.sock") },
          routes,
          this.#meters,
          this.#log,
        ),
      );
    observation.addIntake(lifecycle);
    lifecycle.add(this.#configuration).add(this.#watches).add(this.#tierPolicies);
    if (this.#endpointSource) lifecycle.add(this.#endpointSource);
    lifecycle.add(this.#policies.pressure).add(this.#collector);
    addCni(lifecycle, this.#configuration, this.#endpoints, this.#log);
    lifecycle.add(this.#nodeModule());
    this.#loadBalancing.addTo(lifecycle);
    this.#dns.addTo(lifecycle, {
      policy: this.#policy,
      endpoints: () => this.#endpoints.endpoints().map(({ record }) => record),
      collector: this.#collector,
      observer: observation.observer,
      metrics: observation.metrics,
    });
    const { agentHealthPort } = this.#config;
    const canServe = () => this.#endpoints.status();
    if (agentHealthPort !== 0)
      lifecycle.add(healthServer(agentHealthPort, routes, canServe, this.#meters, this.#log));
    if (this.#config.metricsAddress !== "")
      lifecycle.add(metricsServer(this.#config.metricsAddress, routes, this.#meters, this.#log));
    observation.addReaders(lifecycle);
    return lifecycle;
  }

  /** What figures, flows and views are all made of. */
  get #parts() {
    return {
      ...{ version, config: this.#config, nodeName: this.#nodeName, log: this.#log },
      ...{ kernel: this.#kernel, device: this.#device, registry: this.#meters.registry },
      ...{ endpoints: this.#endpoints, ipcache: this.#ipcache, loadBalancing: this.#loadBalancing },
      ...{ identities: this.#identities, localIdentities: this.#localIdentities },
      ...{ podIdentities: this.#podIdentities, policy: this.#policy, dns: this.#dns },
    };
  }

  #figures(): ReturnType<typeof agentFigures> {
    return agentFigures({
      ...this.#parts,
      room: this.#policies.room,
      pool: this.#ipam.pool,
      peers: () => this.#nodes.peers?.size ?? 0,
      collector: this.#collector,
    });
  }

  #createObservation(): Observation {
    return new Observation({
      ...this.#parts,
      cgroup: this.#paths.cgroup,
      client: this.#client,
      nodeClasses: this.#nodeClasses,
      peers: this.#hubblePeers,
      events: this.#eventSources,
    });
  }

  #createRoutes(
    health: Lifecycle["health"],
    { observer, resolver, uses }: Observation,
  ): ReturnType<typeof createRoutes> {
    return createRoutes({
      ...this.#parts,
      ...{ health, observer, uses, configuration: this.#configuration, host: this.#host },
      podCidrs: () => this.#ipam.current,
      pool: this.#ipam.pool,
      nodeIdentities: this.#nodeClasses.identities,
      labelsOf: (identity) => resolver.identityById(identity)?.labels ?? [],
    });
  }

  #nodeModule(): Module {
    return {
      name: "node",
      start: (health) => {
        health.degraded("waiting for a pod CIDR");
        this.#nodePublisher.publish(addressesOf(this.#device), []);
        this.#ipam.start();
        void this.#settle(health);
      },
      stop: async () => {
        this.#nodePublisher.stop();
        this.#endpointPublisher.stop();
        this.#fixed.stop();
        this.#ipam.stop();
        this.#host.stop();
        this.#podIdentities.stop();
        this.#reaper.close();
        await Promise.all([this.#loadBalancing.stop(), this.#routes.stop()]);
      },
    };
  }

  /** The second half of the start: what needs the API server's answers. */
  async #settle(health: { ok(message: string): void; failed(message: string): void }): Promise<void> {
    try {
      await this.#ipam.known();
      const { gateways } = this.#ipam;
      const own = [gateways.v4, gateways.v6].filter((ip) => ip !== undefined);
      const setup = { services: this.#serviceConfig, device: this.#device, gateways };
      const tunnelIndex = await setUpNode(this.#kernel, this.#netlink, {
        ...setup,
        config: this.#configuration.running,
        acceleration: this.#loadBalancing.acceleration,
      });
      const reconfigure = (config: AgentConfig): void =>
        configureKernel(this.#kernel, { ...setup, config, tunnelIndex });
      this.#configuration.on("monitorAggregation", reconfigure).on("monitorAggregationInterval", reconfigure);
      await followHostAddresses(this.#loadBalancing.addresses, this.#ipcache, this.#kernel);
      await this.#loadBalancing.announceOn(this.#device.index);
      if (this.#config.socketLB) this.#kernel.attachments.attachSockets(this.#paths.cgroup);
      else this.#kernel.attachments.detachSockets();
      this.#followPeers(own, tunnelIndex);
      this.#nodePublisher.publish(addressesOf(this.#device), own);
      await Promise.all([this.#watches.synced(), this.#tierPolicies.synced, this.#endpointSource?.synced]);
      await this.#policy.beforeOpen();
      this.#host.open(() => this.#nodeClasses.open(() => this.#policy.open()));
      this.#remote.open(this.#handover);
      await this.#endpoints.restore(this.#handover);
      this.#handover.end();
      this.#endpoints.reconcilePublished(this.#remote.own());
      this.#dns.open();
      this.#policy.prune();
      this.#policy.prefixes.prune();
      this.#dns.settled();
      this.#loadBalancing.prune();
      this.#ipcacheWriter.prune();
      const cidrs = [...this.#ipam.current, ...(this.#nodes.peers?.podCidrs() ?? []), ...this.#fixed.cidrs];
      pruneNonMasquerade(this.#kernel, this.#config, cidrs);
      await this.#routes.prune();
      this.#kernel.settle();
      this.#kernel.dropOldBuilds();
      this.#podIdentities.start();
      health.ok(
        `${this.#nodeName} on ${this.#device.name}, pods in ${this.#ipam.current.map(formatPrefix).join(", ")}`,
      );
      this.#ready.resolve();
      this.#log.info({ ms: Math.round(performance.now()) }, "ready to add pods");
    } catch (error) {
      health.failed(errorText(error));
      this.#log.error({ err: error }, "the node could not be set up");
      this.#ready.reject(error);
    }
  }

  #watchCluster(): void {
    const watches = this.#watches;
    watches.add(ciliumIdentities, this.#allocator.handlers());
    const events = this.#eventSources;
    events.followIpcache(this.#ipcache);
    const network = both(this.#policy.networkPolicies(), events.policies("NetworkPolicy"));
    watches.add(builtinResources.networkpolicies, network);
    const [ours, wide] = ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"] as const;
    watches.add(ciliumNetworkPolicies, both(this.#policy.ciliumPolicies(ours), events.policies(ours)));
    const everywhere = both(this.#policy.ciliumPolicies(wide), events.policies(wide));
    watches.add(ciliumClusterwideNetworkPolicies, everywhere);
    const named = new PolicyObjects(this.#policy, this.#config.clusterName);
    watches.add(resources.ciliumcidrgroups, named.groups());
    const copies = this.#loadBalancing.watch(
      watches,
      {
        services: both(named.services(), events.services()),
        slices: both(this.#apiServer.handlers(), named.slices()),
      },
      (node) => {
        const labels = node.metadata?.labels ?? {};
        this.#nodePublisher.publishLabels(labels);
        this.#policy.setHostLabels(labels);
        this.#configuration.nodeLabels(labels);
        this.#ipam.learnKubernetes(node.spec?.podCIDRs ?? []);
      },
    );
    this.#policy.onServicesNamed = () => named.wake(copies);
    if (this.#endpointSource === undefined)
      watches.add(ciliumEndpoints, this.#remote.handlers(), { trim: trimEndpoint });
    watches.add(ciliumNodes, this.#nodes.handlers(), { trim: trimNode });
  }

  #followPeers(gateways: readonly Ip[], tunnelIndex: number | undefined): void {
    const common = { nodeName: this.#nodeName, device: this.#device, classes: this.#nodeClasses };
    const options = { ...common, tunnelIndex, gateways };
    const peers = new Peers(options, this.#routes, this.#ipcache, this.#kernel);
    peers.onChange = (addresses) => {
      this.#remote.nodeChanged(addresses);
      this.#apiServer.nodeChanged(addresses);
    };
    peers.onGone = (addresses) => this.#apiServer.nodeChanged(addresses);
    this.#nodes.open(peers);
  }

  #createRemote(): RemoteEndpoints {
    const own = addressesOf(this.#device);
    return new RemoteEndpoints({
      ipcache: this.#ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      policy: this.#policy,
      podIdentities: this.#podIdentities,
      isOwn: (ip) => own.some((address) => ipEqual(address, ip)),
      wayTo: (nodeIp, prefix) => this.#nodes.peers?.wayTo(nodeIp, prefix) ?? {},
      podWays: {
        place: (nodeIp, ip) => this.#nodes.peers?.place(nodeIp, ip),
        forget: (ip) => this.#nodes.peers?.forget(ip),
      },
    });
  }
}

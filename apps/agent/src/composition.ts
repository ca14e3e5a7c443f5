import { hostname } from "node:os";
import { join } from "node:path";
import { Lifecycle, type StructuredLogger } from "@axoneme/app";
import {
  Deferred,
  errorText,
  formatIp,
  formatPrefix,
  hostPrefix,
  type Ip,
  ipEqual,
  type Prefix,
} from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { EndpointStore, PodNetwork } from "@axoneme/endpoint";
import { type FlowResolver, RawStore } from "@axoneme/flow";
import { IdentityCache, Ipcache, LocalIdentities, labelFilter, reserved } from "@axoneme/identity";
import { defaultPool, NodePools } from "@axoneme/ipam";
import {
  builtinResources,
  heldOnNode,
  type KubeClient,
  KubeFixedStore,
  type ListWatchHandlers,
  resources,
} from "@axoneme/kube";
import { LinkReaper, type Netlink, netnsCookie } from "@axoneme/netlink";
import { type NodePeers, Observer } from "@axoneme/observe";
import { EventSources } from "./agent-events.ts";
import { ApiServer } from "./api-server.ts";
import { cniInstaller, cniServer } from "./cni/parts.ts";
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
import { EventPump, lostEvents } from "./events.ts";
import { addFlowLogs } from "./flow-logs.ts";
import { HostFirewall } from "./host/firewall.ts";
import { addHubble, hubblePeers } from "./hubble.ts";
import { addHistory } from "./hubble-history.ts";
import { addMetricsFile } from "./hubble-metrics.ts";
import { redactionOf } from "./hubble-redact.ts";
import { type ServiceConfig, serviceConfig } from "./lb/config.ts";
import { both, LoadBalancing } from "./lb/load-balancing.ts";
import { agentFigures } from "./metrics/figures.ts";
import { createFlowMetrics } from "./metrics/flow-metrics.ts";
import type { Meters } from "./metrics/meters.ts";
import { registerState } from "./metrics/registry.ts";
import { healthServer, metricsServer } from "./metrics/server.ts";
import { isDead } from "./node/dead.ts";
import { addressesOf, type NativeDevice } from "./node/local-node.ts";
import { identityBefore, NodeClasses } from "./node/node-identities.ts";
import { Peers, trimNode } from "./node/peers.ts";
import { PodCidrs } from "./node/pod-cidrs.ts";
import { PodRoutes } from "./node/pod-routes.ts";
import { PoolCidrs } from "./node/pool-cidrs.ts";
import { DemandOfPools } from "./node/pool-demand.ts";
import { NodePublisher } from "./node/publisher.ts";
import {
  configureKernel,
  familyEnabled,
  podMtu,
  pruneNonMasquerade,
  setUpNode,
  writeHostRows,
  writeNonMasquerade,
} from "./node/setup.ts";
import type { AgentConfig } from "./options.ts";
import { Processes } from "./processes/processes.ts";
import { RemoteEndpoints, trimEndpoint } from "./remote-endpoints.ts";
import { createResolver } from "./resolver.ts";
import { createRoutes } from "./routes.ts";
import { ApiServerAddresses } from "./state/apiserver.ts";
import { createPolicy } from "./state/create-policy.ts";
import { announceWorld, restoreIdentities } from "./state/first-identities.ts";
import { Handover } from "./state/handover.ts";
import { IdentityAllocator } from "./state/identities.ts";
import { IpcacheWriter } from "./state/ipcache.ts";
import {
  type CiliumNodeObject,
  ciliumClusterwideNetworkPolicies,
  ciliumEndpoints,
  ciliumIdentities,
  ciliumNetworkPolicies,
  ciliumNodes,
} from "./state/objects.ts";
import { PodIdentities } from "./state/pod-identities.ts";
import type { PolicyModule } from "./state/policy.ts";
import { PolicyObjects } from "./state/policy-objects.ts";
import { RuleUses } from "./state/rule-use.ts";
import { flowRule } from "./state/rules.ts";
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
  readonly #pool: NodePools;
  readonly #podCidrs: PodCidrs | PoolCidrs;
  readonly #demand: DemandOfPools;
  #poolChanged = new Deferred<void>();
  readonly #ready = new Deferred<void>();
  readonly #reaper = LinkReaper.open({}, gatherLinksMs);
  readonly #routes: PodRoutes;
  readonly #collector: ConntrackCollector;
  readonly #hubblePeers: NodePeers;
  readonly #eventSources: EventSources;
  readonly #nodeClasses: NodeClasses;
  readonly #host: HostFirewall;
  readonly #apiServer: ApiServerAddresses;
  #peers: Peers | undefined;

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
    this.#pool = new NodePools(this.#nodeName);
    this.#demand = new DemandOfPools({
      ...{ nodeName: this.#nodeName, pool: this.#pool, client, log, families: familiesOf(config) },
      ahead: { [defaultPool]: config.ipamPreAllocate },
      publisher: this.#nodePublisher,
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
    this.#podCidrs =
      config.ipamMode === "multi-pool"
        ? new PoolCidrs(join(config.runDir, "pool-cidrs.json"), (cidrs) => this.#useCidrs(cidrs))
        : new PodCidrs(join(config.runDir, "pod-cidrs.json"), (cidrs) =>
            this.#useCidrs(new Map([[defaultPool, cidrs]])),
          );
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
    apiServer.labelsAt = (ip) => this.#peers?.labelsAt(ip) ?? {};
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
    const mayGrow = this.#config.ipamMode !== "kubernetes";
    const gateways = () => ({ v4: this.#pool.routerIp(4), v6: this.#pool.routerIp(6) });
    const endpoints = new EndpointManager({
      store: new EndpointStore(join(runDir, "endpoints")),
      network: new PodNetwork(this.#netlink, this.#reaper, gateways, () =>
        podMtu(this.#config, this.#device),
      ),
      kernel: this.#kernel,
      pods: directory,
      poolUsed: () => {
        if (mayGrow) this.#demand.used();
      },
      poolChanged: mayGrow ? () => this.#poolChanged.promise : undefined,
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
    const figures = agentFigures({
      config: this.#config,
      version,
      endpoints: this.#endpoints,
      identities: this.#identities,
      localIdentities: this.#localIdentities,
      policy: this.#policy,
      room: this.#policies.room,
      pool: this.#pool,
      peers: () => this.#peers?.size ?? 0,
      collector: this.#collector,
      loadBalancing: this.#loadBalancing,
    });
    registerState(registry, this.#kernel, lifecycle.health, figures);
    const processes = new Processes(this.#kernel, this.#config.hubbleProcesses, this.#paths.cgroup);
    const resolver = this.#createResolver(processes);
    const observer = this.#createObserver(resolver);
    const flowMetrics = createFlowMetrics(
      this.#config,
      registry,
      observer.resolver,
      this.#ipcache,
      this.#log,
    );
    const uses = new RuleUses(
      join(this.#config.runDir, "rule-uses.json"),
      (id) => this.#policy.engine.rule(id),
      this.#log,
    );
    const routes = createRoutes({
      version,
      uses,
      config: this.#config,
      configuration: this.#configuration,
      nodeName: this.#nodeName,
      health: lifecycle.health,
      registry,
      observer,
      kernel: this.#kernel,
      device: this.#device,
      podCidrs: () => this.#podCidrs.current,
      pool: this.#pool,
      endpoints: this.#endpoints,
      host: this.#host,
      policy: this.#policy,
      dns: this.#dns,
      loadBalancing: this.#loadBalancing,
      identities: this.#identities,
      localIdentities: this.#localIdentities,
      nodeIdentities: this.#nodeClasses.identities,
      podIdentities: this.#podIdentities,
      ipcache: this.#ipcache,
      labelsOf: (identity) => resolver.identityById(identity)?.labels ?? [],
    });
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
      )
      .add(uses)
      .add(processes);
    addMetricsFile(lifecycle, this.#config.hubbleDynamicMetricsConfigPath, flowMetrics, this.#log);
    addHistory(lifecycle, this.#config, observer, registry, this.#log);
    lifecycle
      .add(
        new EventPump(
          () => this.#kernel.events(),
          () => lostEvents(this.#kernel),
          observer,
          flowMetrics,
          uses,
          this.#log,
        ),
      )
      .add(this.#configuration)
      .add(this.#watches)
      .add(this.#tierPolicies);
    if (this.#endpointSource) lifecycle.add(this.#endpointSource);
    const installer = cniInstaller(
      this.#config,
      this.#endpoints,
      () => this.#configuration.running.cniWriteConf,
      this.#log,
    );
    this.#configuration.on("cniWriteConf", () => installer.wantedChanged());
    lifecycle
      .add(this.#policies.pressure)
      .add(this.#collector)
      .add(cniServer(this.#config, this.#endpoints, this.#log))
      .add(installer)
      .add({
        name: "node",
        start: (health) => {
          health.degraded("waiting for a pod CIDR");
          this.#nodePublisher.publish(addressesOf(this.#device), []);
          if (this.#config.ipamMode !== "kubernetes")
            this.#demand.start(this.#podCidrs instanceof PoolCidrs ? this.#podCidrs : undefined);
          void this.#settle(health);
        },
        stop: async () => {
          this.#nodePublisher.stop();
          this.#endpointPublisher.stop();
          this.#fixed.stop();
          this.#demand.stop();
          this.#host.stop();
          this.#podIdentities.stop();
          this.#reaper.close();
          await Promise.all([this.#loadBalancing.stop(), this.#routes.stop()]);
        },
      });
    this.#loadBalancing.addTo(lifecycle);
    this.#dns.addTo(lifecycle, {
      policy: this.#policy,
      endpoints: () => this.#endpoints.endpoints().map(({ record }) => record),
      collector: this.#collector,
      observer,
      metrics: flowMetrics,
    });
    const { agentHealthPort } = this.#config;
    const canServe = () => this.#endpoints.status();
    if (agentHealthPort !== 0)
      lifecycle.add(healthServer(agentHealthPort, routes, canServe, this.#meters, this.#log));
    if (this.#config.metricsAddress !== "")
      lifecycle.add(metricsServer(this.#config.metricsAddress, routes, this.#meters, this.#log));
    if (this.#config.enableHubble)
      addHubble(lifecycle, this.#config, {
        ...{ observer, resolver, version, metrics: flowMetrics, log: this.#log },
        ...{ nodeName: this.#nodeName, client: this.#client },
        ...{ peers: this.#hubblePeers, events: this.#eventSources, registry },
      });
    addFlowLogs(lifecycle, this.#config, observer, registry, this.#log);
    return lifecycle;
  }

  /** The second half of the start: what needs the API server's answers. */
  async #settle(health: { ok(message: string): void; failed(message: string): void }): Promise<void> {
    try {
      await this.#podCidrs.known;
      const gateways = { v4: this.#pool.routerIp(4), v6: this.#pool.routerIp(6) };
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
      await this.#followAddresses();
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
      const cidrs = [...this.#podCidrs.current, ...(this.#peers?.podCidrs() ?? []), ...this.#fixed.cidrs];
      pruneNonMasquerade(this.#kernel, this.#config, cidrs);
      await this.#routes.prune();
      this.#kernel.settle();
      this.#kernel.dropOldBuilds();
      this.#podIdentities.start();
      health.ok(
        `${this.#nodeName} on ${this.#device.name}, pods in ${this.#podCidrs.current.map(formatPrefix).join(", ")}`,
      );
      this.#ready.resolve();
      this.#log.info({ ms: Math.round(performance.now()) }, "ready to add pods");
    } catch (error) {
      health.failed(errorText(error));
      this.#log.error({ err: error }, "the node could not be set up");
      this.#ready.reject(error);
    }
  }

  #useCidrs(cidrs: ReadonlyMap<string, readonly Prefix[]>): void {
    const wanted = new Map(
      [...cidrs].map(([pool, of]) => [pool, of.filter((cidr) => familyEnabled(this.#config, cidr))]),
    );
    this.#pool.setCidrs(wanted);
    this.#endpoints.usePool(this.#pool);
    writeNonMasquerade(this.#kernel, this.#config, [...wanted.values()].flat());
    this.#poolChanged.resolve();
    this.#poolChanged = new Deferred();
  }

  // ---- what the ipcache says of this node and the world -----------------------------------------------------------

  /** The node's own addresses are the host, whichever device has them, and as long as it has them. */
  async #followAddresses(): Promise<void> {
    let known: readonly Ip[] = [];
    this.#loadBalancing.addresses.onChange = (addresses) => {
      const now = addresses.map(({ ip }) => ip);
      for (const ip of known) {
        if (!now.some((other) => ipEqual(ip, other))) this.#ipcache.delete(hostPrefix(ip), "local", "node");
      }
      for (const ip of now)
        this.#ipcache.upsert(hostPrefix(ip), "local", "node", { identity: reserved.host });
      known = now;
      writeHostRows(this.#kernel, addresses);
    };
    await this.#loadBalancing.addresses.start();
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
        if (this.#podCidrs instanceof PodCidrs && this.#config.ipamMode === "kubernetes")
          this.#podCidrs.learn(node.spec?.podCIDRs ?? []);
      },
    );
    this.#policy.onServicesNamed = () => named.wake(copies);
    if (this.#endpointSource === undefined)
      watches.add(ciliumEndpoints, this.#remote.handlers(), { trim: trimEndpoint });
    const handlers: ListWatchHandlers<CiliumNodeObject> = {
      onAdd: (node) => this.#nodeChanged(node),
      onUpdate: (node) => this.#nodeChanged(node),
      onDelete: (node) => {
        this.#nodesSeen.delete(node.metadata?.name ?? "");
        this.#hubblePeers.remove(node.metadata?.name ?? "");
        this.#peers?.handlers().onDelete?.(node);
      },
    };
    watches.add(ciliumNodes, handlers, { trim: trimNode });
  }

  readonly #nodesSeen = new Map<string, CiliumNodeObject>();

  #nodeChanged(node: CiliumNodeObject): void {
    const name = node.metadata?.name ?? "";
    this.#hubblePeers.upsert(name, node.spec?.addresses);
    if (name === this.#nodeName) {
      this.#demand.seen(node);
      const { podCIDRs = [], pools } = node.spec?.ipam ?? {};
      if (this.#podCidrs instanceof PoolCidrs) this.#podCidrs.learn(pools?.allocated ?? []);
      else if (this.#config.ipamMode === "cluster-pool") this.#podCidrs.learn(podCIDRs);
      return;
    }
    if (this.#peers) this.#peers.handlers().onUpdate?.(node, node);
    else this.#nodesSeen.set(name, node);
  }

  /** Other nodes that were seen before this one knew its own place are told now. */
  #followPeers(gateways: readonly Ip[], tunnelIndex: number | undefined): void {
    const common = { nodeName: this.#nodeName, device: this.#device, classes: this.#nodeClasses };
    const options = { ...common, tunnelIndex, gateways };
    this.#peers = new Peers(options, this.#routes, this.#ipcache, this.#kernel);
    this.#peers.onChange = (addresses) => {
      this.#remote.nodeChanged(addresses);
      this.#apiServer.nodeChanged(addresses);
    };
    this.#peers.onGone = (addresses) => this.#apiServer.nodeChanged(addresses);
    for (const node of this.#nodesSeen.values()) this.#peers.handlers().onAdd?.(node);
    this.#nodesSeen.clear();
  }

  #createRemote(): RemoteEndpoints {
    const own = addressesOf(this.#device);
    return new RemoteEndpoints({
      ipcache: this.#ipcache,
      ipcacheWriter: this.#ipcacheWriter,
      policy: this.#policy,
      podIdentities: this.#podIdentities,
      isOwn: (ip) => own.some((address) => ipEqual(address, ip)),
      wayTo: (nodeIp, prefix) => this.#peers?.wayTo(nodeIp, prefix) ?? {},
      podWays: {
        place: (nodeIp, ip) => this.#peers?.place(nodeIp, ip),
        forget: (ip) => this.#peers?.forget(ip),
      },
    });
  }

  #createObserver(resolver: FlowResolver): Observer {
    const store = new RawStore({ capacity: this.#config.flowBufferCapacity });
    return new Observer({ store, resolver, version, redaction: redactionOf(this.#config) });
  }

  #createResolver(processes: Processes): FlowResolver {
    const names = new Map<number, string>([[this.#device.index, this.#device.name]]);
    return createResolver({
      nodeName: this.#nodeName,
      clusterName: this.#config.clusterName,
      endpoints: this.#endpoints,
      identities: this.#identities,
      localIdentities: this.#localIdentities,
      nodeIdentities: this.#nodeClasses.identities,
      podIdentities: this.#podIdentities,
      ipcache: this.#ipcache,
      services: this.#loadBalancing.services.compiler,
      servesNodePorts: (ip) => this.#loadBalancing.addresses.serves(ip),
      ruleById: (id) => flowRule(this.#policy, id),
      interfaceName: (ifindex) => names.get(ifindex) ?? this.#endpoints.interfaceName(ifindex),
      namesOf: (ip, endpoint) => this.#dns.namesOf(ip, endpoint),
      processById: (id, timeNs) => processes.get(id, timeNs),
    });
  }
}

/** Families that pods of the node have. */
function familiesOf({ enableIPv4, enableIPv6 }: AgentConfig): (4 | 6)[] {
  return [...(enableIPv4 ? [4 as const] : []), ...(enableIPv6 ? [6 as const] : [])];
}

import { join } from "node:path";
import type { Lifecycle } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type FlowResolver, RawStore } from "@axoneme/flow";
import type { IdentityCache, Ipcache, LocalIdentities } from "@axoneme/identity";
import type { KubeClient } from "@axoneme/kube";
import { type FlowMetrics, type NodePeers, Observer } from "@axoneme/observe";
import type { Registry } from "prom-client";
import type { EventSources } from "./agent-events.ts";
import type { Dns } from "./dns/dns.ts";
import type { EndpointManager } from "./endpoint/manager.ts";
import { EventPump, lostEvents } from "./events.ts";
import { addFlowLogs } from "./flow-logs.ts";
import { addHubble } from "./hubble.ts";
import { addHistory } from "./hubble-history.ts";
import { addMetricsFile } from "./hubble-metrics.ts";
import { redactionOf } from "./hubble-redact.ts";
import type { LoadBalancing } from "./lb/load-balancing.ts";
import { createFlowMetrics } from "./metrics/flow-metrics.ts";
import type { NativeDevice } from "./node/local-node.ts";
import type { NodeClasses } from "./node/node-identities.ts";
import type { AgentConfig } from "./options.ts";
import { Processes } from "./processes/processes.ts";
import { createResolver } from "./resolver.ts";
import type { PodIdentities } from "./state/pod-identities.ts";
import type { PolicyModule } from "./state/policy.ts";
import { RuleUses } from "./state/rule-use.ts";
import { flowRule } from "./state/rules.ts";

/** What flows are made of and told to. */
export interface ObservationParts {
  readonly config: AgentConfig;
  readonly version: string;
  readonly log: Logger;
  readonly nodeName: string;
  /** Of cgroup2: processes are told apart by it. */
  readonly cgroup: string;
  readonly device: NativeDevice;
  readonly kernel: Kernel;
  readonly client: KubeClient;
  readonly registry: Registry;
  readonly endpoints: EndpointManager;
  readonly identities: IdentityCache;
  readonly localIdentities: LocalIdentities;
  readonly nodeClasses: NodeClasses;
  readonly podIdentities: PodIdentities;
  readonly ipcache: Ipcache;
  readonly loadBalancing: LoadBalancing;
  readonly policy: PolicyModule;
  readonly dns: Dns;
  readonly peers: NodePeers;
  readonly events: EventSources;
}

/** What an agent sees of its traffic: from the kernel's ring buffer to store, metrics, logs and readers. */
export class Observation {
  readonly #parts: ObservationParts;
  readonly #processes: Processes;
  readonly resolver: FlowResolver;
  readonly observer: Observer;
  readonly metrics: FlowMetrics;
  readonly uses: RuleUses;

  constructor(parts: ObservationParts) {
    const { config, kernel, registry, log, version, ipcache, policy } = parts;
    this.#parts = parts;
    this.#processes = new Processes(kernel, config.hubbleProcesses, parts.cgroup);
    this.resolver = this.#createResolver();
    this.observer = new Observer({
      ...{ resolver: this.resolver, version },
      store: new RawStore({ capacity: config.flowBufferCapacity }),
      redaction: redactionOf(config),
    });
    this.metrics = createFlowMetrics(config, registry, this.observer.resolver, ipcache, log);
    this.uses = new RuleUses(join(config.runDir, "rule-uses.json"), (id) => policy.engine.rule(id), log);
  }

  /** The way of records into the store. It is there before anything writes some. */
  addIntake(lifecycle: Lifecycle): void {
    const { config, kernel, registry, log } = this.#parts;
    const { observer, metrics, uses } = this;
    lifecycle.add(uses).add(this.#processes);
    addMetricsFile(lifecycle, config.hubbleDynamicMetricsConfigPath, metrics, log);
    addHistory(lifecycle, config, observer, registry, log);
    const ring = () => kernel.events();
    lifecycle.add(new EventPump(ring, () => lostEvents(kernel), observer, metrics, uses, log));
  }

  /** The ways out: the API of flows, and their logs. */
  addReaders(lifecycle: Lifecycle): void {
    const { config, version, log, nodeName, client, peers, events, registry } = this.#parts;
    const { observer, resolver, metrics } = this;
    if (config.enableHubble)
      addHubble(lifecycle, config, {
        ...{ observer, resolver, version, metrics, log },
        ...{ nodeName, client, peers, events, registry },
      });
    addFlowLogs(lifecycle, config, observer, registry, log);
  }

  #createResolver(): FlowResolver {
    const { config, device, endpoints, loadBalancing, policy, dns, nodeClasses } = this.#parts;
    const { nodeName, identities, localIdentities, podIdentities, ipcache } = this.#parts;
    const names = new Map<number, string>([[device.index, device.name]]);
    return createResolver({
      ...{ nodeName, endpoints, identities, localIdentities, podIdentities, ipcache },
      clusterName: config.clusterName,
      nodeIdentities: nodeClasses.identities,
      services: loadBalancing.services.compiler,
      servesNodePorts: (ip) => loadBalancing.addresses.serves(ip),
      ruleById: (id) => flowRule(policy, id),
      interfaceName: (ifindex) => names.get(ifindex) ?? endpoints.interfaceName(ifindex),
      namesOf: (ip, endpoint) => dns.namesOf(ip, endpoint),
      processById: (id, timeNs) => this.#processes.get(id, timeNs),
    });
  }
}

import { hostPrefix, type Ip, isV4, parseIp } from "@axoneme/base";
import type { FlowResolver, IdentityInfo, PeerInfo, RuleInfo } from "@axoneme/flow";
import {
  type IdentityCache,
  type Ipcache,
  type IpcacheEntry,
  isNodeIdentity,
  isPortLabel,
  type LocalIdentities,
  labelKeys,
  labelLines,
  type NodeIdentities,
  reserved,
} from "@axoneme/identity";
import type { ServiceCompiler } from "@axoneme/loadbalancer";
import type { LiveEndpoint } from "./endpoint/live.ts";
import type { EndpointManager } from "./endpoint/manager.ts";
import { GonePods } from "./gone-pods.ts";
import { hostEndpointId } from "./host/host-endpoint.ts";
import type { PodIdentities } from "./state/pod-identities.ts";

/** Where the names in flows come from. */
export interface ResolverSources {
  readonly nodeName: string;
  readonly clusterName: string;
  readonly endpoints: Pick<EndpointManager, "get">;
  readonly identities: IdentityCache;
  readonly localIdentities: LocalIdentities;
  readonly nodeIdentities: NodeIdentities;
  readonly podIdentities: Pick<PodIdentities, "labelsOf">;
  readonly ipcache: Ipcache;
  readonly services: Pick<ServiceCompiler, "serviceAt">;
  /** Whether an address is one of this node's on which NodePorts are served. */
  readonly servesNodePorts: (ip: Ip) => boolean;
  readonly ruleById: (id: number) => RuleInfo | undefined;
  readonly interfaceName: (ifindex: number) => string | undefined;
  readonly namesOf: NonNullable<FlowResolver["namesOf"]>;
  readonly processById: NonNullable<FlowResolver["processById"]>;
}

/** Under which a port that is served on all of the node's addresses is found. */
const anyAddress = { v4: parseIp("0.0.0.0"), v6: parseIp("::") };

/** Names for the numbers of a flow, out of what the agent has in memory. */
export function createResolver(sources: ResolverSources): FlowResolver {
  const { endpoints, ipcache, services, clusterName, nodeName } = sources;
  const identities = new IdentityInfos(sources);
  const gone = new GonePods(ipcache);
  return {
    nodeName: clusterName === "default" ? nodeName : `${clusterName}/${nodeName}`,
    endpointById: (id, identity) => {
      const live = endpoints.get(id);
      // Another identity: its labels changed, or the number was another pod's. The address knows which.
      if (!live || (identity !== 0 && live.identity !== identity)) return undefined;
      return peerOfEndpoint(live, clusterName);
    },
    identityById: (id) => identities.get(id),
    byIp: (ip, identity) => {
      const current = ipcache.get(hostPrefix(ip));
      const entry =
        current?.pod && current.identity === identity ? current : (gone.get(ip, identity) ?? current);
      return peerOfEntry(entry ?? ipcache.lookup(ip), clusterName);
    },
    serviceByAddr: (addr, port, proto) => {
      const exact = services.serviceAt({ addr, port, proto, scope: 0 });
      if (exact || !sources.servesNodePorts(addr)) return exact;
      return services.serviceAt({ addr: isV4(addr) ? anyAddress.v4 : anyAddress.v6, port, proto, scope: 0 });
    },
    ruleById: sources.ruleById,
    interfaceName: sources.interfaceName,
    namesOf: sources.namesOf,
    processById: sources.processById,
  };
}

function peerOfEndpoint({ record, identity, facts, labels }: LiveEndpoint, clusterName: string): PeerInfo {
  return {
    identity,
    clusterName,
    labels,
    endpointId: record.id,
    ...(record.pod ? { namespace: record.pod.namespace, podName: record.pod.name } : {}),
    ...(facts.workload ? { workloads: [facts.workload] } : {}),
  };
}

function peerOfEntry(entry: IpcacheEntry | undefined, clusterName: string): PeerInfo | undefined {
  if (!entry) return undefined;
  const pod = entry.pod;
  return {
    identity: entry.identity,
    ...(entry.identity === reserved.host ? { endpointId: hostEndpointId } : {}),
    ...(pod ? { namespace: pod.namespace, podName: pod.name, clusterName } : {}),
    ...(pod?.labels ? { labels: pod.labels } : {}),
  };
}

/** Identities with their labels as sorted lines, made once per identity: they go into every flow. */
class IdentityInfos {
  readonly #sources: ResolverSources;
  readonly #made = new Map<number, IdentityInfo>();

  constructor(sources: ResolverSources) {
    this.#sources = sources;
    sources.identities.changes.on(({ id }) => void this.#made.delete(id));
  }

  get(id: number): IdentityInfo | undefined {
    const known = this.#made.get(id);
    if (known) return known;
    const shared = this.#sources.identities.get(id)?.labels;
    const labels = shared ?? this.#sources.podIdentities.labelsOf(id) ?? this.#localLabels(id);
    if (!labels) return undefined;
    const namespace = labels[`k8s:${labelKeys.namespace}`];
    const info: IdentityInfo = {
      labels: labelLines(labels).filter((line) => !isPortLabel(line)),
      ...(namespace === undefined ? {} : { namespace }),
    };
    // Nobody tells when the number of a CIDR, or of a class of this node, is given up or means another one.
    if (shared) this.#made.set(id, info);
    return info;
  }

  #localLabels(id: number) {
    if (isNodeIdentity(id)) return this.#sources.nodeIdentities.get(id)?.labels;
    return this.#sources.localIdentities.labelsOf(id);
  }
}

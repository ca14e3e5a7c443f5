import { formatIp, hostPrefix, type Ip, type Prefix, tryParseIp } from "@axoneme/base";
import { clusterScope, type Ipcache, isLocalIdentity, isNodeIdentity, reserved } from "@axoneme/identity";
import type { ListWatchHandlers } from "@axoneme/kube";
import type { NamedPort } from "./endpoint/pods.ts";
import type { CiliumEndpointObject } from "./state/objects.ts";
import type { PolicyModule } from "./state/policy.ts";

/** What the agent keeps of a CiliumEndpoint: of 50,000 there is one on every node. */
export interface RemoteEndpoint {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly identity: number;
  readonly node: string;
  readonly ips: readonly string[];
  readonly namedPorts: readonly NamedPort[];
}

/** Keeps of a CiliumEndpoint what the ipcache and the policy engine need. */
export function trimEndpoint(object: CiliumEndpointObject): RemoteEndpoint {
  const { status = {} } = object;
  const addressing = status.networking?.addressing ?? [];
  return {
    metadata: { namespace: object.metadata?.namespace ?? "", name: object.metadata?.name ?? "" },
    identity: status.identity?.id ?? 0,
    node: status.networking?.node ?? "",
    ips: addressing.flatMap(({ ipv4, ipv6 }) =>
      [ipv4, ipv6].filter((ip) => ip !== undefined && ip !== ""),
    ) as string[],
    namedPorts: status["named-ports"] ?? [],
  };
}

/** How a node is reached for an address of one family. */
export type WayTo = (nodeIp: Ip, prefix: Prefix) => { nodeIp?: Ip; direct?: boolean };

/** Pods of other nodes, from their CiliumEndpoints to the ipcache and the policy engine. */
export class RemoteEndpoints {
  readonly #ipcache: Ipcache;
  readonly #policy: PolicyModule;
  readonly #isOwn: (nodeIp: Ip) => boolean;
  readonly #wayTo: WayTo;
  /** By the node's address, since a node may become known, or change, after its pods. */
  readonly #byNode = new Map<string, Map<string, RemoteEndpoint>>();
  /** What the API server says of this node's pods: an agent before us may have died while it wrote. */
  readonly #own = new Map<string, RemoteEndpoint>();
  #areNodesKnown = false;

  /** @param isOwn whether a node address is of this node: its pods are known first hand. */
  constructor(ipcache: Ipcache, policy: PolicyModule, isOwn: (ip: Ip) => boolean, wayTo: WayTo) {
    this.#ipcache = ipcache;
    this.#policy = policy;
    this.#isOwn = isOwn;
    this.#wayTo = wayTo;
  }

  /** For a ListWatch of CiliumEndpoint. */
  handlers(): ListWatchHandlers<RemoteEndpoint> {
    return {
      onAdd: (endpoint) => this.#upsert(endpoint),
      onUpdate: (endpoint, before) => {
        for (const ip of before.ips) if (!endpoint.ips.includes(ip)) this.#forget(before, ip);
        if (before.node !== endpoint.node) this.#byNode.get(before.node)?.delete(keyOf(before));
        this.#own.delete(keyOf(before));
        this.#upsert(endpoint);
      },
      onDelete: (endpoint) => {
        for (const ip of endpoint.ips) this.#forget(endpoint, ip);
        this.#byNode.get(endpoint.node)?.delete(keyOf(endpoint));
        this.#own.delete(keyOf(endpoint));
        this.#policy.deletePeerPorts(keyOf(endpoint));
      },
    };
  }

  /** This node's pods as their CiliumEndpoints have them. */
  own(): RemoteEndpoint[] {
    return [...this.#own.values()];
  }

  /**
   * All nodes were listed and asked for their place. Until then pods of nodes nobody has told of are held back: the
   * kernel may know the way to them from the agent before us, and would lose it.
   */
  nodesKnown(): void {
    this.#areNodesKnown = true;
    for (const [node, endpoints] of this.#byNode) {
      const nodeIp = tryParseIp(node);
      if (nodeIp) for (const endpoint of endpoints.values()) this.#announce(endpoint, nodeIp);
    }
  }

  /** A node became known or changed: the way to its pods may be another. */
  nodeChanged(addresses: readonly Ip[]): void {
    for (const address of addresses) {
      for (const endpoint of this.#byNode.get(formatIp(address))?.values() ?? [])
        this.#announce(endpoint, address);
    }
  }

  #upsert(endpoint: RemoteEndpoint): void {
    const nodeIp = tryParseIp(endpoint.node);
    if (nodeIp && this.#isOwn(nodeIp)) {
      this.#own.set(keyOf(endpoint), endpoint);
      return;
    }
    if (!nodeIp || !isOfPod(endpoint.identity)) return;
    const ofNode = this.#byNode.get(endpoint.node) ?? new Map<string, RemoteEndpoint>();
    this.#byNode.set(endpoint.node, ofNode.set(keyOf(endpoint), endpoint));
    this.#policy.setPeerPorts(keyOf(endpoint), endpoint.identity, endpoint.namedPorts);
    this.#announce(endpoint, nodeIp);
  }

  #announce(endpoint: RemoteEndpoint, nodeIp: Ip): void {
    for (const text of endpoint.ips) {
      const ip = tryParseIp(text);
      if (!ip) continue;
      const prefix = hostPrefix(ip);
      const way = this.#wayTo(nodeIp, prefix);
      if (way.nodeIp === undefined && !this.#areNodesKnown) continue;
      const entry = { identity: endpoint.identity, pod: endpoint.metadata, ...way };
      this.#ipcache.upsert(prefix, "custom-resource", keyOf(endpoint), entry);
    }
  }

  #forget(endpoint: RemoteEndpoint, text: string): void {
    const ip = tryParseIp(text);
    if (ip) this.#ipcache.delete(hostPrefix(ip), "custom-resource", keyOf(endpoint));
  }
}

/**
 * Whether an identity can be a pod's. An object that claims another one (the host, the API server, a CIDR of some
 * node) is wrong and opens nothing.
 */
function isOfPod(identity: number): boolean {
  if (identity === reserved.init || identity === reserved.health) return true;
  return identity >= clusterScope.first && !isLocalIdentity(identity) && !isNodeIdentity(identity);
}

function keyOf({ metadata }: RemoteEndpoint): string {
  return `cep/${metadata.namespace}/${metadata.name}`;
}

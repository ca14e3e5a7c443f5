import { formatIp, hostPrefix, type Ip, type Prefix, tryParseIp } from "@axoneme/base";
import {
  clusterScope,
  type Ipcache,
  type IpcacheEntry,
  isClassIdentity,
  isLocalIdentity,
  isNodeIdentity,
  labelLines,
  type PodClaim,
  reserved,
  withPorts,
} from "@axoneme/identity";
import type { ListWatchHandlers } from "@axoneme/kube";
import type { NamedPort } from "./endpoint/pods.ts";
import type { PeerPortClaim } from "./state/container-ports.ts";
import type { Handover } from "./state/handover.ts";
import { intern } from "./state/intern.ts";
import type { IpcacheWriter } from "./state/ipcache.ts";
import type { CiliumEndpointObject } from "./state/objects.ts";
import type { PodIdentities, PodMove } from "./state/pod-identities.ts";
import type { PolicyModule } from "./state/policy.ts";

interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly labels?: readonly string[];
}

/** What the agent keeps of a CiliumEndpoint: of 50,000 there is one on every node. */
export interface RemoteEndpoint {
  /** Of the agent's tables; each holds this very text. */
  readonly key: string;
  /** Its labels are there too: this is what flows and the ipcache show of it. */
  readonly metadata: PodName;
  /** As published; the number its packets are judged by may be a class of this node. */
  readonly identity: number;
  /** The pod's labels as lines; undefined when the object does not say. */
  readonly labels: readonly string[] | undefined;
  readonly node: string;
  readonly ips: readonly string[];
  readonly namedPorts: readonly NamedPort[];
}

/** Keeps of a CiliumEndpoint what the ipcache and the policy engine need; texts that many have are held once. */
export function trimEndpoint(object: CiliumEndpointObject): RemoteEndpoint {
  const { status = {} } = object;
  const addressing = status.networking?.addressing ?? [];
  const namespace = intern(object.metadata?.namespace ?? "");
  const name = object.metadata?.name ?? "";
  const labels = status.identity?.labels?.map(intern);
  return {
    key: remoteKey(namespace, name),
    metadata: labels === undefined ? { namespace, name } : { namespace, name, labels },
    identity: status.identity?.id ?? 0,
    labels,
    node: intern(status.networking?.node ?? ""),
    ips: ipsOf(addressing),
    namedPorts: sharedPorts(status["named-ports"] ?? []),
  };
}

/** By which a pod of another node goes in the agent's tables. */
export function remoteKey(namespace: string, name: string): string {
  // Joined: what + makes is a tree of texts, which stays beside the text.
  return ["cep", namespace, name].join("/");
}

/** Lists made of literals hold no more than they need. */
function ipsOf(addressing: readonly { ipv4?: string; ipv6?: string }[]): readonly string[] {
  const [first] = addressing;
  if (addressing.length === 1 && first?.ipv4 && first.ipv6) return [first.ipv4, first.ipv6];
  return addressing.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].flatMap((ip) => ip || [])).slice();
}

const portLists = new Map<string, readonly NamedPort[]>();
const portLines = new WeakMap<readonly NamedPort[], readonly string[]>();
/** Lists of ports remembered: of most clusters all. */
const rememberedPorts = 4096;

/** The same list for equal ones. */
function sharedPorts(ports: readonly NamedPort[]): readonly NamedPort[] {
  const text = JSON.stringify(ports);
  const known = portLists.get(text) ?? ports;
  if (portLists.size >= rememberedPorts) portLists.clear();
  portLists.set(text, known);
  return known;
}

/** How a node is reached for an address of one family. */
export type WayTo = (nodeIp: Ip, prefix: Prefix) => { nodeIp?: Ip; direct?: boolean };

/** What this works with. */
export interface RemoteEndpointDeps {
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: Pick<IpcacheWriter, "flush">;
  readonly policy: Pick<PolicyModule, "setPeerPorts" | "deletePeerPorts">;
  readonly podIdentities: Pick<PodIdentities, "set" | "delete" | "numberOf" | "onMove">;
  /** Whether a node address is of this node: its pods are known first hand. */
  readonly isOwn: (nodeIp: Ip) => boolean;
  readonly wayTo: WayTo;
  /** Pods have their own routes where the one to their node's pod CIDR does not lead to them. */
  readonly podWays: { place(nodeIp: Ip, ip: Ip): void; forget(ip: Ip): void };
}

/** Pods of other nodes, from their CiliumEndpoints to the ipcache and the policy engine. */
export class RemoteEndpoints {
  readonly #deps: RemoteEndpointDeps;
  readonly #known = new Map<string, RemoteEndpoint>();
  /** By the node's address, since a node may become known, or change, after its pods. */
  readonly #byNode = new Map<string, Set<RemoteEndpoint>>();
  /** What the API server says of this node's pods: an agent before us may have died while it wrote. */
  readonly #own = new Map<string, RemoteEndpoint>();
  #isOpen = false;

  constructor(deps: RemoteEndpointDeps) {
    this.#deps = deps;
    deps.podIdentities.onMove("remote", (moves) => this.#renumber(moves));
  }

  /** For a ListWatch of CiliumEndpoint. */
  handlers(): ListWatchHandlers<RemoteEndpoint> {
    return {
      onAdd: (endpoint) => this.#upsert(endpoint),
      onUpdate: (endpoint, before) => {
        for (const ip of before.ips) if (!endpoint.ips.includes(ip)) this.#forget(before, ip);
        this.#leaveNode(before);
        this.#own.delete(before.key);
        this.#upsert(endpoint);
      },
      onDelete: (endpoint) => {
        for (const ip of endpoint.ips) this.#forget(endpoint, ip);
        this.#leaveNode(endpoint);
        this.#own.delete(endpoint.key);
        this.#drop(endpoint);
      },
    };
  }

  /** This node's pods as their CiliumEndpoints have them. */
  own(): RemoteEndpoint[] {
    return [...this.#own.values()];
  }

  /**
   * Everything was listed: from now on pods are told of. Until then what the agent before us has written of them is
   * in force, and so is the way to them, also to those of nodes that had not been told of yet.
   * @param handover makes the policies of the agent before know the new numbers.
   */
  open(handover: Pick<Handover, "carryAddress">): void {
    for (const [key, { ips }] of this.#known) {
      const number = this.#deps.podIdentities.numberOf("remote", key);
      if (number === undefined) continue;
      for (const ip of ips.map(tryParseIp)) if (ip) handover.carryAddress(ip, number);
    }
    this.#isOpen = true;
    for (const [node, endpoints] of this.#byNode) {
      const nodeIp = tryParseIp(node);
      if (nodeIp) for (const endpoint of endpoints) this.#announce(endpoint, nodeIp);
    }
    this.#deps.ipcacheWriter.flush();
  }

  /** A node became known or changed: the way to its pods may be another. */
  nodeChanged(addresses: readonly Ip[]): void {
    for (const address of addresses) {
      for (const endpoint of this.#byNode.get(formatIp(address)) ?? []) this.#announce(endpoint, address);
    }
  }

  #leaveNode(endpoint: RemoteEndpoint): void {
    const others = this.#byNode.get(endpoint.node);
    others?.delete(endpoint);
    if (others?.size === 0) this.#byNode.delete(endpoint.node);
  }

  #upsert(endpoint: RemoteEndpoint): void {
    const { policy, podIdentities, isOwn } = this.#deps;
    const { key } = endpoint;
    const nodeIp = tryParseIp(endpoint.node);
    if (nodeIp && isOwn(nodeIp)) {
      this.#own.set(key, endpoint);
      this.#cameHere(key);
      return;
    }
    if (!nodeIp || !isOfPod(endpoint.identity)) return;
    const before = this.#known.get(key);
    // An object of before that nobody took back.
    if (before) this.#leaveNode(before);
    const ofNode = this.#byNode.get(endpoint.node) ?? new Set<RemoteEndpoint>();
    this.#byNode.set(endpoint.node, ofNode.add(endpoint));
    const from = podIdentities.numberOf("remote", key);
    this.#known.set(key, endpoint);
    const to = podIdentities.set("remote", key, claimOf(endpoint));
    const leaves = before && from !== undefined && from !== to ? portsOf(before, from, leaving(before)) : [];
    const comes = portsOf(endpoint, to, key);
    policy.setPeerPorts([...leaves, ...comes]);
    if (comes.length === 0 && before && before.namedPorts.length > 0) policy.deletePeerPorts([key]);
    this.#announce(endpoint, nodeIp);
    this.#releasePorts(leaves);
  }

  /** A pod of another node runs here now, with the addresses it had. */
  #cameHere(key: string): void {
    const before = this.#known.get(key);
    if (!before) return;
    for (const ip of before.ips) this.#forget(before, ip);
    this.#leaveNode(before);
    this.#drop(before);
  }

  /** Pods go by other numbers: first the rows of their ports, then the addresses, then the old rows go. */
  #renumber(moves: readonly PodMove[]): void {
    const moved = moves.flatMap((move) => {
      const endpoint = this.#known.get(move.key);
      return endpoint ? [{ ...move, endpoint }] : [];
    });
    // Until the kernel knows the new number, packets carry the old one: it keeps the pod's named ports.
    const leaves = moved.flatMap(({ endpoint, from }) => portsOf(endpoint, from, leaving(endpoint)));
    const comes = moved.flatMap(({ endpoint, to, key }) => portsOf(endpoint, to, key));
    this.#deps.policy.setPeerPorts([...leaves, ...comes]);
    for (const { endpoint } of moved) {
      const nodeIp = tryParseIp(endpoint.node);
      if (nodeIp) this.#announce(endpoint, nodeIp);
    }
    this.#deps.ipcacheWriter.flush();
    this.#releasePorts(leaves);
  }

  #releasePorts(leaves: readonly PeerPortClaim[]): void {
    if (leaves.length === 0) return;
    this.#deps.ipcacheWriter.flush();
    this.#deps.policy.deletePeerPorts(leaves.map(({ pod }) => pod));
  }

  #drop(endpoint: RemoteEndpoint): void {
    const { key } = endpoint;
    if (!this.#known.delete(key)) return;
    this.#deps.policy.deletePeerPorts([key]);
    this.#deps.podIdentities.delete("remote", key);
  }

  #announce(endpoint: RemoteEndpoint, nodeIp: Ip): void {
    if (!this.#isOpen) return;
    const { key, metadata, labels } = endpoint;
    const identity = this.#deps.podIdentities.numberOf("remote", key) ?? endpoint.identity;
    const pod = metadata.labels === labels || labels === undefined ? metadata : { ...metadata, labels };
    let entry: IpcacheEntry | undefined;
    for (const text of endpoint.ips) {
      const ip = tryParseIp(text);
      if (!ip) continue;
      const prefix = hostPrefix(ip);
      const way = this.#deps.wayTo(nodeIp, prefix);
      // Both families often go the same way: one object says so.
      if (!entry || entry.nodeIp !== way.nodeIp || entry.direct !== way.direct)
        entry = { identity, pod, ...way };
      this.#deps.ipcache.upsert(prefix, "custom-resource", key, entry);
      this.#deps.podWays.place(nodeIp, ip);
    }
  }

  #forget(endpoint: RemoteEndpoint, text: string): void {
    const ip = tryParseIp(text);
    if (!ip) return;
    this.#deps.ipcache.delete(hostPrefix(ip), "custom-resource", endpoint.key);
    this.#deps.podWays.forget(ip);
  }
}

/** What classes look at of a pod: its labels and what its ports are called. */
function claimOf({ labels, namedPorts, identity }: RemoteEndpoint): PodClaim {
  if (labels === undefined || namedPorts.length === 0) return { labels, published: identity };
  const ports = portLines.get(namedPorts) ?? labelLines(withPorts({}, namedPorts)).map(intern);
  portLines.set(namedPorts, ports);
  return { labels, ports, published: identity };
}

function portsOf({ namedPorts }: RemoteEndpoint, identity: number, pod: string): PeerPortClaim[] {
  return namedPorts.length === 0 ? [] : [{ pod, identity, ports: namedPorts }];
}

function leaving(endpoint: RemoteEndpoint): string {
  return `${endpoint.key} leaving`;
}

/**
 * Whether an identity can be a pod's. An object that claims another one (the host, the API server, a CIDR of some
 * node) is wrong and opens nothing.
 */
function isOfPod(identity: number): boolean {
  if (identity === reserved.init || identity === reserved.health) return true;
  if (isLocalIdentity(identity) || isNodeIdentity(identity) || isClassIdentity(identity)) return false;
  return identity >= clusterScope.first;
}

import {
  formatPrefix,
  hostPrefix,
  type Ip,
  ipKey,
  isV4,
  isV4Prefix,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixContains,
  tryParseIp,
} from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type Ipcache, reserved } from "@axoneme/identity";
import type { ListWatchHandlers } from "@axoneme/kube";
import { intern } from "../state/intern.ts";
import type { CiliumNodeObject } from "../state/objects.ts";
import { addressFor, isOnLink, type NativeDevice } from "./local-node.ts";
import type { NodeClasses } from "./node-identities.ts";
import type { PodRoute, PodRoutes } from "./pod-routes.ts";

/** Stands for every other end of the tunnel: the datapath knows where packets really go. */
const tunnelGateway6 = parseIp("fe80::1");

/** What the agent knows of another node. */
export interface Peer {
  readonly name: string;
  /** Its addresses on the network between nodes. */
  readonly addresses: readonly Ip[];
  /** Its own addresses among its pods. */
  readonly gateways: readonly Ip[];
  readonly podCidrs: readonly Prefix[];
  /** Of its Node object. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Where traffic to other nodes goes. */
export interface PeerOptions {
  readonly nodeName: string;
  readonly device: NativeDevice;
  /** Index of the tunnel device; undefined for native routing. */
  readonly tunnelIndex: number | undefined;
  /** This node's gateway addresses: the source of its own packets into the tunnel. */
  readonly gateways: readonly Ip[];
  /** Gives nodes their identities. */
  readonly classes: Pick<NodeClasses, "set" | "delete">;
}

/** Keeps of a CiliumNode what is read here and of this node; of a large cluster there are thousands. */
export function trimNode({ metadata, spec }: CiliumNodeObject): CiliumNodeObject {
  const labels = Object.entries(metadata?.labels ?? {}).map(([key, value]) => [intern(key), intern(value)]);
  return {
    metadata: {
      name: metadata?.name ?? "",
      // Of this node, for writes that must not go over somebody else's.
      ...(metadata?.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
      labels: Object.fromEntries(labels) as Record<string, string>,
    },
    spec: {
      addresses: (spec?.addresses ?? []).map(({ type, ip }) => ({ type: intern(type), ip })),
      ...(spec?.ipam === undefined ? {} : { ipam: spec.ipam }),
    },
  };
}

/** Reads a CiliumNode. */
export function peerOf(node: CiliumNodeObject): Peer {
  const addresses = node.spec?.addresses ?? [];
  const ofType = (type: string) =>
    addresses.filter((a) => a.type === type).flatMap(({ ip }) => tryParseIp(ip) ?? []);
  return {
    name: node.metadata?.name ?? "",
    addresses: ofType("InternalIP"),
    gateways: ofType("CiliumInternalIP"),
    podCidrs: cidrsOf(node).flatMap((text) => tryParsePrefix(text) ?? []),
    labels: node.metadata?.labels ?? {},
  };
}

/** Its pod CIDRs, those of all pools. */
function cidrsOf({ spec }: CiliumNodeObject): string[] {
  const { podCIDRs = [], pools } = spec?.ipam ?? {};
  return [...podCIDRs, ...(pools?.allocated ?? []).flatMap(({ cidrs = [] }) => cidrs)];
}

/** Keeps routes, ipcache and the no-masquerade list true to the other nodes of the cluster. */
export class Peers {
  readonly #options: PeerOptions;
  readonly #routes: PodRoutes;
  readonly #ipcache: Ipcache;
  readonly #kernel: Kernel;
  readonly #peers = new Map<string, Peer>();
  readonly #byAddress = new Map<string, Peer>();
  /** Addresses of pods with routes of their own. */
  readonly #ownWays = new Set<string>();

  constructor(options: PeerOptions, routes: PodRoutes, ipcache: Ipcache, kernel: Kernel) {
    this.#options = options;
    this.#routes = routes;
    this.#ipcache = ipcache;
    this.#kernel = kernel;
  }

  /** For a ListWatch of CiliumNode. */
  handlers(): ListWatchHandlers<CiliumNodeObject> {
    const upsert = (node: CiliumNodeObject) => this.#upsert(peerOf(node));
    return { onAdd: upsert, onUpdate: upsert, onDelete: (node) => this.#remove(node.metadata?.name ?? "") };
  }

  /** Called after a node became known or changed, with its addresses. */
  onChange: (addresses: readonly Ip[]) => void = () => undefined;
  /** Called after a node went, with the addresses it had. */
  onGone: (addresses: readonly Ip[]) => void = () => undefined;

  /** The way to a prefix of the node that has an address; none while the node is not known. */
  wayTo(nodeIp: Ip, prefix: Prefix): { nodeIp?: Ip; direct?: boolean } {
    const peer = this.#byAddress.get(ipKey(nodeIp));
    return peer ? this.#via(peer, prefix) : {};
  }

  /** A pod of the node that has an address: outside of that node's pod CIDRs it needs a route of its own. */
  place(nodeIp: Ip, ip: Ip): void {
    const peer = this.#byAddress.get(ipKey(nodeIp));
    if (!peer) return;
    const cidr = hostPrefix(ip);
    const isInside = peer.podCidrs.some((podCidr) => prefixContains(podCidr, ip));
    const route = isInside ? undefined : this.#routeTo(peer, cidr);
    if (!route) {
      this.forget(ip);
      return;
    }
    this.#ownWays.add(ipKey(ip));
    this.#routes.want(route);
  }

  /** No pod of another node has the address. */
  forget(ip: Ip): void {
    if (this.#ownWays.delete(ipKey(ip))) this.#routes.drop(hostPrefix(ip));
  }

  /** Labels of the node that has an address; none when no other node has it. */
  labelsAt(ip: Ip): Readonly<Record<string, string>> {
    return this.#byAddress.get(ipKey(ip))?.labels ?? {};
  }

  /** Other nodes, by name. */
  get size(): number {
    return this.#peers.size;
  }

  /** Pod CIDRs of other nodes. */
  podCidrs(): Prefix[] {
    return [...this.#peers.values()].flatMap(({ podCidrs }) => podCidrs);
  }

  #upsert(peer: Peer): void {
    if (peer.name === this.#options.nodeName) return;
    const before = this.#peers.get(peer.name);
    this.#peers.set(peer.name, peer);
    if (before) this.#forget(before, peer);
    this.#announce(peer);
    this.onChange(peer.addresses);
  }

  #remove(name: string): void {
    const peer = this.#peers.get(name);
    if (!peer) return;
    this.#peers.delete(name);
    this.#forget(peer, undefined);
    this.#options.classes.delete(ownerOf(peer));
    this.onGone(peer.addresses);
  }

  #announce(peer: Peer): void {
    const owner = ownerOf(peer);
    const { labels, addresses, gateways } = peer;
    for (const ip of addresses) this.#byAddress.set(ipKey(ip), peer);
    this.#options.classes.set(
      owner,
      { entity: "remote-node", labels, addresses: [...addresses, ...gateways] },
      (identity) => this.#identify(peer, identity),
    );
    for (const cidr of peer.podCidrs) {
      // Pods this agent has not heard of yet: in the cluster, of no known identity, and there.
      this.#ipcache.upsert(cidr, "k8s", owner, { identity: reserved.unmanaged, ...this.#via(peer, cidr) });
      this.#kernel.maps.nomasq.put({ prefixlen: cidr.length, addr: cidr.ip }, 1);
      const route = this.#routeTo(peer, cidr);
      if (route) this.#routes.want(route);
    }
    this.#kernel.changed();
  }

  #identify(peer: Peer, identity: number): void {
    const owner = ownerOf(peer);
    for (const ip of peer.addresses) {
      this.#ipcache.upsert(hostPrefix(ip), "custom-resource", owner, { identity });
    }
    for (const ip of peer.gateways) {
      const entry = { identity, ...this.#via(peer, hostPrefix(ip)) };
      this.#ipcache.upsert(hostPrefix(ip), "custom-resource", owner, entry);
    }
  }

  /** Takes back what `peer` had and `now` no longer has. */
  #forget(peer: Peer, now: Peer | undefined): void {
    const owner = ownerOf(peer);
    for (const ip of peer.addresses) {
      if (this.#byAddress.get(ipKey(ip)) === peer) this.#byAddress.delete(ipKey(ip));
    }
    const kept = new Set([...(now?.addresses ?? []), ...(now?.gateways ?? [])].map(String));
    for (const ip of [...peer.addresses, ...peer.gateways]) {
      if (!kept.has(String(ip))) this.#ipcache.delete(hostPrefix(ip), "custom-resource", owner);
    }
    // A CIDR may be another node's by now: a list tells of new nodes before it tells of those that went.
    const keptCidrs = new Set(this.podCidrs().map(formatPrefix));
    const own = new Set((now?.podCidrs ?? []).map(formatPrefix));
    for (const cidr of peer.podCidrs) {
      if (!own.has(formatPrefix(cidr))) this.#ipcache.delete(cidr, "k8s", owner);
      if (keptCidrs.has(formatPrefix(cidr))) continue;
      this.#kernel.maps.nomasq.delete({ prefixlen: cidr.length, addr: cidr.ip });
      this.#routes.drop(cidr);
    }
    this.#kernel.changed();
  }

  /** Where a prefix of a peer lives, for the ipcache. */
  #via(peer: Peer, prefix: Prefix): { nodeIp?: Ip; direct?: boolean } {
    const { tunnelIndex, device } = this.#options;
    // The tunnel runs over IPv4 where both nodes have it, whatever it carries.
    const nodeIp =
      tunnelIndex !== undefined
        ? (peer.addresses.find((ip) => isV4(ip)) ?? peer.addresses[0])
        : addressFor(peer.addresses, prefix);
    if (!nodeIp) return {};
    return { nodeIp, direct: tunnelIndex === undefined && isOnLink(device, nodeIp) };
  }

  /** None to a node behind a router (the network between nodes has to know the way), or not set up yet. */
  #routeTo(peer: Peer, cidr: Prefix): PodRoute | undefined {
    const { device, tunnelIndex, gateways } = this.#options;
    if (tunnelIndex === undefined) {
      const { nodeIp, direct } = this.#via(peer, cidr);
      return nodeIp && direct
        ? { cidr, gateway: nodeIp, oif: device.index, src: undefined, tunnel: false }
        : undefined;
    }
    // IPv6 refuses a gateway that another route leads to; every link has room for a link-local one.
    const gateway = isV4Prefix(cidr) ? addressFor(peer.gateways, cidr) : tunnelGateway6;
    return gateway && { cidr, gateway, oif: tunnelIndex, src: addressFor(gateways, cidr), tunnel: true };
  }
}

function ownerOf({ name }: Peer): string {
  return `node/${name}`;
}

function tryParsePrefix(text: string): Prefix | undefined {
  try {
    return parsePrefix(text);
  } catch {
    return undefined;
  }
}

import type { Lifecycle } from "@axoneme/app";
import { type Logger, tryParseIp } from "@axoneme/base";
import { GrowingMap, type Kernel, type RawMap } from "@axoneme/datapath";
import {
  builtinResources,
  EventRecorder,
  type KubeClient,
  type ListWatchHandlers,
  type Node,
  resources,
} from "@axoneme/kube";
import {
  type EndpointSliceObject,
  type OwnerKind,
  type ServiceObject,
  trimService,
  trimSlice,
} from "@axoneme/loadbalancer";
import type { Netlink } from "@axoneme/netlink";
import type { PodNamespaces } from "../endpoint/namespaces.ts";
import type { ServiceFigures } from "../metrics/services.ts";
import { Acceleration } from "../node/acceleration.ts";
import { NodeAddresses } from "../node/addresses.ts";
import type { AgentConfig } from "../options.ts";
import { ServiceModule } from "../state/services.ts";
import type { Watches } from "../state/watches.ts";
import type { ServiceConfig } from "./config.ts";
import { DenyLists } from "./deny.ts";
import { ProxyHealthz } from "./healthz.ts";
import { isLoopback } from "./kernel-rows.ts";
import { L2Announcer } from "./l2.ts";
import { SolicitedGroups } from "./l2-groups.ts";
import { announcedBefore, l2Port } from "./l2-rows.ts";
import { LocalPods } from "./local-pods.ts";
import { LostSockets } from "./lost-sockets.ts";
import { compilerSettings } from "./settings.ts";

/** What load balancing is composed of that was there before. */
export interface LoadBalancingGivens {
  readonly config: AgentConfig;
  readonly services: ServiceConfig;
  readonly nodeName: string;
  readonly kernel: Kernel;
  readonly netlink: Netlink;
  readonly client: KubeClient;
  /** Where pods' sockets are. */
  readonly namespaces: PodNamespaces;
  /** Resolves when the node serves. */
  readonly ready: Promise<void>;
  readonly log: Logger;
}

const component = "axoneme-agent";
const zoneLabel = "topology.kubernetes.io/zone";
/** The cluster autoscaler's mark on a node it is about to remove. */
const leavingTaint = "ToBeDeletedByClusterAutoscaler";

/** The parts of Services and how they are wired. */
export class LoadBalancing {
  readonly services: ServiceModule;
  readonly localPods: LocalPods;
  readonly addresses: NodeAddresses;
  readonly deny: DenyLists;
  readonly lostSockets: LostSockets;
  readonly acceleration: Acceleration;
  readonly l2: L2Announcer;
  readonly #givens: LoadBalancingGivens;
  readonly #events: { readonly shared: EventRecorder; readonly own: EventRecorder };
  #uidOf: (kind: OwnerKind, namespace: string, name: string) => string | undefined = () => undefined;
  #leaving = false;

  constructor(givens: LoadBalancingGivens) {
    const { config, services, nodeName, kernel, netlink, client, log } = givens;
    this.#givens = givens;
    this.#events = {
      shared: new EventRecorder(client, { component, log }),
      own: new EventRecorder(client, { component, host: nodeName, log }),
    };
    this.addresses = new NodeAddresses(netlink, services.nodePortAddresses, log);
    this.acceleration = new Acceleration(kernel, netlink, config.loadBalancerAcceleration, log);
    this.deny = new DenyLists(kernel.maps.deny, services.deny, log);
    const restored = announcedBefore(kernel.maps.l2);
    const groups = new SolicitedGroups(netlink, log);
    groups.join(restored);
    this.l2 = new L2Announcer({
      client,
      nodeName,
      leaseNamespace: config.leaseNamespace,
      port: l2Port(kernel.maps.l2, groups),
      restored,
      times: {
        leaseDurationMs: config.l2AnnouncementsLeaseDuration * 1000,
        renewDeadlineMs: config.l2AnnouncementsRenewDeadline * 1000,
        retryMs: config.l2AnnouncementsRetryPeriod * 1000,
      },
      log,
    });
    this.services = new ServiceModule({
      kernel,
      settings: compilerSettings(config, services, nodeName),
      events: this.#events,
      uidOf: (kind, namespace, name) => this.#uidOf(kind, namespace, name),
      servesHealthChecks: (address) => this.#servesHealthChecks(address),
      log,
    });
    this.lostSockets = new LostSockets(givens);
    this.services.onBackendsRemoved = (ids) => this.lostSockets.backendsRemoved(ids);
    this.localPods = new LocalPods((key, pod) => this.services.localPod(key, pod));
  }

  /**
   * Adds the copies of what Services are made from.
   * @param also told of Services and EndpointSlices too.
   * @param onNode told of this node's own object.
   * @returns what is known of both, as it changes.
   */
  watch(
    watches: Watches,
    also: {
      readonly services: ListWatchHandlers<ServiceObject>;
      readonly slices: ListWatchHandlers<EndpointSliceObject>;
    },
    onNode: (node: Node) => void,
  ): { readonly services: Iterable<ServiceObject>; readonly slices: Iterable<EndpointSliceObject> } {
    const services = watches.add(
      builtinResources.services,
      both(both(this.services.services(), this.l2.services()), also.services) as ListWatchHandlers<unknown>,
      { trim: (service) => trimService(service as Parameters<typeof trimService>[0]) },
    );
    const slices = watches.add(
      builtinResources.endpointslices,
      both(this.services.slices(), also.slices) as ListWatchHandlers<unknown>,
      { trim: (slice) => trimSlice(slice as EndpointSliceObject) },
    );
    const redirects = watches.add(resources.ciliumlocalredirectpolicies, this.services.redirects());
    watches.add(resources.edgedenylists, this.deny.handlers());
    watches.add(resources.ciliuml2announcementpolicies, this.l2.policies());
    const node = (object: Node) => {
      this.#nodeSeen(object);
      onNode(object);
    };
    watches.add(
      builtinResources.nodes,
      { onAdd: node, onUpdate: node },
      { fieldSelector: `metadata.name=${this.#givens.nodeName}` },
    );
    this.#uidOf = (kind, namespace, name) => {
      if (kind === "Pod") return this.localPods.uidOf(`${namespace}/${name}`);
      const store = kind === "Service" ? services.store : redirects.store;
      return (store.get(name, namespace) as { metadata?: { uid?: string } } | undefined)?.metadata?.uid;
    };
    const all = <T>(store: { values(): IterableIterator<unknown> }): Iterable<T> => ({
      [Symbol.iterator]: () => store.values() as IterableIterator<T>,
    });
    return { services: all(services.store), slices: all(slices.store) };
  }

  /** Adds what runs to an agent's life. */
  addTo(lifecycle: Lifecycle): void {
    lifecycle.add(this.services).add(this.deny);
    if (this.#givens.config.socketLB) lifecycle.add(this.lostSockets);
    const { healthz } = this.#givens.services;
    if (healthz)
      lifecycle.add(
        new ProxyHealthz(healthz, () => ({ ...this.services.proxyHealth(), eligible: !this.#leaving })),
      );
  }

  /** Names the device that announced addresses are answered for on. */
  async announceOn(ifindex: number): Promise<void> {
    const { name, mac } = await this.#givens.netlink.linkGet(ifindex);
    this.l2.setDevices(mac.length === 6 ? [{ name, ifindex, mac }] : []);
  }

  /** Everything is known: removes what an earlier agent left and nobody wants. */
  prune(): void {
    this.services.prune();
    this.deny.open();
    this.l2.synced();
  }

  /** For metrics; costs no more than a look at what the agent holds. */
  figures(): ServiceFigures {
    const { compiler, seen, writer } = this.services;
    const { services, frontends, backends, slotsUsed } = compiler.stats();
    const { maps } = this.#givens.kernel;
    const of = ({ name, limit }: { readonly name: string; readonly limit: number }, entries: number) => ({
      name,
      entries,
      capacity: limit,
    });
    return {
      seen,
      services,
      frontends,
      backends,
      problems: this.services.problems().length,
      refused: writer.failed().size,
      failures: writer.failures,
      rows: writer.rows,
      maps: [
        of(growing(maps.services.raw), frontends),
        of(growing(maps.backends.raw), backends),
        of(maps.slots, slotsUsed),
        { name: maps.deny.raw.name, entries: this.deny.size, capacity: maps.deny.raw.maxEntries },
      ],
    };
  }

  /** Gives up what is pending. What is announced stays so for the next agent. */
  stop(): Promise<void> {
    this.addresses.stop();
    this.acceleration.stop();
    this.#events.shared.stop();
    this.#events.own.stop();
    return this.l2.stop();
  }

  #nodeSeen({ metadata, spec }: Node): void {
    const labels = metadata?.labels ?? {};
    this.services.setNode({ name: this.#givens.nodeName, zone: labels[zoneLabel] });
    this.deny.setLabels(labels);
    this.l2.setNode(labels);
    this.#leaving = (spec?.taints ?? []).some(({ key }) => key === leavingTaint);
  }

  /** Health checks are answered where NodePorts are, and on the node itself. */
  #servesHealthChecks(address: string): boolean {
    const ip = tryParseIp(address.replace(/%.*$/, ""));
    return ip !== undefined && (isLoopback(ip) || this.addresses.serves(ip));
  }
}

/** A map that grows is full where it may grow no more. */
function growing(raw: RawMap): { readonly name: string; readonly limit: number } {
  return { name: raw.name, limit: raw instanceof GrowingMap ? raw.limit : raw.maxEntries };
}

/** Two handlers for one resource, called one after the other. */
export function both<S>(first: ListWatchHandlers<S>, second: ListWatchHandlers<S>): ListWatchHandlers<S> {
  return {
    onAdd: (object) => {
      first.onAdd?.(object);
      second.onAdd?.(object);
    },
    onUpdate: (object, previous) => {
      first.onUpdate?.(object, previous);
      second.onUpdate?.(object, previous);
    },
    onDelete: (object) => {
      first.onDelete?.(object);
      second.onDelete?.(object);
    },
  };
}

import type { HealthReporter, Module } from "@axoneme/app";
import { Emitter, type Logger } from "@axoneme/base";
import {
  type CiliumEndpoint,
  type CiliumIdentity,
  type CiliumNode,
  type FixedAddressPool,
  type KubeClient,
  ListWatch,
  type Node,
  type ObjectMeta,
  resources,
} from "@axoneme/kube";

import { memberOf } from "./members.ts";
import type { Member } from "./slices.ts";

/** What is known of a Node. */
export interface NodeRow {
  name: string;
  uid: string;
  /** Keys of its taints. */
  taints: readonly string[];
  /** Status of its condition NetworkUnavailable; "" when there is none. */
  networkUnavailable: string;
}

/** What the collectors need to know of a CiliumEndpoint. */
export interface EndpointRow {
  name: string;
  namespace: string;
  uid: string;
  identity: string;
  /** uid of the pod that owns it; "" when not stated. */
  podUid: string;
  /** It is of a machine outside of Kubernetes, registered by hand: it has no pod. */
  external: boolean;
  /** What its slice says of it, where slices are written and it is complete enough for one. */
  member: Member | undefined;
}

/** What the collectors need to know of a CiliumIdentity. */
export interface IdentityRow {
  name: string;
  uid: string;
  resourceVersion: string;
  /** Whether it is marked as about to be removed. */
  marked: boolean;
}

/** Annotation of an identity that is about to be removed; whoever starts to use it takes the mark away. */
export const heartbeatAnnotation = "io.cilium.heartbeat";

/** Copies of the collections the operator works on, trimmed to what it reads. */
export class Sources implements Module {
  readonly name = "sources";
  readonly nodes: ListWatch<Node, NodeRow>;
  readonly ciliumNodes: ListWatch<CiliumNode>;
  readonly endpoints: ListWatch<CiliumEndpoint, EndpointRow>;
  readonly identities: ListWatch<CiliumIdentity, IdentityRow>;
  readonly fixedPools: ListWatch<FixedAddressPool>;
  /** Name of a Node that came or changed. */
  readonly onNode = new Emitter<string>();
  /** Name of a CiliumNode that came, changed or went. */
  readonly onCiliumNode = new Emitter<string>();
  /** Name of a FixedAddressPool that came, changed or went. */
  readonly onFixedPool = new Emitter<string>();
  /** Identity that a CiliumEndpoint names, or named until now. */
  readonly onIdentityUse = new Emitter<string>();
  /** A CiliumEndpoint that came or changed, or is gone. */
  readonly onEndpoint = new Emitter<{ row: EndpointRow; gone: boolean }>();

  /** @param withMembers keep of endpoints what slices say of them. */
  constructor(client: KubeClient, log: Logger, withMembers = false) {
    const endpointRow = (endpoint: CiliumEndpoint): EndpointRow => ({
      ...rowOfEndpoint(endpoint),
      member: withMembers ? memberOf(endpoint) : undefined,
    });
    this.nodes = new ListWatch(client, resources.nodes, { log, trim: nodeRow });
    this.ciliumNodes = new ListWatch(client, resources.ciliumnodes, { log });
    this.endpoints = new ListWatch(client, resources.ciliumendpoints, { log, trim: endpointRow });
    this.fixedPools = new ListWatch(client, resources.fixedaddresspools, { log });
    this.identities = new ListWatch(client, resources.ciliumidentities, { log, trim: identityRow });
  }

  async start(health: HealthReporter): Promise<void> {
    const seen = ({ name }: NodeRow): void => this.onNode.emit(name);
    this.nodes.start({ onAdd: seen, onUpdate: seen });
    this.identities.start();
    const tell = (node: CiliumNode): void => this.onCiliumNode.emit(node.metadata?.name ?? "");
    this.ciliumNodes.start({ onAdd: tell, onUpdate: tell, onDelete: tell });
    const pool = ({ metadata }: FixedAddressPool): void => this.onFixedPool.emit(metadata?.name ?? "");
    this.fixedPools.start({ onAdd: pool, onUpdate: pool, onDelete: pool });
    const used = (row: EndpointRow): void => this.onIdentityUse.emit(row.identity);
    this.endpoints.start({
      onAdd: (row) => {
        used(row);
        this.onEndpoint.emit({ row, gone: false });
      },
      onUpdate: (row, previous) => {
        [row, previous].forEach(used);
        this.onEndpoint.emit({ row, gone: false });
      },
      onDelete: (row) => {
        used(row);
        this.onEndpoint.emit({ row, gone: true });
      },
    });
    await Promise.all(this.#all().map((source) => source.synced));
    health.ok();
  }

  /** Whether the server cannot be reached, so that the copies may lag: remove nothing then. */
  get stale(): boolean {
    return this.#all().some((source) => source.stale);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all().map((source) => source.stop()));
  }

  #all(): Pick<ListWatch<Node>, "synced" | "stale" | "stop">[] {
    return [this.nodes, this.ciliumNodes, this.endpoints, this.identities, this.fixedPools];
  }
}

function nodeRow({ metadata, spec, status }: Node): NodeRow {
  const condition = status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
  return {
    name: metadata?.name ?? "",
    uid: metadata?.uid ?? "",
    taints: spec?.taints?.map(({ key }) => key) ?? [],
    networkUnavailable: condition?.status ?? "",
  };
}

/** On objects that people register for machines outside of Kubernetes (`axon node register`). */
const externalLabel = "axoneme.io/external";

/** Whether an object stands for a machine outside of Kubernetes: there is no Node and no Pod to look for. */
export function isExternal({ labels }: ObjectMeta): boolean {
  return labels?.[externalLabel] === "true";
}

function rowOfEndpoint(endpoint: CiliumEndpoint): Omit<EndpointRow, "member"> {
  const metadata: ObjectMeta = endpoint.metadata ?? {};
  const owner = metadata.ownerReferences?.find((reference) => reference.kind === "Pod");
  return {
    name: metadata.name ?? "",
    namespace: metadata.namespace ?? "",
    uid: metadata.uid ?? "",
    identity: String(endpoint.status?.identity?.id ?? ""),
    podUid: owner?.uid ?? "",
    external: isExternal(metadata),
  };
}

function identityRow(identity: CiliumIdentity): IdentityRow {
  const { name = "", uid = "", resourceVersion = "", annotations = {} } = identity.metadata ?? {};
  return { name, uid, resourceVersion, marked: annotations[heartbeatAnnotation] !== undefined };
}

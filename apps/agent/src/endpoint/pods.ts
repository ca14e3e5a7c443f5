import { AxonError, waitFor } from "@axoneme/base";
import type { PodRef } from "@axoneme/endpoint";
import { identityKey, type LabelFilter, type Labels, podLabels } from "@axoneme/identity";
import type { PoolChoice } from "@axoneme/ipam";
import {
  builtinResources,
  isNotFound,
  type KubeClient,
  type Namespace,
  type Pod,
  type StoreReader,
} from "@axoneme/kube";
import { auditAnnotation } from "@axoneme/policy";
import { type EgressLimit, egressLimitOf } from "./bandwidth.ts";
import { type FixedWish, fixedWish } from "./fixed-wish.ts";
import { type PoolChooser, poolsAsked } from "./pool-choice.ts";

/** A container port with a name, as policies refer to it. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

/** A container port that the pod wants on the node as well. */
export interface PodHostPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
  /** Empty: every address of the node. */
  readonly hostIP: string;
}

/** What of a Pod makes its endpoint. */
export interface PodFacts extends EgressLimit {
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
  readonly uid: string;
  readonly workload: { readonly kind: string; readonly name: string } | undefined;
  /** What it asks for that wants addresses that stay with its name. */
  readonly fixed?: FixedWish;
  /** Which pools its addresses come from, with ipam.mode multi-pool. */
  readonly pools?: PoolChoice;
  /** Nothing else is known of the pod, since the API does not answer: nothing may pass until it is. */
  readonly isUnknown?: true;
}

/** What the agent keeps of a Pod: the rest of the object would be most of its memory. */
export interface TrimmedPod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    /** Of the Pod that stands for a static one: what the kubelet and its runtime call that. */
    readonly staticUid: string | undefined;
    readonly labels: Readonly<Record<string, string>>;
    readonly ownerReferences: readonly { readonly kind: string; readonly name: string }[];
  };
  readonly spec: { readonly serviceAccountName: string; readonly hostNetwork: boolean };
  readonly namedPorts: readonly NamedPort[];
  readonly hostPorts: readonly PodHostPort[];
  readonly bandwidth: EgressLimit;
  readonly fixed?: FixedWish;
  readonly pools?: Partial<PoolChoice>;
  readonly ready: boolean;
}

/** Keeps of a Pod what endpoints and Services need. */
export function trimPod(pod: Pod): TrimmedPod {
  const { metadata = {}, spec, status } = pod;
  const fixed = fixedWish(metadata);
  const pools = poolsAsked(metadata.annotations);
  return {
    metadata: {
      name: metadata.name ?? "",
      namespace: metadata.namespace ?? "",
      uid: metadata.uid ?? "",
      staticUid: metadata.annotations?.[mirrorAnnotation],
      labels: metadata.labels ?? {},
      ownerReferences: (metadata.ownerReferences ?? []).map(({ kind, name }) => ({ kind, name })),
    },
    spec: { serviceAccountName: spec?.serviceAccountName ?? "", hostNetwork: spec?.hostNetwork ?? false },
    namedPorts: (spec?.containers ?? []).flatMap(({ ports }) =>
      (ports ?? []).flatMap(({ name, containerPort, protocol }) =>
        name ? [{ name, port: containerPort, protocol: protocol ?? "TCP" }] : [],
      ),
    ),
    hostPorts: spec?.hostNetwork ? [] : hostPortsOf(pod),
    bandwidth: egressLimitOf(metadata.annotations),
    ...(fixed ? { fixed } : {}),
    ...(pools ? { pools } : {}),
    ready: (status?.conditions ?? []).some(({ type, status: is }) => type === "Ready" && is === "True"),
  };
}

/** A pod in the node's own network listens on its ports by itself; init containers count when they stay. */
function hostPortsOf({ spec }: Pod): PodHostPort[] {
  const sidecars = (spec?.initContainers ?? []).filter(
    (container) => (container as { restartPolicy?: string }).restartPolicy === "Always",
  );
  return [...(spec?.containers ?? []), ...sidecars].flatMap(({ ports }) =>
    (ports ?? []).flatMap(({ hostPort, containerPort, protocol = "TCP", hostIP = "" }) =>
      hostPort ? [{ hostPort, containerPort, protocol, hostIP }] : [],
    ),
  );
}

/** Keeps of a Namespace its name and labels, and whether its policies are on trial. */
export function trimNamespace({ metadata }: Namespace): {
  metadata: { name: string; labels: Readonly<Record<string, string>> };
  audited: boolean;
  pools?: Partial<PoolChoice>;
} {
  const pools = poolsAsked(metadata?.annotations);
  return {
    ...(pools ? { pools } : {}),
    metadata: { name: metadata?.name ?? "", labels: metadata?.labels ?? {} },
    audited: metadata?.annotations?.[auditAnnotation] === "true",
  };
}

/** On a Pod that its kubelet made to show a static one: that one's uid. */
const mirrorAnnotation = "kubernetes.io/config.mirror";

/** How long a Pod that the watch has not shown yet is waited for before the API is asked. */
const watchGraceMs = 200;

/** The Pods and Namespaces this node knows, and what they mean for endpoints. */
export class PodDirectory {
  readonly #pods: StoreReader<TrimmedPod>;
  readonly #namespaces: StoreReader<ReturnType<typeof trimNamespace>>;
  readonly #client: KubeClient;
  readonly #cluster: string;
  readonly #filter: LabelFilter | undefined;
  /** Chooses pools for pods, with ipam.mode multi-pool. */
  pools: PoolChooser | undefined;

  /** @param filter which labels policies may look at; by default the field's. */
  constructor(
    pods: StoreReader<TrimmedPod>,
    namespaces: StoreReader<ReturnType<typeof trimNamespace>>,
    client: KubeClient,
    cluster: string,
    filter?: LabelFilter,
  ) {
    this.#pods = pods;
    this.#namespaces = namespaces;
    this.#client = client;
    this.#cluster = cluster;
    this.#filter = filter;
  }

  /** The facts of a pod that is in the watch's copy. */
  known(ref: PodRef): PodFacts | undefined {
    const pod = this.#pods.get(ref.name, ref.namespace);
    return pod && isMeant(pod, ref) ? this.factsOf(pod) : undefined;
  }

  /**
   * The facts of a pod: from the watch's copy, which may be a moment behind the runtime, or else from the API.
   * @throws AxonError `endpoint.pod` when there is no such pod, KubeError when the API does not answer.
   */
  async facts(ref: PodRef): Promise<PodFacts> {
    const known = this.known(ref) ?? (await this.#awaitWatch(ref));
    if (known) return known;
    const pod = trimPod(await this.#get(ref));
    if (!isMeant(pod, ref)) throw absent(ref);
    return this.factsOf(pod);
  }

  /** What a pod's objects mean: its identity's labels and named ports. */
  factsOf(pod: TrimmedPod): PodFacts {
    const namespace = this.#namespaces.get(pod.metadata.namespace);
    const owner = pod.metadata.ownerReferences[0];
    return {
      labels: podLabels(pod, namespace, this.#cluster, this.#filter),
      namedPorts: pod.namedPorts,
      uid: pod.metadata.uid,
      workload: owner && workloadOf(owner),
      ...pod.bandwidth,
      ...(pod.fixed ? { fixed: pod.fixed } : {}),
      ...(this.pools ? { pools: this.#choose(this.pools, pod) } : {}),
    };
  }

  #choose(chooser: PoolChooser, { metadata, pools: asked }: TrimmedPod): PoolChoice {
    const namespace = this.#namespaces.get(metadata.namespace);
    return chooser.choose({
      asked,
      labels: metadata.labels,
      namespaceAsked: namespace?.pools,
      namespaceLabels: namespace?.metadata.labels ?? {},
    });
  }

  async #awaitWatch(ref: PodRef): Promise<PodFacts | undefined> {
    try {
      return await waitFor(() => this.known(ref), { timeoutMs: watchGraceMs, everyMs: 5, what: "the pod" });
    } catch {
      // Not shown in time: the API is asked instead.
      return undefined;
    }
  }

  async #get(ref: PodRef): Promise<Pod> {
    try {
      return await this.#client
        .resource(builtinResources.pods)
        .get(ref.name, { namespace: ref.namespace, deadlineMs: 5000 });
    } catch (error) {
      throw isNotFound(error) ? absent(ref) : error;
    }
  }
}

/**
 * Whether it is the Pod that the runtime means, and not an earlier or later one of that name. A static pod has a uid of
 * its kubelet's, and the Pod that shows it in the API has another and names the first.
 */
function isMeant({ metadata }: TrimmedPod, { uid }: PodRef): boolean {
  return uid === "" || uid === metadata.uid || uid === metadata.staticUid;
}

/** Whether two sets of facts make the same endpoint. */
export function sameFacts(a: PodFacts, b: PodFacts): boolean {
  return (
    identityKey(a.labels) === identityKey(b.labels) &&
    JSON.stringify(a.namedPorts) === JSON.stringify(b.namedPorts) &&
    a.egressLimit === b.egressLimit &&
    a.bandwidthProblem === b.bandwidthProblem
  );
}

/** A ReplicaSet's pods belong to its Deployment, a Job's to its CronJob: the name without the last part. */
function workloadOf(owner: { kind: string; name: string }): { kind: string; name: string } {
  if (owner.kind === "ReplicaSet") return { kind: "Deployment", name: owner.name.replace(/-[a-z0-9]+$/, "") };
  return { kind: owner.kind, name: owner.name };
}

function absent(ref: PodRef): AxonError {
  return new AxonError("endpoint.pod", `there is no pod ${ref.namespace}/${ref.name} with uid ${ref.uid}`);
}

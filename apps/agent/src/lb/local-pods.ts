import type { ListWatchHandlers } from "@axoneme/kube";
import type { HostPort, LocalPod } from "@axoneme/loadbalancer";
import type { TrimmedPod } from "../endpoint/pods.ts";

/** A pod of this node as Services see it: where it can be reached, and what it publishes on the node. */
export interface LocalPodState {
  readonly namespace: string;
  readonly name: string;
  readonly pod: TrimmedPod;
  readonly ips: readonly string[];
}

/**
 * This node's pods, once both halves of them are known: what the API says, and the addresses their endpoint has.
 * The endpoint's addresses are there before the API shows them, so that host ports serve from the first moment.
 */
export class LocalPods {
  readonly #pods = new Map<string, TrimmedPod>();
  readonly #ips = new Map<string, readonly string[]>();
  readonly #told = new Map<string, string>();
  readonly #onChange: (key: string, pod: LocalPodState | undefined) => void;

  /** @param onChange told of a pod that is new or another than before; undefined: it is gone. Key: `namespace/name`. */
  constructor(onChange: (key: string, pod: LocalPodState | undefined) => void) {
    this.#onChange = onChange;
  }

  /** For a ListWatch of this node's Pods. */
  handlers(): ListWatchHandlers<TrimmedPod> {
    const seen = (pod: TrimmedPod) => this.#seen(keyOf(pod), pod);
    return { onAdd: seen, onUpdate: seen, onDelete: (pod) => this.#seen(keyOf(pod), undefined) };
  }

  /** The uid of a pod of this node. */
  uidOf(key: string): string | undefined {
    return this.#pods.get(key)?.metadata.uid;
  }

  #seen(key: string, pod: TrimmedPod | undefined): void {
    if (pod) this.#pods.set(key, pod);
    else this.#pods.delete(key);
    this.#tell(key);
  }

  /** The pod has an endpoint with these addresses. */
  endpointUp(pod: { readonly namespace: string; readonly name: string }, ips: readonly string[]): void {
    const key = `${pod.namespace}/${pod.name}`;
    this.#ips.set(key, ips);
    this.#tell(key);
  }

  /** Its endpoint is being removed. */
  endpointDown(pod: { readonly namespace: string; readonly name: string }): void {
    const key = `${pod.namespace}/${pod.name}`;
    this.#ips.delete(key);
    this.#tell(key);
  }

  #tell(key: string): void {
    const pod = this.#pods.get(key);
    const ips = this.#ips.get(key);
    const state = pod && ips && { namespace: pod.metadata.namespace, name: pod.metadata.name, pod, ips };
    const text = state && textOf(state);
    if (this.#told.get(key) === text) return;
    if (text === undefined) this.#told.delete(key);
    else this.#told.set(key, text);
    this.#onChange(key, state);
  }
}

function keyOf({ metadata }: TrimmedPod): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** What of a pod matters to Services, to compare. */
function textOf({ pod, ips }: LocalPodState): string {
  const { metadata, namedPorts, hostPorts, ready } = pod;
  return JSON.stringify([metadata.labels, namedPorts, hostPorts, ready, ips]);
}

/** The pod as local redirect policies see it. */
export function localPodOf({ namespace, name, pod, ips }: LocalPodState): LocalPod {
  return { namespace, name, labels: pod.metadata.labels, ips, ports: pod.namedPorts, ready: pod.ready };
}

/** What the pod publishes on the node. */
export function hostPortsOf({ pod, ips }: LocalPodState): HostPort[] {
  return pod.hostPorts.map((port) => ({ ...port, podIPs: ips }));
}

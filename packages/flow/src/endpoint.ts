import type { Ip } from "@axoneme/base";
import type { FlowEndpoint } from "./flow.ts";
import type { FlowResolver, PeerInfo } from "./resolver.ts";

/** Identities from here on stand for CIDRs (or nodes) and are known on one node only. */
const localIdentity = 0x0100_0000;

/** One side of a flow. The datapath's identity wins over the control plane's when it is not zero. */
export function endpointOf(
  resolver: FlowResolver,
  ip: Ip,
  endpointId: number,
  identity: number,
): FlowEndpoint {
  const peer =
    (endpointId === 0 ? undefined : resolver.endpointById(endpointId, identity)) ??
    resolver.byIp(ip, identity);
  const endpoint: FlowEndpoint = {};
  const id = endpointId === 0 ? (peer?.endpointId ?? 0) : endpointId;
  if (id !== 0) endpoint.ID = id;
  setIdentity(endpoint, resolver, identity === 0 ? (peer?.identity ?? 0) : identity, peer);
  if (peer !== undefined) setPod(endpoint, peer);
  return endpoint;
}

function setIdentity(
  endpoint: FlowEndpoint,
  resolver: FlowResolver,
  identity: number,
  peer: PeerInfo | undefined,
): void {
  if (identity === 0) return;
  endpoint.identity = identity;
  const known = resolver.identityById(identity);
  const namespace = peer?.namespace ?? known?.namespace;
  if (namespace !== undefined && namespace !== "") endpoint.namespace = namespace;
  const labels = labelsOf(known?.labels ?? none, peer?.labels);
  if (labels.length === 0) return;
  endpoint.labels = identity >= localIdentity ? mostSpecificCidr(labels) : labels;
}

const none: readonly string[] = [];
const agreeing = new WeakMap<readonly string[], WeakMap<readonly string[], boolean>>();

/**
 * The labels of a side: those of its pod, unless the identity says otherwise. Then the pod has other labels now than
 * when the packet came, and the identity's are what is known of that time.
 */
function labelsOf(identity: readonly string[], pod: readonly string[] | undefined): readonly string[] {
  if (pod === undefined) return identity;
  const known = agreeing.get(identity) ?? new WeakMap<readonly string[], boolean>();
  agreeing.set(identity, known);
  const agrees = known.get(pod) ?? identity.every((line) => pod.includes(line));
  known.set(pod, agrees);
  return agrees ? pod : identity;
}

function setPod(endpoint: FlowEndpoint, peer: PeerInfo): void {
  if (peer.clusterName !== undefined) endpoint.cluster_name = peer.clusterName;
  if (peer.namespace !== undefined && peer.namespace !== "") endpoint.namespace = peer.namespace;
  if (peer.podName !== undefined && peer.podName !== "") endpoint.pod_name = peer.podName;
  if (peer.workloads !== undefined && peer.workloads.length > 0) endpoint.workloads = peer.workloads;
}

const specific = new WeakMap<readonly string[], readonly string[]>();

/** Of the `cidr:` labels (a prefix and all that contain it) the longest; the other labels stay. */
function mostSpecificCidr(labels: readonly string[]): readonly string[] {
  const known = specific.get(labels);
  if (known !== undefined) return known;
  const cidrs = labels.filter((label) => label.startsWith("cidr:"));
  const length = (label: string): number => Number(label.slice(label.lastIndexOf("/") + 1));
  const longest = cidrs.reduce(
    (best, label) => (length(label) > length(best) ? label : best),
    cidrs[0] ?? "",
  );
  const kept = labels.filter((label) => !label.startsWith("cidr:") || label === longest);
  specific.set(labels, kept);
  return kept;
}

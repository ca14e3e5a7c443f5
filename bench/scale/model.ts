import type { CiliumEndpoint, CiliumEndpointSlice, CiliumNode } from "@axoneme/kube";
import { memberOf, sliceObject } from "../../apps/operator/src/members.ts";
import { Slices } from "../../apps/operator/src/slices.ts";
import { identityObject } from "../policy/model.ts";

/** How large a cluster is. */
export interface Size {
  readonly nodes: number;
  readonly pods: number;
  readonly identities: number;
}

/** Namespaces of the model; a pod's is that of its identity. */
export const namespaces = 50;
const firstIdentity = 20_000;

export const namespaceOf = (identity: number): string => `scale-${identity % namespaces}`;

/** Addresses of a node; the lab's own nodes are in 172.30. */
const nodeIp = (node: number): string => `172.${20 + (node >> 14)}.${(node >> 8) & 63}.${node & 255}`;
const cidr = (node: number): string => `10.${64 + (node >> 8)}.${node & 255}`;
const cidr6 = (node: number): string => `fd10:0:0:${node.toString(16)}::`;

/** A node that exists as an object only. */
export function nodeObject(node: number): CiliumNode {
  const name = `sim-${node}`;
  const labels = {
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "topology.kubernetes.io/zone": `zone-${node % 3}`,
    "node.kubernetes.io/instance-type": "m5.xlarge",
  };
  const addresses = [
    { type: "InternalIP", ip: nodeIp(node) },
    { type: "CiliumInternalIP", ip: `${cidr(node)}.1` },
  ];
  const podCIDRs = [`${cidr(node)}.0/24`, `${cidr6(node)}/64`];
  return { metadata: { name, labels }, spec: { addresses, ipam: { podCIDRs } } };
}

function labelsOf(identity: number): Record<string, string> {
  const namespace = namespaceOf(identity);
  return {
    "k8s:app": `app-${identity}`,
    "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": namespace,
    "k8s:io.cilium.k8s.policy.cluster": "default",
    "k8s:io.cilium.k8s.policy.serviceaccount": `app-${identity}`,
    "k8s:io.kubernetes.pod.namespace": namespace,
    "k8s:tier": `tier-${identity % 4}`,
  };
}

/** The i-th identity. */
export function identity(i: number): ReturnType<typeof identityObject> {
  const object = identityObject(firstIdentity + i, { namespace: namespaceOf(i), app: `app-${i}` });
  return { ...object, "security-labels": labelsOf(i) };
}

/** The i-th pod as its node publishes it: besides its identity's labels it has those of its workload. */
export function endpoint(i: number, size: Size): CiliumEndpoint {
  const of = i % size.identities;
  const node = i % size.nodes;
  const host = 2 + Math.floor(i / size.nodes);
  const labels = [
    ...Object.entries(labelsOf(of)).map(([key, value]) => `${key}=${value}`),
    `k8s:pod-template-hash=${(of * 7919).toString(16)}`,
    `k8s:statefulset.kubernetes.io/pod-name=app-${of}-${i}`,
  ].sort();
  return {
    metadata: { namespace: namespaceOf(of), name: `app-${of}-${i}` },
    status: {
      id: host,
      state: "ready",
      identity: { id: firstIdentity + of, labels },
      networking: {
        addressing: [{ ipv4: `${cidr(node)}.${host}`, ipv6: `${cidr6(node)}${host.toString(16)}` }],
        node: nodeIp(node),
      },
      "named-ports": [{ name: "http", port: 8080, protocol: "TCP" }],
    },
  };
}

/** All pods in slices, as the operator packs them when they come one after the other. */
export function slicesOf(size: Size): CiliumEndpointSlice[] {
  const slices = new Slices(() => `ces-${crypto.randomUUID()}`);
  for (let i = 0; i < size.pods; i++) {
    const member = memberOf(endpoint(i, size));
    if (member) slices.put(member);
  }
  return [...slices.dirty].flatMap((name) => {
    const slice = slices.take(name);
    return slice ? [sliceObject(name, slice.namespace, slice.members)] : [];
  });
}

import type { Labels } from "@axoneme/identity";
import type { CiliumIdentity, NetworkPolicy } from "@axoneme/kube";

/** Namespaces, and apps in each: so many identities as there are pairs. */
export const namespaces = 50;
export const apps = 40;
export const identities = namespaces * apps;

const firstIdentity = 20_000;

/** The pair that pods, identities and policies of this number are of. */
export interface Place {
  readonly namespace: string;
  readonly app: string;
}

/** Place number `index`, counted namespace by namespace. */
export function placeOf(index: number): Place {
  return {
    namespace: `bench-${Math.floor(index / apps) % namespaces}`,
    app: `app-${index % apps}`,
  };
}

/** What a pod of a place is labelled with as an identity, in so far as policies see it. */
export function labelsOf({ namespace, app }: Place): Labels {
  return {
    "k8s:app": app,
    "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": namespace,
    "k8s:io.cilium.k8s.policy.cluster": "default",
    "k8s:io.kubernetes.pod.namespace": namespace,
  };
}

/** The number that the identity of a place has here. */
export function identityOf(index: number): number {
  return firstIdentity + index;
}

/** A CiliumIdentity of that number. */
export function identityObject(id: number, place: Place): CiliumIdentity {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumIdentity",
    metadata: { name: String(id) },
    "security-labels": labelsOf(place),
  };
}

/** What a policy of the benchmark says. */
export interface ModelPolicy extends Place {
  readonly name: string;
  /** Apps let in: of the same namespace on `port`, of all namespaces on every port. */
  readonly near: string;
  readonly far: string;
  readonly port: number;
  /** Where its pods may go on ports 443 to 450. */
  readonly cidr: string;
}

/** Policy number `index`: places take turns, in steps that do not divide their number. */
export function policyOf(index: number, port = 8080): ModelPolicy {
  return {
    ...placeOf((index * 37) % identities),
    name: `policy-${index}`,
    near: `app-${(index * 7 + 1) % apps}`,
    far: `app-${(index * 3 + 2) % apps}`,
    port,
    cidr: `10.${100 + (index % 100)}.0.0/16`,
  };
}

/** The NetworkPolicy. */
export function policyObject({ namespace, name, app, near, far, port, cidr }: ModelPolicy): NetworkPolicy {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace, name },
    spec: {
      podSelector: { matchLabels: { app } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: near } } }], ports: [{ protocol: "TCP", port }] },
        { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: far } } }] },
      ],
      egress: [{ to: [{ ipBlock: { cidr } }], ports: [{ protocol: "TCP", port: 443, endPort: 450 }] }],
    },
  };
}

import { defineResource, type KubeObject } from "@axoneme/kube";

/** CiliumIdentity (cilium.io/v2): cluster-wide; its name is the number. */
export interface CiliumIdentityObject extends KubeObject {
  readonly "security-labels"?: Readonly<Record<string, string>>;
}

/** The parts of CiliumEndpoint (cilium.io/v2) we write and read. */
export interface CiliumEndpointObject extends KubeObject {
  readonly status?: {
    readonly id?: number;
    readonly state?: string;
    readonly identity?: { readonly id?: number; readonly labels?: readonly string[] };
    readonly networking?: {
      readonly addressing?: readonly { readonly ipv4?: string; readonly ipv6?: string }[];
      readonly node?: string;
    };
    readonly "named-ports"?: readonly {
      readonly name: string;
      readonly port: number;
      readonly protocol: string;
    }[];
    readonly policy?: {
      readonly ingress?: { readonly enforcing: boolean; readonly state?: string };
      readonly egress?: { readonly enforcing: boolean; readonly state?: string };
    };
  };
}

/** The parts of CiliumNode (cilium.io/v2) we write and read. */
export interface CiliumNodeObject extends KubeObject {
  readonly spec?: {
    readonly addresses?: readonly { readonly type: string; readonly ip: string }[];
    readonly ipam?: {
      readonly podCIDRs?: readonly string[];
      readonly pools?: {
        readonly requested?: readonly object[];
        readonly allocated?: readonly { readonly pool: string; readonly cidrs?: readonly string[] }[];
      };
    };
  };
}

export const ciliumIdentities = defineResource<CiliumIdentityObject>(
  "cilium.io/v2",
  "ciliumidentities",
  "CiliumIdentity",
  "Cluster",
);
export const ciliumEndpoints = defineResource<CiliumEndpointObject>(
  "cilium.io/v2",
  "ciliumendpoints",
  "CiliumEndpoint",
  "Namespaced",
);
export const ciliumNodes = defineResource<CiliumNodeObject>(
  "cilium.io/v2",
  "ciliumnodes",
  "CiliumNode",
  "Cluster",
);
export const ciliumNetworkPolicies = defineResource<KubeObject>(
  "cilium.io/v2",
  "ciliumnetworkpolicies",
  "CiliumNetworkPolicy",
  "Namespaced",
);
export const ciliumClusterwideNetworkPolicies = defineResource<KubeObject>(
  "cilium.io/v2",
  "ciliumclusterwidenetworkpolicies",
  "CiliumClusterwideNetworkPolicy",
  "Cluster",
);

/** Field manager of everything the agent writes. */
export const fieldManager = "axoneme-agent";

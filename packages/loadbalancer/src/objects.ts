/** metadata as far as it matters here. */
export interface ObjectMetadata {
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The parts of a Service (core/v1) that matter here. */
export interface ServiceObject {
  readonly metadata?: ObjectMetadata;
  readonly spec?: {
    readonly type?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ipFamilies?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port?: number;
      readonly protocol?: string;
      readonly nodePort?: number;
      readonly targetPort?: number | string;
    }[];
    readonly externalIPs?: readonly string[];
    readonly loadBalancerSourceRanges?: readonly string[];
    readonly loadBalancerClass?: string;
    readonly loadBalancerIP?: string;
    readonly internalTrafficPolicy?: string;
    readonly externalTrafficPolicy?: string;
    readonly trafficDistribution?: string;
    readonly healthCheckNodePort?: number;
    readonly sessionAffinity?: string;
    readonly sessionAffinityConfig?: { readonly clientIP?: { readonly timeoutSeconds?: number } };
    readonly publishNotReadyAddresses?: boolean;
  };
  readonly status?: {
    readonly loadBalancer?: {
      readonly ingress?: readonly {
        readonly ip?: string;
        readonly hostname?: string;
        readonly ipMode?: string;
      }[];
    };
  };
}

/** One port of a Service. */
export type ServicePort = NonNullable<NonNullable<ServiceObject["spec"]>["ports"]>[number];

/** The parts of an EndpointSlice (discovery.k8s.io/v1) that matter here. */
export interface EndpointSliceObject {
  readonly metadata?: ObjectMetadata;
  readonly addressType?: string;
  readonly endpoints?: readonly SliceEndpoint[];
  readonly ports?: readonly {
    readonly name?: string | null;
    readonly port?: number | null;
    readonly protocol?: string | null;
  }[];
}

/** One endpoint of an EndpointSlice. */
export interface SliceEndpoint {
  readonly addresses?: readonly string[];
  readonly nodeName?: string;
  readonly zone?: string;
  readonly conditions?: {
    readonly ready?: boolean | null;
    readonly serving?: boolean | null;
    readonly terminating?: boolean | null;
  };
  readonly hints?: {
    readonly forZones?: readonly { readonly name?: string }[];
    readonly forNodes?: readonly { readonly name?: string }[];
  };
}

/** One port of an EndpointSlice. */
export type SlicePort = NonNullable<EndpointSliceObject["ports"]>[number];

/** One entry of PortInfo in a CiliumLocalRedirectPolicy. */
export interface RedirectPort {
  readonly port?: string;
  readonly protocol?: string;
  readonly name?: string;
}

/** The parts of a CiliumLocalRedirectPolicy (cilium.io/v2) that matter here. */
export interface LocalRedirectPolicyObject {
  readonly metadata?: ObjectMetadata;
  readonly spec?: {
    readonly redirectFrontend?: {
      readonly addressMatcher?: { readonly ip?: string; readonly toPorts?: readonly RedirectPort[] };
      readonly serviceMatcher?: {
        readonly serviceName?: string;
        readonly namespace?: string;
        readonly toPorts?: readonly RedirectPort[];
      };
    };
    readonly redirectBackend?: {
      readonly localEndpointSelector?: {
        readonly matchLabels?: Readonly<Record<string, string>>;
        readonly matchExpressions?: readonly {
          readonly key: string;
          readonly operator: string;
          readonly values?: readonly string[];
        }[];
      };
      readonly toPorts?: readonly RedirectPort[];
    };
    readonly skipRedirectFromBackend?: boolean;
  };
}

/** A pod of this node, as local redirect policies see it. */
export interface LocalPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ips: readonly string[];
  /** Container ports, for policies that name a port instead of numbering it. */
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol?: string }[];
  readonly ready: boolean;
}

/** A hostPort of a pod of this node. */
export interface HostPort {
  /** Empty, `0.0.0.0` and `::` mean every address of the node; a loopback address means the node itself only. */
  readonly hostIP?: string;
  readonly hostPort: number;
  readonly protocol?: string;
  readonly containerPort: number;
  readonly podIPs: readonly string[];
}

/** The label by which a slice names its Service. */
export const serviceNameLabel = "kubernetes.io/service-name";

/** IP protocol numbers of the protocols Services know. */
export const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** `TCP`, `UDP`, `SCTP`, or the number. */
export function protocolText(proto: number): string {
  return { 6: "TCP", 17: "UDP", 132: "SCTP" }[proto] ?? String(proto);
}

/** `namespace/name` of an object. */
export function objectKey(object: { readonly metadata?: ObjectMetadata }): string {
  return `${object.metadata?.namespace ?? ""}/${object.metadata?.name ?? ""}`;
}

/** `namespace/name` of the Service a slice belongs to; undefined when it names none. */
export function serviceOf(slice: EndpointSliceObject): string | undefined {
  const name = slice.metadata?.labels?.[serviceNameLabel];
  return name === undefined || name === "" ? undefined : `${slice.metadata?.namespace ?? ""}/${name}`;
}

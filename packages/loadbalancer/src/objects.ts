/** The parts of a Service (core/v1) that matter here. */
export interface ServiceObject {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port?: number;
      readonly protocol?: string;
      readonly nodePort?: number;
    }[];
    readonly externalIPs?: readonly string[];
    readonly internalTrafficPolicy?: string;
    readonly externalTrafficPolicy?: string;
    readonly sessionAffinity?: string;
    readonly sessionAffinityConfig?: { readonly clientIP?: { readonly timeoutSeconds?: number } };
    readonly publishNotReadyAddresses?: boolean;
  };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string }[] } };
}

/** One port of a Service. */
export type ServicePort = NonNullable<NonNullable<ServiceObject["spec"]>["ports"]>[number];

/** The parts of an EndpointSlice (discovery.k8s.io/v1) that matter here. */
export interface EndpointSliceObject {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly nodeName?: string;
    readonly conditions?: {
      readonly ready?: boolean | null;
      readonly serving?: boolean | null;
      readonly terminating?: boolean | null;
    };
  }[];
  readonly ports?: readonly {
    readonly name?: string | null;
    readonly port?: number | null;
    readonly protocol?: string | null;
  }[];
}

/** One port of an EndpointSlice. */
export type SlicePort = NonNullable<EndpointSliceObject["ports"]>[number];

/** The label by which a slice names its Service. */
export const serviceNameLabel = "kubernetes.io/service-name";

/** `namespace/name` of an object. */
export function objectKey(object: ServiceObject | EndpointSliceObject): string {
  return `${object.metadata?.namespace ?? ""}/${object.metadata?.name ?? ""}`;
}

/** `namespace/name` of the Service a slice belongs to; undefined when it names none. */
export function serviceOf(slice: EndpointSliceObject): string | undefined {
  const name = slice.metadata?.labels?.[serviceNameLabel];
  return name === undefined || name === "" ? undefined : `${slice.metadata?.namespace ?? ""}/${name}`;
}

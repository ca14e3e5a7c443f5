/** The parts of Service (v1) that matter here; objects of the API fit. */
export interface ServiceLike {
  metadata?:
    | {
        namespace?: string | undefined;
        name?: string | undefined;
        labels?: { readonly [key: string]: string } | undefined;
      }
    | undefined;
  spec?:
    | {
        type?: string | undefined;
        clusterIP?: string | undefined;
        clusterIPs?: readonly string[] | undefined;
        externalIPs?: readonly string[] | undefined;
        sessionAffinity?: string | undefined;
        sessionAffinityConfig?:
          | { clientIP?: { timeoutSeconds?: number | undefined } | undefined }
          | undefined;
        internalTrafficPolicy?: string | undefined;
        externalTrafficPolicy?: string | undefined;
        ports?: readonly ServicePortLike[] | undefined;
      }
    | undefined;
  status?:
    | { loadBalancer?: { ingress?: readonly { ip?: string | undefined }[] | undefined } | undefined }
    | undefined;
}

export interface ServicePortLike {
  name?: string | undefined;
  protocol?: string | undefined;
  port?: number | undefined;
  nodePort?: number | undefined;
}

/** The parts of EndpointSlice (discovery.k8s.io/v1) that matter here. */
export interface EndpointSliceLike {
  metadata?:
    | {
        namespace?: string | undefined;
        name?: string | undefined;
        labels?: { readonly [key: string]: string } | undefined;
      }
    | undefined;
  addressType?: string | undefined;
  ports?: readonly EndpointPortLike[] | null | undefined;
  endpoints?: readonly EndpointLike[] | null | undefined;
}

export interface EndpointPortLike {
  name?: string | null | undefined;
  protocol?: string | null | undefined;
  port?: number | null | undefined;
}

export interface EndpointLike {
  addresses?: readonly string[] | undefined;
  nodeName?: string | null | undefined;
  conditions?:
    | {
        ready?: boolean | null | undefined;
        serving?: boolean | null | undefined;
        terminating?: boolean | null | undefined;
      }
    | undefined;
}

/** Label of an EndpointSlice that names its Service. */
export const SERVICE_NAME_LABEL = "kubernetes.io/service-name";

/** `namespace/name` of an object. */
export function objectKey(object: ServiceLike | EndpointSliceLike): string {
  return `${object.metadata?.namespace ?? "default"}/${object.metadata?.name ?? ""}`;
}

/** `namespace/name` of the Service a slice belongs to; undefined when it names none. */
export function serviceOf(slice: EndpointSliceLike): string | undefined {
  const name = slice.metadata?.labels?.[SERVICE_NAME_LABEL];
  return name === undefined ? undefined : `${slice.metadata?.namespace ?? "default"}/${name}`;
}

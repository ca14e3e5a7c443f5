import { formatIp, isV4, tryParseIp } from "@axoneme/base";
import {
  type EndpointSliceObject,
  type ObjectMetadata,
  type ServiceObject,
  type ServicePort,
  type SliceEndpoint,
  type SlicePort,
  serviceNameLabel,
} from "./objects.ts";

const trimmed: unique symbol = Symbol("trimmed");

/** An EndpointSlice with canonical addresses of its family, and nothing else than what is read here. */
export interface TrimmedSlice extends EndpointSliceObject {
  readonly [trimmed]: true;
  readonly endpoints: readonly SliceEndpoint[];
  /** Addresses that are none, or of the other family. */
  readonly badAddresses: readonly string[] | undefined;
}

/** Annotations that are read by us, the address allocator and the announcer. */
const annotationPrefixes = ["service.cilium.io/", "lbipam.cilium.io/", "io.cilium/"];
const annotationNames = new Set(["service.beta.kubernetes.io/load-balancer-source-ranges"]);

/** Strings that come again and again: one copy of each, thousands of times. */
const interned = new Map<string, string>();
const maxInterned = 20_000;

function intern(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const known = interned.get(text);
  if (known !== undefined) return known;
  if (interned.size >= maxInterned) interned.clear(); // node and zone names are few; this bounds what others send
  interned.set(text, text);
  return text;
}

const conditionSets = new Map<number, SliceEndpoint["conditions"]>();
const ternary = (value: boolean | null | undefined): number => (value == null ? 0 : value ? 1 : 2);

/** The one shared object for these conditions. */
function sharedConditions(conditions: SliceEndpoint["conditions"]): SliceEndpoint["conditions"] {
  if (conditions === undefined) return undefined;
  const { ready, serving, terminating } = conditions;
  const key = ternary(ready) * 9 + ternary(serving) * 3 + ternary(terminating);
  const known = conditionSets.get(key);
  if (known !== undefined) return known;
  const shared = { ready: ready ?? null, serving: serving ?? null, terminating: terminating ?? null };
  conditionSets.set(key, shared);
  return shared;
}

const portSets = new Map<string, readonly SlicePort[]>();

/** The one shared list for these ports: most slices of a cluster have one of a few. */
function sharedPorts(ports: readonly SlicePort[]): readonly SlicePort[] {
  const kept = ports.map(({ name, port, protocol }) => ({
    name: name ?? "",
    port: port ?? 0,
    protocol: protocol ?? "TCP",
  }));
  const key = kept.map(({ name, port, protocol }) => `${name}/${port}/${protocol}`).join();
  const known = portSets.get(key);
  if (known !== undefined) return known;
  if (portSets.size >= maxInterned) portSets.clear();
  portSets.set(key, kept);
  return kept;
}

function isTrimmed(slice: EndpointSliceObject): slice is TrimmedSlice {
  return trimmed in slice;
}

/**
 * Keeps of an EndpointSlice what the compiler reads, with strings and small objects shared. For a list-watch:
 * what it stores is what the compiler holds. Idempotent.
 */
export function trimSlice(slice: EndpointSliceObject): TrimmedSlice {
  if (isTrimmed(slice)) return slice;
  const { addressType, metadata } = slice;
  const v4 = addressType === "IPv4";
  const endpoints: SliceEndpoint[] = [];
  let badAddresses: string[] | undefined;
  if (v4 || addressType === "IPv6") {
    for (const endpoint of slice.endpoints ?? []) {
      // Of several addresses the first stands for all, as the API defines it.
      const text = endpoint.addresses?.[0];
      const ip = tryParseIp(text ?? "");
      if (ip !== undefined && isV4(ip) === v4) endpoints.push(trimEndpoint(endpoint, formatIp(ip)));
      else if (text !== undefined) badAddresses = [...(badAddresses ?? []), text];
    }
  }
  const service = metadata?.labels?.[serviceNameLabel];
  const weight = metadata?.annotations?.[weightAnnotation];
  return {
    [trimmed]: true,
    metadata: trimMetadata(
      metadata,
      service === undefined ? undefined : { [serviceNameLabel]: service },
      weight === undefined ? undefined : { [weightAnnotation]: weight },
    ),
    ...(addressType !== undefined && { addressType }),
    endpoints,
    ports: sharedPorts(slice.ports ?? []),
    badAddresses,
  };
}

/** The annotation of an EndpointSlice with the Maglev weight of its backends. */
export const weightAnnotation = "service.cilium.io/weight";

/** Always the same five fields: small objects of one shape, as there are hundreds of thousands. */
function trimEndpoint(endpoint: SliceEndpoint, address: string): SliceEndpoint {
  const { hints, conditions, nodeName, zone } = endpoint;
  const hinted = (hints?.forZones?.length ?? 0) > 0 || (hints?.forNodes?.length ?? 0) > 0;
  return {
    addresses: [address],
    nodeName: intern(nodeName),
    zone: intern(zone),
    conditions: sharedConditions(conditions),
    hints: hinted ? hints : undefined,
  } as SliceEndpoint;
}

function trimMetadata(
  metadata: ObjectMetadata | undefined,
  labels: ObjectMetadata["labels"],
  annotations: ObjectMetadata["annotations"],
): ObjectMetadata {
  const { name, namespace, uid } = metadata ?? {};
  return { name, namespace: intern(namespace), uid, labels, annotations } as ObjectMetadata;
}

/** Keeps of a Service what the compiler, the address allocator and the announcer read. For a list-watch. */
export function trimService(service: ServiceObject): ServiceObject {
  const { metadata, spec, status } = service;
  const annotations = Object.entries(metadata?.annotations ?? {}).filter(
    ([name]) => annotationNames.has(name) || annotationPrefixes.some((prefix) => name.startsWith(prefix)),
  );
  const labels = metadata?.labels;
  const ingress = status?.loadBalancer?.ingress;
  return {
    metadata: trimMetadata(
      metadata,
      labels && Object.keys(labels).length > 0 ? labels : undefined,
      annotations.length > 0 ? Object.fromEntries(annotations) : undefined,
    ),
    spec: spec && trimSpec(spec),
    status: ingress && ingress.length > 0 ? { loadBalancer: { ingress } } : undefined,
  } as ServiceObject;
}

type Spec = NonNullable<ServiceObject["spec"]>;

const unless = <T>(value: T, meaningless: T): T | undefined => (value === meaningless ? undefined : value);
const unlessEmpty = <T>(list: readonly T[] | undefined): readonly T[] | undefined =>
  (list?.length ?? 0) > 0 ? list : undefined;

/** What an absent field means anyway is left out, so that most Services keep three fields. */
function trimSpec(spec: Spec): Spec {
  const clusterIPs = unlessEmpty(spec.clusterIPs);
  const rest: Spec = withoutUndefined({
    externalIPs: unlessEmpty(spec.externalIPs),
    loadBalancerSourceRanges: unlessEmpty(spec.loadBalancerSourceRanges),
    loadBalancerClass: spec.loadBalancerClass,
    loadBalancerIP: spec.loadBalancerIP,
    internalTrafficPolicy: unless(spec.internalTrafficPolicy, "Cluster"),
    externalTrafficPolicy: unless(spec.externalTrafficPolicy, "Cluster"),
    trafficDistribution: spec.trafficDistribution,
    healthCheckNodePort: unless(spec.healthCheckNodePort, 0),
    sessionAffinity: unless(spec.sessionAffinity, "None"),
    sessionAffinityConfig: spec.sessionAffinityConfig,
    publishNotReadyAddresses: unless(spec.publishNotReadyAddresses, false),
    clusterIP: clusterIPs === undefined ? spec.clusterIP : undefined,
    // The families of a Service with cluster addresses are those of the addresses.
    ipFamilies: clusterIPs === undefined ? spec.ipFamilies : undefined,
  });
  const ports = spec.ports?.map(trimPort);
  // Not read here: policies that name a Service mean the pods it selects.
  const { type, selector } = spec;
  return { type, clusterIPs, ports, selector, ...rest } as Spec;
}

function trimPort({ name, port, protocol, nodePort, targetPort }: ServicePort): ServicePort {
  return {
    name: intern(name),
    port,
    protocol: intern(protocol),
    nodePort,
    targetPort: typeof targetPort === "string" ? intern(targetPort) : targetPort,
  } as ServicePort;
}

function withoutUndefined(fields: Record<string, unknown>): object {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return kept.length === 0 ? {} : Object.fromEntries(kept);
}

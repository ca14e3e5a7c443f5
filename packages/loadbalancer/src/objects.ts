import { type Ip, tryParseIp } from "@axoneme/base";

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
    }[];
    readonly sessionAffinity?: string;
    readonly sessionAffinityConfig?: { readonly clientIP?: { readonly timeoutSeconds?: number } };
    readonly publishNotReadyAddresses?: boolean;
  };
}

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

/** The label by which a slice names its Service. */
export const serviceNameLabel = "kubernetes.io/service-name";
/** A Service with one of these is somebody else's (another proxy) or asks for no proxy at all. */
const skipLabels = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** One port of a Service, parsed. */
export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly proto: number;
}

/** What the compiler keeps of a Service. */
export interface ParsedService {
  readonly clusterIps: readonly Ip[];
  readonly ports: readonly ServicePort[];
  readonly affinityTimeoutS: number;
  readonly publishNotReady: boolean;
}

/** One address of a slice and how it is. */
export interface ParsedEndpoint {
  readonly ip: Ip;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string | undefined;
}

/** What the compiler keeps of a slice. */
export interface ParsedSlice {
  readonly endpoints: readonly ParsedEndpoint[];
  readonly ports: readonly ServicePort[];
}

/** Parses a Service; undefined when it has nothing to translate (headless, ExternalName, another proxy's). */
export function parseService(service: ServiceObject): ParsedService | undefined {
  const spec = service.spec ?? {};
  const labels = service.metadata?.labels ?? {};
  if (spec.type === "ExternalName" || skipLabels.some((label) => label in labels)) return undefined;
  const texts = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ""];
  const clusterIps = texts.flatMap((text) => tryParseIp(text) ?? []);
  if (clusterIps.length === 0) return undefined;
  const affinity = spec.sessionAffinity === "ClientIP";
  return {
    clusterIps,
    ports: parsePorts(spec.ports ?? []),
    // Kubernetes' default: three hours.
    affinityTimeoutS: affinity ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800) : 0,
    publishNotReady: spec.publishNotReadyAddresses === true,
  };
}

/** Parses a slice. Addresses and ports that make no sense are left out: the API server checks them. */
export function parseSlice(slice: EndpointSliceObject): ParsedSlice {
  const endpoints = (slice.endpoints ?? []).flatMap((endpoint) => {
    const { ready, serving, terminating } = endpoint.conditions ?? {};
    return (endpoint.addresses ?? []).flatMap((text) => {
      const ip = tryParseIp(text);
      if (!ip) return [];
      // Absent conditions mean ready; absent serving follows ready (API doc of EndpointConditions).
      const isReady = ready ?? true;
      return [
        {
          ip,
          ready: isReady,
          serving: serving ?? isReady,
          terminating: terminating ?? false,
          nodeName: endpoint.nodeName,
        },
      ];
    });
  });
  return { endpoints, ports: parsePorts(slice.ports ?? []) };
}

function parsePorts(
  ports: readonly { name?: string | null; port?: number | null; protocol?: string | null }[],
): ServicePort[] {
  return ports.flatMap(({ name, port, protocol }) => {
    const proto = protocolNumbers[protocol ?? "TCP"];
    return proto !== undefined && port != null ? [{ name: name ?? "", port, proto }] : [];
  });
}

import { waitFor } from "@axoneme/base";
import { type KubeObject, resources, type Service } from "@axoneme/kube";
import type { TestLab } from "./lab.ts";

export type Family = "v4" | "v6";
export type Protocol = "tcp" | "udp";
export const families: readonly Family[] = ["v4", "v6"];
export const protocols: readonly Protocol[] = ["tcp", "udp"];
export const familyName = { v4: "IPv4", v6: "IPv6" } as const;
export const protocolName = { tcp: "TCP", udp: "UDP" } as const;

type ServiceSpec = NonNullable<Service["spec"]>;

export interface ServiceRequest {
  readonly name: string;
  /** Which pods; default those with the label app=<name>; null: none, slices are written by hand. */
  readonly selector?: Readonly<Record<string, string>> | null;
  /** Port of the Service, for TCP and UDP; default 80. */
  readonly port?: number;
  /** Port of its pods; default 8080. */
  readonly targetPort?: number | string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Over what the others say. */
  readonly spec?: Partial<ServiceSpec>;
}

/** A Service with addresses of both families and a port for TCP and UDP. */
export function serviceObject(request: ServiceRequest): KubeObject {
  const { name, selector = { app: name }, port = 80, targetPort = 8080, annotations, labels } = request;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name,
      namespace: "default",
      ...(annotations === undefined ? {} : { annotations: { ...annotations } }),
      ...(labels === undefined ? {} : { labels: { ...labels } }),
    },
    spec: {
      ...(selector === null ? {} : { selector: { ...selector } }),
      ipFamilyPolicy: "RequireDualStack",
      ipFamilies: ["IPv4", "IPv6"],
      ports: (["TCP", "UDP"] as const).map((protocol) => ({
        name: protocol.toLowerCase(),
        protocol,
        port,
        targetPort,
      })),
      ...request.spec,
    },
  } as KubeObject;
}

export interface ManualEndpoint {
  readonly address: string;
  readonly nodeName?: string;
  readonly conditions?: {
    readonly ready?: boolean;
    readonly serving?: boolean;
    readonly terminating?: boolean;
  };
  readonly zone?: string;
  readonly hints?: { readonly forZones?: readonly { name: string }[] };
}

/** An EndpointSlice that somebody wrote by hand for a Service of {@link serviceObject}'s ports. */
export function sliceObject(
  service: string,
  family: Family,
  endpoints: readonly ManualEndpoint[],
  targetPort = 8080,
): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${service}-${family}`,
      namespace: "default",
      labels: { "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test" },
    },
    addressType: familyName[family],
    endpoints: endpoints.map(({ address, ...rest }) => ({ addresses: [address], ...rest })),
    ports: ["TCP", "UDP"].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: targetPort })),
  } as unknown as KubeObject;
}

/** What the API gave a Service. */
export interface ServiceFacts {
  readonly v4: string;
  readonly v6: string;
  /** By protocol; 0: none. */
  readonly nodePort: Readonly<Record<Protocol, number>>;
  readonly healthCheckNodePort: number;
  /** Addresses of status.loadBalancer. */
  readonly ingress: readonly string[];
}

/** Reads what the API gave a Service. */
export async function serviceFacts(lab: TestLab, name: string): Promise<ServiceFacts> {
  const { spec, status } = await lab.client.resource(resources.services).get(name, { namespace: "default" });
  const ips = spec?.clusterIPs ?? [];
  const nodePortOf = (protocol: string): number =>
    spec?.ports?.find((entry) => (entry.protocol ?? "TCP") === protocol)?.nodePort ?? 0;
  return {
    v4: ips.find((ip) => !ip.includes(":")) ?? "",
    v6: ips.find((ip) => ip.includes(":")) ?? "",
    nodePort: { tcp: nodePortOf("TCP"), udp: nodePortOf("UDP") },
    healthCheckNodePort: spec?.healthCheckNodePort ?? 0,
    ingress: (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? ""),
  };
}

/** Writes a Service's load-balancer addresses as a controller beside us would (MetalLB). */
export async function setIngress(
  lab: TestLab,
  name: string,
  ips: readonly string[],
  ipMode?: "VIP" | "Proxy",
): Promise<void> {
  const ingress = ips.map((ip) => ({ ip, ...(ipMode === undefined ? {} : { ipMode }) }));
  await lab.client
    .resource(resources.services)
    .patch(name, { status: { loadBalancer: { ingress } } }, { namespace: "default", subresource: "status" });
}

/** Waits until the API lists that many endpoint addresses a family for a Service. */
export async function endpointsListed(lab: TestLab, name: string, count: number): Promise<void> {
  const slices = lab.client.resource(resources.endpointslices);
  const labelSelector = `kubernetes.io/service-name=${name}`;
  await waitFor(
    async () => {
      const { items } = await slices.list({ namespace: "default", labelSelector });
      return families.every(
        (family) =>
          items
            .filter(({ addressType }) => addressType === familyName[family])
            .flatMap(({ endpoints = [] }) => endpoints).length === count,
      );
    },
    { timeoutMs: 30_000, everyMs: 30, what: `${count} endpoints of the Service ${name}` },
  );
}

let markers = 0;

/**
 * Waits until every node has worked in what the API said until now: a Service made last, with an endpoint written
 * by hand, answers on all nodes. `backend` is a pod that serves 8080.
 */
export async function settled(lab: TestLab, backend: { v4: string; v6: string }): Promise<void> {
  const name = `marker-${++markers}`;
  const slices = families.map((family) => sliceObject(name, family, [{ address: backend[family] }]));
  const marker = serviceObject({ name, selector: null });
  await lab.apply(marker, ...slices);
  const facts = await serviceFacts(lab, name);
  for (const node of lab.nodes.values()) {
    for (const family of families)
      await lab.reached(node, ["tcp", facts[family], "80"], `the marker ${name}`);
  }
  await lab.remove(...slices, marker);
}

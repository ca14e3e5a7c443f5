import { type EndpointSlice, type KubeClient, resources, type Service } from "@axoneme/kube";
import { type ModelService, namespacesOf, servicePort, servicesOf } from "./model.ts";

/** Calls under way at a time. */
const parallel = 32;

/** The Service object. Without a selector: its endpoints are what we say. */
function serviceObject({ namespace, name, clusterIp }: ModelService): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace, name },
    spec: { clusterIP: clusterIp, ports: [{ name: "http", port: servicePort, protocol: "TCP" }] },
  };
}

/** Its EndpointSlice. */
export function sliceObject({ namespace, name, backends }: ModelService): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace, name, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port: backends[0]?.port ?? 0, protocol: "TCP" }],
    endpoints: backends.map(({ ip }) => ({ addresses: [ip], conditions: { ready: true } })),
  };
}

async function all<T>(items: readonly T[], call: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await call(item);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/** Creates Services `from` to `to` (not included) with their EndpointSlices in an API server. */
export async function createServices(
  client: KubeClient,
  from: number,
  to: number,
  servers: readonly string[],
): Promise<void> {
  const known = new Set(namespacesOf(from));
  await all(
    namespacesOf(to).filter((name) => !known.has(name)),
    (name) => client.resource(resources.namespaces).create({ metadata: { name } }),
  );
  await all(servicesOf(to, servers).slice(from), async (service) => {
    await client.resource(resources.services).create(serviceObject(service));
    await client.resource(resources.endpointslices).create(sliceObject(service));
  });
}

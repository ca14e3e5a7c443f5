import { formatIp, parseIp } from "@axoneme/base";
import type { EndpointSliceObject, ServiceCompiler, ServiceObject } from "../src/index.ts";
import { keyText } from "./maps.ts";

export type Endpoint = NonNullable<EndpointSliceObject["endpoints"]>[number];

/** A Service of namespace shop. */
export const service = (
  name: string,
  spec: ServiceObject["spec"],
  more: { status?: ServiceObject["status"]; annotations?: Record<string, string> } = {},
): ServiceObject => ({
  metadata: { namespace: "shop", name, ...(more.annotations && { annotations: more.annotations }) },
  ...(spec && { spec }),
  ...(more.status && { status: more.status }),
});

/** A Service of type LoadBalancer with this address. */
export const ingress = (...ips: string[]): ServiceObject["status"] => ({
  loadBalancer: { ingress: ips.map((ip) => ({ ip })) },
});

/** An endpoint on node n1 that is ready unless told otherwise. */
export const endpoint = (
  ip: string,
  conditions: Endpoint["conditions"] = { ready: true },
  nodeName = "n1",
  more: Partial<Endpoint> = {},
): Endpoint => ({ addresses: [ip], nodeName, ...(conditions && { conditions }), ...more });

/** An EndpointSlice of namespace shop; its family is that of its first endpoint. */
export const slice = (
  name: string,
  of: string,
  endpoints: Endpoint[],
  ports: { name?: string; port: number; protocol: string }[] = [{ port: 8080, protocol: "TCP" }],
  annotations?: Record<string, string>,
): EndpointSliceObject => ({
  metadata: {
    namespace: "shop",
    name,
    labels: { "kubernetes.io/service-name": of },
    ...(annotations && { annotations }),
  },
  addressType: endpoints[0]?.addresses?.[0]?.includes(":") ? "IPv6" : "IPv4",
  endpoints,
  ports,
});

/** Frontend to backends, as text, of all frontends. */
export function table(compiler: ServiceCompiler): Record<string, string[]> {
  return Object.fromEntries(
    compiler
      .views()
      .map(({ key, backends }) => [
        keyText(key),
        backends.map(({ addr, port }) => `${formatIp(addr)}:${port}`),
      ]),
  );
}

/** The view of one frontend, by its text. */
export function viewOf(compiler: ServiceCompiler, text: string) {
  return compiler.views().find(({ key }) => keyText(key) === text);
}

/** Reasons of all problems, with their object and port. */
export function problemTexts(compiler: ServiceCompiler): string[] {
  return compiler.problems().map(({ kind, name, port, reason }) => `${kind} ${name} ${port}: ${reason}`);
}

/** A frontend key of the external scope. */
export const keyOf = (text: string, port: number, proto = 6) => ({ addr: parseIp(text), port, proto });

import { formatIp, type Ip, isV4, tryParseIp } from "@axoneme/base";
import type { Finding } from "./desired.ts";
import type { ServiceObject, ServicePort } from "./objects.ts";
import { ServiceFlag } from "./rows.ts";
import type { FrontendKind, ServiceChoices } from "./settings.ts";

/** Key address of a frontend on every NodePort address of the node. */
export const wildcard = {
  v4: tryParseIp("0.0.0.0") ?? new Uint8Array(16),
  v6: new Uint8Array(16),
} as const;

/** Whether a frontend's address stands for every NodePort address. */
export function isWildcard(addr: Ip): boolean {
  for (let i = 0; i < 16; i++) if (addr[i] !== 0 && i !== 10 && i !== 11) return false;
  return addr[10] === addr[11] && (addr[10] === 0 || addr[10] === 0xff);
}

/** Whether a row only says that Services have its address: see bpf/lib/stray.h. */
export function isMarker({ port, proto }: { readonly port: number; readonly proto: number }): boolean {
  return port === 0 && proto === 0;
}

/** The flag that says a frontend's kind. */
export const kindFlags: Readonly<Record<FrontendKind, number>> = {
  ClusterIP: ServiceFlag.clusterIp,
  NodePort: ServiceFlag.nodePort,
  LoadBalancer: ServiceFlag.loadBalancer,
  ExternalIP: ServiceFlag.externalIp,
  HostPort: ServiceFlag.hostPort,
  LocalRedirect: ServiceFlag.localRedirect,
};

/** An address a Service is served on, by kind. */
export interface ServiceAddress {
  readonly addr: Ip;
  readonly kind: FrontendKind;
}

/** The addresses of a Service; NodePorts have the wildcard of each of its families. */
export interface ServiceAddresses {
  readonly addresses: readonly ServiceAddress[];
  readonly findings: readonly Finding[];
}

/** Families of a Service: those of its cluster addresses. */
function familiesOf(spec: ServiceObject["spec"], clusterIps: readonly Ip[]): { v4: boolean; v6: boolean } {
  const v4 = clusterIps.some(isV4) || spec?.ipFamilies?.includes("IPv4") === true;
  const v6 = clusterIps.some((addr) => !isV4(addr)) || spec?.ipFamilies?.includes("IPv6") === true;
  return v4 || v6 ? { v4, v6 } : { v4: true, v6: true };
}

/** Reads the addresses of the kinds that are served. What cannot be used is found and left out. */
export function addressesOf(service: ServiceObject, { kinds }: ServiceChoices): ServiceAddresses {
  const { spec, status } = service;
  const findings: Finding[] = [];
  const report = (reason: string): unknown => findings.push({ port: "", reason });
  const clusterTexts = spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
  const clusterIps = parseAll(clusterTexts, "clusterIP", report);
  const families = familiesOf(spec, clusterIps);
  const ofFamily = (texts: readonly string[], field: string): Ip[] =>
    parseAll(texts, field, report).filter((addr) => {
      const ours = isV4(addr) ? families.v4 : families.v6;
      if (!ours)
        report(`${field} ${formatIp(addr)}: the Service has no ${isV4(addr) ? "IPv4" : "IPv6"} family`);
      return ours;
    });
  // The proxy of a cloud balancer (ipMode Proxy) must see its own traffic: such addresses are not ours to serve.
  const ingress = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) =>
    ip !== undefined && ip !== "" && ipMode !== "Proxy" ? [ip] : [],
  );
  const nodePorts = [...(families.v4 ? [wildcard.v4] : []), ...(families.v6 ? [wildcard.v6] : [])];
  const addresses: ServiceAddress[] = [];
  const push = (kind: FrontendKind, addrs: () => readonly Ip[]): void => {
    if (kinds.has(kind)) for (const addr of addrs()) addresses.push({ addr, kind });
  };
  push("ClusterIP", () => clusterIps);
  push("NodePort", () => (hasNodePorts(spec) ? nodePorts : []));
  if (spec?.type === "LoadBalancer") push("LoadBalancer", () => ofFamily(ingress, "load balancer address"));
  push("ExternalIP", () => ofFamily(spec?.externalIPs ?? [], "externalIP"));
  return { addresses, findings };
}

function hasNodePorts(spec: ServiceObject["spec"]): boolean {
  return spec?.ports?.some(({ nodePort }) => (nodePort ?? 0) > 0) ?? false;
}

function parseAll(texts: readonly string[], field: string, report: (reason: string) => unknown): Ip[] {
  const addrs: Ip[] = [];
  for (const text of texts) {
    if (text === "") continue;
    const addr = tryParseIp(text);
    if (addr === undefined) report(`${field} "${text}" is not an IPv4 or IPv6 address`);
    else if (isWildcard(addr)) report(`${field} ${text} stands for no address`);
    else addrs.push(addr);
  }
  return addrs;
}

/** The port a frontend of this kind listens on; 0 = none. */
export function portOf(kind: FrontendKind, port: ServicePort): number {
  return (kind === "NodePort" ? port.nodePort : port.port) ?? 0;
}

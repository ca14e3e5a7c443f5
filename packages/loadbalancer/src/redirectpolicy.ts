import { errorText, type Ip, tryParseIp } from "@axoneme/base";
import type { Finding } from "./desired.ts";
import { compileLabelSelector, type LabelPredicate } from "./labelselector.ts";
import { type LocalRedirectPolicyObject, objectKey, protocolNumbers, type RedirectPort } from "./objects.ts";

/** A port of a policy; on the backends' side it may be a container port's name. */
export interface PolicyPort {
  readonly port: number | string;
  readonly proto: number;
  readonly name: string;
}

/** A CiliumLocalRedirectPolicy that was read. With findings it may redirect nothing. */
export interface RedirectPolicy {
  readonly key: string;
  readonly namespace: string;
  /** Redirects the cluster addresses of this Service (`namespace/name`)... */
  readonly service: string | undefined;
  /** ...or this address. */
  readonly address: Ip | undefined;
  /** Ports redirected; none = all of the Service. */
  readonly frontendPorts: readonly PolicyPort[];
  readonly backendPorts: readonly PolicyPort[];
  readonly selects: LabelPredicate;
  /** Clients among the backends are not redirected. */
  readonly skip: boolean;
  readonly findings: readonly Finding[];
}

/** Reads a policy. What makes no sense is found, and the policy then redirects nothing. */
export function parseRedirectPolicy(object: LocalRedirectPolicyObject): RedirectPolicy {
  const { spec, metadata } = object;
  const namespace = metadata?.namespace ?? "";
  const findings: Finding[] = [];
  const report = (reason: string): unknown => findings.push({ port: "", reason });
  const { addressMatcher, serviceMatcher } = spec?.redirectFrontend ?? {};
  const ports = (list: readonly RedirectPort[] | undefined, field: string): PolicyPort[] =>
    (list ?? []).flatMap((port) => parsePort(port, field, report) ?? []);
  const backendPorts = ports(spec?.redirectBackend?.toPorts, "redirectBackend.toPorts");
  const frontendPorts = ports((addressMatcher ?? serviceMatcher)?.toPorts, "redirectFrontend.toPorts");
  if ((addressMatcher === undefined) === (serviceMatcher === undefined))
    report("redirectFrontend wants either an addressMatcher or a serviceMatcher");
  const address = addressMatcher && parseAddress(addressMatcher.ip, report);
  if (addressMatcher !== undefined && frontendPorts.length === 0) report("addressMatcher wants toPorts");
  const service = serviceMatcher && serviceKey(serviceMatcher, namespace, report);
  if (backendPorts.length === 0) report("redirectBackend wants toPorts");
  if (spec?.redirectBackend?.localEndpointSelector === undefined)
    report("redirectBackend wants a localEndpointSelector");
  const selects = selectorOf(object, report);
  const sound = findings.length === 0;
  return {
    key: objectKey(object),
    namespace,
    service: sound ? service : undefined,
    address: sound ? address : undefined,
    frontendPorts,
    backendPorts,
    selects,
    skip: spec?.skipRedirectFromBackend === true,
    findings,
  };
}

function selectorOf(
  { spec }: LocalRedirectPolicyObject,
  report: (reason: string) => unknown,
): LabelPredicate {
  try {
    return compileLabelSelector(spec?.redirectBackend?.localEndpointSelector);
  } catch (error) {
    report(`redirectBackend.localEndpointSelector: ${errorText(error)}`);
    return () => false;
  }
}

function parseAddress(text: string | undefined, report: (reason: string) => unknown): Ip | undefined {
  const address = tryParseIp(text ?? "");
  if (address === undefined) report(`addressMatcher.ip "${text ?? ""}" is not an IPv4 or IPv6 address`);
  return address;
}

function serviceKey(
  { serviceName = "", namespace = "" }: { serviceName?: string; namespace?: string },
  own: string,
  report: (reason: string) => unknown,
): string {
  if (serviceName === "") report("serviceMatcher wants a serviceName");
  if (namespace !== "" && namespace !== own)
    report(`serviceMatcher.namespace is ${namespace}: a policy redirects Services of its own namespace only`);
  return `${own}/${serviceName}`;
}

function parsePort(
  { port = "", protocol = "TCP", name = "" }: RedirectPort,
  field: string,
  report: (reason: string) => unknown,
): PolicyPort | undefined {
  const proto = protocolNumbers[protocol.toUpperCase()];
  const numeric = /^[0-9]+$/.test(port);
  const number = Number(port);
  const named = field.startsWith("redirectBackend") && /^[a-z0-9-]{1,15}$/.test(port) && !numeric;
  if (proto === undefined || proto === protocolNumbers["SCTP"])
    report(`${field}: protocol ${protocol} is neither TCP nor UDP`);
  else if (named || (numeric && number >= 1 && number <= 65_535))
    return { port: named ? port : number, proto, name };
  else report(`${field}: "${port}" is no port from 1 to 65535`);
  return undefined;
}

/** The backend port for a redirected port: the only one there is, else the one of its name and protocol. */
export function backendPortFor(
  policy: RedirectPolicy,
  port: { proto: number; name: string },
  onlyPort: boolean,
): PolicyPort | undefined {
  const fitting = policy.backendPorts.filter(({ proto }) => proto === port.proto);
  if (onlyPort && policy.backendPorts.length === 1) return fitting[0];
  return port.name === "" ? undefined : fitting.find(({ name }) => name === port.name);
}

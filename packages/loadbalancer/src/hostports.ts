import { type Ip, isV4, tryParseIp } from "@axoneme/base";
import { isWildcard, wildcard } from "./addresses.ts";
import type { Desired, DesiredBackend, DesiredFrontend, DesiredUnit, Finding } from "./desired.ts";
import { localityOf } from "./locality.ts";
import { type HostPort, protocolNumbers } from "./objects.ts";
import { podBackend } from "./redirects.ts";
import { Algorithm, Scope, ServiceFlag } from "./rows.ts";
import { forwardingOf, type LoadBalancerSettings } from "./settings.ts";

/** Whether the address is only reached from the node itself. */
function isLoopback(addr: Ip): boolean {
  if (isV4(addr)) return addr[12] === 127;
  return addr[15] === 1 && addr.subarray(0, 15).every((byte) => byte === 0);
}

/** The frontend addresses of a hostIP: nothing and "any address" are the wildcard. */
function addressesOf(hostIP: string | undefined): Ip[] | undefined {
  if (hostIP === undefined || hostIP === "") return [wildcard.v4, wildcard.v6];
  const addr = tryParseIp(hostIP);
  return addr && [addr];
}

/** Compiles the hostPorts of one pod. Pure. */
export function compileHostPorts(ports: readonly HostPort[], settings: LoadBalancerSettings): Desired {
  const findings: Finding[] = [];
  if (!settings.kinds.has("HostPort")) return { units: [], findings };
  const units = new Map<string, { unit: DesiredUnit; frontends: DesiredFrontend[] }>();
  for (const port of ports) {
    const text = `${port.hostPort}/${port.protocol ?? "TCP"}`;
    const addresses = addressesOf(port.hostIP);
    const problem = problemOf(port, addresses);
    if (problem !== undefined) findings.push({ port: text, reason: problem });
    if (problem !== undefined || addresses === undefined) continue;
    const { unit, frontends } = unitOf(port, units);
    for (const addr of addresses) {
      const backends = unit.backends.filter(({ v4 }) => v4 === isV4(addr));
      if (backends.length > 0) frontends.push(frontendOf(addr, unit, backends, settings));
    }
  }
  return {
    units: [...units.values()].flatMap(({ unit, frontends }) => (frontends.length > 0 ? unit : [])),
    findings,
  };
}

function problemOf(port: HostPort, addresses: readonly Ip[] | undefined): string | undefined {
  const protocol = port.protocol ?? "TCP";
  if (protocolNumbers[protocol] === undefined) return `protocol ${protocol} is none of TCP, UDP, SCTP`;
  if (addresses === undefined) return `hostIP "${port.hostIP}" is not an IPv4 or IPv6 address`;
  if (protocol === "SCTP" && port.hostPort !== port.containerPort)
    return `SCTP cannot change ports (the kernel has no CRC32c for it): containerPort ${port.containerPort} must equal hostPort ${port.hostPort}`;
  return undefined;
}

function unitOf(
  port: HostPort,
  units: Map<string, { unit: DesiredUnit; frontends: DesiredFrontend[] }>,
): { unit: DesiredUnit; frontends: DesiredFrontend[] } {
  const proto = protocolNumbers[port.protocol ?? "TCP"] ?? 0;
  const key = `${proto}/${port.hostPort}/${port.containerPort}`;
  const known = units.get(key);
  if (known !== undefined) return known;
  const backends: DesiredBackend[] = port.podIPs.flatMap((ip) => podBackend(ip, port.containerPort) ?? []);
  const frontends: DesiredFrontend[] = [];
  const unit: DesiredUnit = {
    key,
    port: port.hostPort,
    proto,
    portName: "",
    affinityTimeoutS: 0,
    frontends,
    backends,
    ranges: [],
    skips: [],
  };
  const made = { unit, frontends };
  units.set(key, made);
  return made;
}

function frontendOf(
  addr: Ip,
  { port, proto }: DesiredUnit,
  backends: readonly DesiredBackend[],
  settings: LoadBalancerSettings,
): DesiredFrontend {
  const loopback = !isWildcard(addr) && isLoopback(addr);
  return {
    key: { addr, port, proto, scope: Scope.external },
    flags: ServiceFlag.hostPort | (loopback ? ServiceFlag.loopbackOnly : 0),
    algorithm: Algorithm.random,
    forwarding: forwardingOf(settings.forwarding, proto),
    list: { backends, locality: localityOf.hostPort },
  };
}

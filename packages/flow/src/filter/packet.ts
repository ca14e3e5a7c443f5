/** Clauses on what is in the packet: addresses, ports, protocols, flags. They also decide on raw bytes. */
import {
  formatPrefix,
  type Ip,
  type Prefix,
  parsePrefixOrIp,
  prefixContains,
  tryParseIp,
} from "@axoneme/base";
import type { Flow, FlowFilter, FlowTcpFlags } from "../flow.ts";
import { eventFlag, eventType, ipProtocol, tcpFlagBits } from "../names.ts";
import { at } from "../record.ts";
import type { Clause } from "./clause.ts";
import { invalid } from "./pattern.ts";

function parsePrefixes(field: string, values: readonly string[]): Prefix[] {
  return values.map((value) => {
    try {
      return parsePrefixOrIp(value);
    } catch (error) {
      throw invalid(field, value, `is neither an address nor a CIDR: ${String((error as Error).message)}`);
    }
  });
}

function inPrefixes(
  prefixes: readonly Prefix[],
  texts: ReadonlySet<string>,
  value: string | undefined,
): boolean {
  if (value === undefined || value === "") return false;
  if (texts.has(value)) return true;
  const ip = tryParseIp(value);
  return ip !== undefined && prefixes.some((prefix) => prefixContains(prefix, ip));
}

/** source_ip, destination_ip, source_ip_xlated: exact addresses or CIDRs. */
export function addressClause(
  field: string,
  values: readonly string[],
  of: (flow: Flow) => string | undefined,
  rawOffset: number | undefined,
): Clause {
  const prefixes = parsePrefixes(field, values);
  const texts = new Set(prefixes.filter((prefix) => prefix.length === 128).map((prefix) => hostText(prefix)));
  const match = (flow: Flow): boolean => inPrefixes(prefixes, texts, of(flow));
  if (rawOffset === undefined) return { match };
  return {
    match,
    raw: (_, bytes, o) => {
      const ip: Ip = bytes.subarray(o + rawOffset, o + rawOffset + 16);
      return prefixes.some((prefix) => prefixContains(prefix, ip));
    },
  };
}

function hostText(prefix: Prefix): string {
  const text = formatPrefix(prefix);
  return text.slice(0, text.lastIndexOf("/"));
}

/** source_port, destination_port: decimal texts. */
export function portClause(field: string, values: readonly string[], source: boolean): Clause {
  const wanted = new Set(
    values.map((value) => {
      if (!/^\d{1,5}$/.test(value) || Number(value) > 65535) throw invalid(field, value, "is not a port");
      return Number(value);
    }),
  );
  const offset = source ? at.sport : at.dport;
  return {
    match: ({ l4 }) => {
      const ports = l4?.TCP ?? l4?.UDP ?? l4?.SCTP;
      if (ports === undefined) return false;
      return wanted.has((source ? ports.source_port : ports.destination_port) ?? 0);
    },
    raw: (view, _, o) => hasPorts(view.getUint8(o + at.proto)) && wanted.has(view.getUint16(o + offset)),
  };
}

function hasPorts(proto: number): boolean {
  return proto === ipProtocol.tcp || proto === ipProtocol.udp || proto === ipProtocol.sctp;
}

const layer4Keys: Record<
  string,
  { keys: readonly (keyof NonNullable<Flow["l4"]>)[]; numbers: readonly number[] }
> = {
  icmp: { keys: ["ICMPv4", "ICMPv6"], numbers: [ipProtocol.icmp, ipProtocol.icmpv6] },
  icmpv4: { keys: ["ICMPv4"], numbers: [ipProtocol.icmp] },
  icmpv6: { keys: ["ICMPv6"], numbers: [ipProtocol.icmpv6] },
  tcp: { keys: ["TCP"], numbers: [ipProtocol.tcp] },
  udp: { keys: ["UDP"], numbers: [ipProtocol.udp] },
  sctp: { keys: ["SCTP"], numbers: [ipProtocol.sctp] },
  vrrp: { keys: ["VRRP"], numbers: [ipProtocol.vrrp] },
  igmp: { keys: ["IGMP"], numbers: [ipProtocol.igmp] },
};

/** protocol: layer-4 names, `icmp` for both versions, and the layer-7 names `dns`, `http`. */
export function protocolClause(values: readonly string[]): Clause {
  const names = values.map((value) => value.toLowerCase());
  const known = names.map((name) => layer4Keys[name]);
  names.forEach((name, i) => {
    if (known[i] === undefined && name !== "dns" && name !== "http") {
      throw invalid(
        "protocol",
        values[i] ?? name,
        "is unknown (icmp, icmpv4, icmpv6, tcp, udp, sctp, vrrp, igmp, dns, http)",
      );
    }
  });
  const layer7 = names.includes("dns") || names.includes("http");
  const keys = known.flatMap((entry) => entry?.keys ?? []);
  const numbers = new Set(known.flatMap((entry) => entry?.numbers ?? []));
  return {
    match: ({ l4, l7 }) =>
      keys.some((key) => l4?.[key] !== undefined) ||
      (names.includes("dns") && l7?.dns !== undefined) ||
      (names.includes("http") && l7?.http !== undefined),
    raw: (view, _, o) =>
      numbers.has(view.getUint8(o + at.proto)) || (layer7 && view.getUint8(o + at.type) === eventType.l7),
  };
}

/** tcp_flags: every flag named by one value is set. */
export function tcpFlagsClause(values: readonly FlowTcpFlags[]): Clause {
  const masks = values.map((value) =>
    tcpFlagBits.reduce((mask, [name, bit]) => (value[name] === true ? mask | bit : mask), 0),
  );
  const named = values.map((value) =>
    (Object.keys(value) as (keyof FlowTcpFlags)[]).filter((name) => value[name] === true),
  );
  return {
    match: ({ l4 }) => {
      const flags = l4?.TCP?.flags;
      return flags !== undefined && named.some((names) => names.every((name) => flags[name] === true));
    },
    raw: (view, _, o) => {
      if (view.getUint8(o + at.proto) !== ipProtocol.tcp) return false;
      const bits = view.getUint8(o + at.tcpFlags);
      return masks.some((mask) => (bits & mask) === mask);
    },
  };
}

/** ip_version. */
export function ipVersionClause(values: NonNullable<FlowFilter["ip_version"]>): Clause {
  const wanted = new Set<string>(values);
  return {
    match: (flow) => wanted.has(flow.IP?.ipVersion ?? "IP_NOT_USED"),
    raw: (view, _, o) => wanted.has((view.getUint8(o + at.flags) & eventFlag.ipv6) === 0 ? "IPv4" : "IPv6"),
  };
}

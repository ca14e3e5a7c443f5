import { readDnsRules } from "./fqdn.ts";
import { anyPort, icmpTypes, onePort, portProtocols, portRange, protocols } from "./l4.ts";
import { isObject, type Raw, type Reader } from "./reader.ts";
import type { DnsNames, L4, NamedPort } from "./rule.ts";

const PORT_RULE: ReadonlySet<string> = new Set(["ports", "rules"]);
const PORT: ReadonlySet<string> = new Set(["port", "endPort", "protocol"]);
const ICMP_RULE: ReadonlySet<string> = new Set(["fields"]);
const MOST_PORTS = 40;

/** Destination ports of an entry. */
export interface Ports {
  l4: L4[];
  named: NamedPort[];
}

/** Ports over which only some names may be asked for. */
export interface DnsPorts extends Ports {
  path: string;
  dns: DnsNames;
}

/**
 * The ports of `toPorts`; those with DNS rules apart, which only a rule that allows to go out may have. A port rule
 * that otherwise restricts L7 or TLS selects nothing: it would open too much.
 */
export function readToPorts(
  reader: Reader,
  list: readonly unknown[],
  path: string,
  mayAskNames: boolean,
): Ports & { dns: DnsPorts[] } {
  const all: Ports & { dns: DnsPorts[] } = { l4: [], named: [], dns: [] };
  for (const [i, value] of list.entries()) {
    const at = `${path}[${i}]`;
    const raw = reader.object(value, at);
    if (raw === undefined || restrictsL7(reader, raw, at, mayAskNames)) continue;
    const ports = reader.list(raw, "ports", at) ?? [];
    if (ports.length > MOST_PORTS) {
      reader.invalid(`${at}.ports`, `has ${ports.length} ports, the limit is ${MOST_PORTS}`);
      continue;
    }
    const rules = isObject(raw["rules"]) ? (raw["rules"]["dns"] ?? undefined) : undefined;
    const into = rules === undefined ? all : { l4: [], named: [] };
    for (const [j, port] of ports.entries()) {
      const where = `${at}.ports[${j}]`;
      if (rules === undefined || carriesDns(reader, port, where)) {
        readPort(reader, port, where, into.l4, into.named);
      }
    }
    if (rules !== undefined) {
      all.dns.push({ path: at, ...withoutSctp(into), dns: readDnsRules(reader, rules, `${at}.rules.dns`) });
    }
  }
  return all;
}

/** DNS is spoken over TCP and UDP, and its rules are about one port. */
function carriesDns(reader: Reader, port: unknown, path: string): boolean {
  if (!isObject(port)) return true;
  const protocol = port["protocol"] ?? "ANY";
  if (protocol !== "ANY" && protocol !== "" && protocol !== "TCP" && protocol !== "UDP") {
    reader.invalid(`${path}.protocol`, `"${String(protocol)}" cannot have DNS rules: it selects nothing`);
    return false;
  }
  if ((port["endPort"] ?? 0) !== 0) {
    reader.invalid(`${path}.endPort`, "a range of ports cannot have DNS rules: it selects nothing");
    return false;
  }
  if (portNumber(String(port["port"] ?? "")) !== 0) return true;
  reader.invalid(`${path}.port`, "all ports together cannot have DNS rules: they select nothing");
  return false;
}

function withoutSctp({ l4, named }: Ports): Ports {
  const speaks = ({ proto }: { proto: number }): boolean => proto !== protocols["SCTP"];
  return { l4: l4.filter(speaks), named: named.filter(speaks) };
}

function restrictsL7(reader: Reader, raw: Raw, path: string, mayAskNames: boolean): boolean {
  let restricts = false;
  for (const field of Object.keys(raw)) {
    const value = raw[field];
    if (PORT_RULE.has(field) || value === undefined || value === null) continue;
    const what = field === "serverNames" ? "TLS server names are not enforced" : "is not supported";
    reader.unsupported(`${path}.${field}`, `${what}: this port rule selects nothing`);
    restricts = true;
  }
  const rules = raw["rules"] ?? {};
  if (!isObject(rules)) {
    reader.invalid(`${path}.rules`, "is not an object");
    return true;
  }
  for (const field of Object.keys(rules)) {
    if (rules[field] === undefined || rules[field] === null) continue;
    if (field === "dns" && mayAskNames) continue;
    if (field === "dns")
      reader.invalid(`${path}.rules.dns`, "DNS rules are for egress only: this port rule selects nothing");
    else
      reader.unsupported(
        `${path}.rules.${field}`,
        "L7 rules are not supported: this port rule selects nothing",
      );
    restricts = true;
  }
  return restricts;
}

function readPort(reader: Reader, value: unknown, path: string, l4: L4[], named: NamedPort[]): void {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, PORT, path)) return;
  const protos = readProtocol(reader, raw["protocol"] ?? "ANY", `${path}.protocol`);
  if (protos === undefined) return;
  const port = String(raw["port"] ?? "");
  const number = portNumber(port);
  const carriesPorts = protos.every((proto) => portProtocols.includes(proto));
  if (!carriesPorts) {
    if (port === "" || number === 0) l4.push(...protos.map(anyPort));
    else reader.invalid(`${path}.port`, `protocol ${String(raw["protocol"])} has no ports`);
    return;
  }
  if (number === undefined) {
    if (/^[a-zA-Z0-9]([-a-zA-Z0-9]{0,13}[a-zA-Z0-9])?$/.test(port) && /[a-zA-Z]/.test(port)) {
      for (const proto of protos) named.push({ name: port.toLowerCase(), proto });
    } else reader.invalid(`${path}.port`, `"${port}" is neither a port nor the name of one`);
    return;
  }
  l4.push(...numbered(reader, number, raw["endPort"] ?? 0, protos, path));
}

function numbered(
  reader: Reader,
  port: number,
  endPort: unknown,
  protos: readonly number[],
  path: string,
): L4[] {
  if (port === 0) return protos.map(anyPort);
  if (endPort === 0) return protos.map((proto) => onePort(proto, port));
  if (typeof endPort !== "number" || !Number.isInteger(endPort) || endPort < port || endPort > 65_535) {
    reader.invalid(`${path}.endPort`, `"${String(endPort)}" is not a port from ${port} on`);
    return [];
  }
  return protos.flatMap((proto) => portRange(proto, port, endPort));
}

function readProtocol(reader: Reader, value: unknown, path: string): readonly number[] | undefined {
  if (value === "ANY" || value === "") return portProtocols;
  const proto = typeof value === "string" && !value.startsWith("ICMP") ? protocols[value] : undefined;
  if (proto !== undefined) return [proto];
  return reader.invalid(path, `"${String(value)}" is not a protocol of toPorts (ICMP goes under icmps)`);
}

/** A port number as the API takes it: decimal, or with a prefix 0x, 0o, 0b, 0. Undefined for a name. */
function portNumber(text: string): number | undefined {
  const octal = /^0[0-7]+$/.test(text);
  if (!octal && !/^(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.test(text)) return undefined;
  const number = octal ? Number.parseInt(text, 8) : Number(text);
  return number <= 65_535 ? number : undefined;
}

/** The ICMP types of `icmps`, as rows on ICMP or ICMPv6. */
export function readIcmps(reader: Reader, list: readonly unknown[], path: string): L4[] {
  const l4: L4[] = [];
  for (const [i, value] of list.entries()) {
    const raw = reader.object(value, `${path}[${i}]`);
    if (raw === undefined || !reader.only(raw, ICMP_RULE, `${path}[${i}]`)) continue;
    for (const [j, field] of (reader.list(raw, "fields", `${path}[${i}]`) ?? []).entries()) {
      l4.push(...readIcmpField(reader, field, `${path}[${i}].fields[${j}]`));
    }
  }
  return l4;
}

function readIcmpField(reader: Reader, value: unknown, path: string): L4[] {
  const raw = reader.object(value, path);
  if (raw === undefined) return [];
  const family = raw["family"] ?? "IPv4";
  if (family !== "IPv4" && family !== "IPv6") {
    reader.invalid(`${path}.family`, `"${String(family)}" is neither IPv4 nor IPv6`);
    return [];
  }
  const given = String(raw["type"] ?? "");
  const type = /^[0-9]{1,3}$/.test(given) ? Number(given) : icmpTypes[family][given];
  if (type === undefined || type > 255) {
    reader.invalid(`${path}.type`, `"${given}" is not a type of ICMP for ${family}`);
    return [];
  }
  return [onePort(family === "IPv4" ? 1 : 58, type)];
}

import { usageError } from "../errors.ts";

/** What a connection is to: a port of a protocol, or a message of ICMP. */
export interface L4 {
  /** IP protocol number. */
  readonly proto: number;
  readonly protocol: string;
  /** ICMP: the type. */
  readonly port: number;
}

const numbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 };
const echo: Readonly<Record<string, number>> = { icmp: 8, icmpv6: 128 };

/** `80`, `80/tcp`, `53/udp`, `icmp`, `icmp/3`. Nothing: a ping. @throws CliError usage */
export function parseL4(text: string | undefined): L4 {
  if (text === undefined) return { proto: 1, protocol: "ICMP", port: 8 };
  const lower = text.toLowerCase();
  const [, kind, type] = /^(icmp|icmpv6)(?:\/(\d{1,3}))?$/.exec(lower) ?? [];
  if (kind !== undefined)
    return { proto: numbers[kind] ?? 1, protocol: kind.toUpperCase(), port: Number(type ?? echo[kind]) };
  const [, port, protocol = "tcp"] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(lower) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw usageError(`"${text}" is no port`, "write 80, 80/tcp, 53/udp, 5060/sctp, icmp or icmp/8");
  return { proto: numbers[protocol] ?? 6, protocol: protocol.toUpperCase(), port: Number(port) };
}

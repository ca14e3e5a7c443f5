import type { Flow, FlowDns, FlowHttp, FlowTcpFlags } from "./flow.ts";
import { icmpText } from "./icmp.ts";
import { tcpFlagBits } from "./names.ts";

/** Flags of a TCP header byte as an object; undefined when none is set. */
export function tcpFlags(bits: number): FlowTcpFlags | undefined {
  if (bits === 0) return undefined;
  const flags: FlowTcpFlags = {};
  for (const [name, bit] of tcpFlagBits) if ((bits & bit) !== 0) flags[name] = true;
  return flags;
}

/** `SYN, ACK`; empty for none. */
export function tcpFlagsText(flags: FlowTcpFlags | undefined): string {
  if (flags === undefined) return "";
  let text = "";
  for (const [name] of tcpFlagBits) if (flags[name] === true) text += text === "" ? name : `, ${name}`;
  if (flags.NS === true) text += text === "" ? "NS" : ", NS";
  return text;
}

/** One line for people: `TCP Flags: SYN`, `UDP`, `ICMPv4 EchoRequest`, an HTTP or DNS line. Empty when unknown. */
export function summaryOf(flow: Flow): string {
  if (flow.l7 !== undefined) return layer7Summary(flow);
  const l4 = flow.l4;
  if (l4 === undefined) return "";
  if (l4.TCP !== undefined) {
    return flow.Type === "SOCK" ? "TCP" : `TCP Flags: ${tcpFlagsText(l4.TCP.flags)}`;
  }
  if (l4.ICMPv4 !== undefined) return `ICMPv4 ${icmpText(false, l4.ICMPv4.type ?? 0, l4.ICMPv4.code ?? 0)}`;
  if (l4.ICMPv6 !== undefined) return `ICMPv6 ${icmpText(true, l4.ICMPv6.type ?? 0, l4.ICMPv6.code ?? 0)}`;
  return Object.keys(l4)[0] ?? "";
}

function layer7Summary(flow: Flow): string {
  const l7 = flow.l7;
  if (l7?.http !== undefined) return httpSummary(l7.http, l7.type === "RESPONSE", l7.latency_ns);
  if (l7?.dns !== undefined) return dnsSummary(l7.dns, l7.type === "RESPONSE");
  return "";
}

function httpSummary(http: FlowHttp, response: boolean, latencyNs: string | undefined): string {
  const request = `${http.method ?? ""} ${http.url ?? ""}`;
  if (!response) return `${http.protocol ?? ""} ${request}`;
  const ms = Math.floor(Number(latencyNs ?? "0") / 1e6);
  return `${http.protocol ?? ""} ${http.code ?? 0} ${ms}ms (${request})`;
}

function dnsSummary(dns: FlowDns, response: boolean): string {
  const types = (dns.qtypes ?? []).join(",");
  if (!response) return `DNS Query ${dns.query ?? ""} ${types}`;
  const answer = [...(dns.cnames ?? []).map((name) => `CNAME: "${name}"`), ipsText(dns.ips)]
    .filter(Boolean)
    .join(" ");
  const rcode = (dns.rcode ?? 0) === 0 ? "" : `RCode: ${dns.rcode} `;
  return `DNS Answer ${rcode}${answer} TTL: ${dns.ttl ?? 0} (Proxy ${dns.query ?? ""} ${types})`;
}

function ipsText(ips: readonly string[] | undefined): string {
  return ips === undefined || ips.length === 0 ? "" : `"${ips.join(",")}"`;
}

import { hostPrefix, type Ip, tryParseIp } from "@axoneme/base";
import type { AnswerMessage, Exchange, QueryMessage } from "@axoneme/dns";
import type { FlowDns, Layer7Event, Layer7Side } from "@axoneme/flow";
import type { Ipcache } from "@axoneme/identity";
import type { FlowMetrics, Observer } from "@axoneme/observe";

/** A DNS message that a pod sent or got. */
export type DnsEvent =
  | { readonly kind: "query"; readonly message: QueryMessage }
  | { readonly kind: "answer"; readonly message: AnswerMessage };

/** Where DNS messages go, and who knows their two sides. */
export interface DnsFlowSinks {
  readonly observer: Pick<Observer, "ingestLayer7">;
  readonly metrics: Pick<FlowMetrics, "count" | "countLayer7" | "wantsLayer7">;
  readonly ipcache: Ipcache;
  /** The local endpoint at an address. */
  readonly endpointAt: (ip: Ip) => { readonly id: number; readonly identity: number } | undefined;
}

/** A message that is older was kept while no agent listened: it is told of now. */
const latestMs = 500;
const tcp = 6;
const udp = 17;

/** Makes flows of what pods ask and are answered. */
export function dnsFlows(sinks: DnsFlowSinks): (events: readonly DnsEvent[]) => void {
  return (events) => {
    const made = events.flatMap((event) => eventOf(event, sinks) ?? []);
    if (made.length === 0) return;
    const { records, flows } = sinks.observer.ingestLayer7(made);
    sinks.metrics.count(records, made.length);
    if (sinks.metrics.wantsLayer7) for (const flow of flows()) sinks.metrics.countLayer7(flow);
  };
}

function eventOf({ kind, message }: DnsEvent, sinks: DnsFlowSinks): Layer7Event | undefined {
  const client = sideOf(message.client, message.clientPort, sinks);
  const server = sideOf(message.server, message.serverPort, sinks);
  if (client === undefined || server === undefined) return undefined;
  const isAnswer = kind === "answer";
  return {
    timeNs: BigInt(Math.floor(timeOf(message) * 1000)) * 1000n,
    source: isAnswer ? server : client,
    destination: isAnswer ? client : server,
    proto: message.proto === "tcp" ? tcp : udp,
    direction: "EGRESS",
    outcome: isAnswer ? "allowed" : outcomeOf(message),
    detail: isAnswer
      ? { type: "RESPONSE", latency_ns: `${message.latencyUs * 1000}`, dns: answerOf(message) }
      : { type: "REQUEST", dns: questionOf(message) },
  };
}

function timeOf({ time }: Exchange): number {
  const now = Date.now();
  return time > now || time < now - latestMs ? now : time;
}

function outcomeOf({ verdict }: QueryMessage): Layer7Event["outcome"] {
  if (verdict === "refused") return "denied";
  return verdict === "audit" ? "audit" : "allowed";
}

function questionOf({ name, type }: Exchange): FlowDns {
  return { query: name, observation_source: "proxy", qtypes: [type] };
}

function answerOf(message: AnswerMessage): FlowDns {
  const { addresses, cnames, rcode } = message;
  const dns: FlowDns = questionOf(message);
  if (addresses.length > 0) {
    dns.ips = addresses.map(({ ip }) => ip);
    dns.ttl = Math.min(...addresses.map(({ ttl }) => ttl));
  }
  if (cnames.length > 0) dns.cnames = cnames;
  if (rcode !== 0) dns.rcode = rcode;
  const types = [
    ...cnames.map(() => "CNAME"),
    ...addresses.map(({ ip }) => (ip.includes(":") ? "AAAA" : "A")),
  ];
  if (types.length > 0) dns.rrtypes = types;
  return dns;
}

function sideOf(text: string, port: number, { endpointAt, ipcache }: DnsFlowSinks): Layer7Side | undefined {
  const ip = tryParseIp(text);
  if (ip === undefined) return undefined;
  const local = endpointAt(ip);
  const identity = local?.identity ?? (ipcache.get(hostPrefix(ip)) ?? ipcache.lookup(ip))?.identity ?? 0;
  return { ip, port, endpoint: local?.id ?? 0, identity };
}

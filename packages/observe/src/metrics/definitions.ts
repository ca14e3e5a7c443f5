import {
  dropReasonName,
  dropReasonText,
  eventType,
  icmpText,
  ipProtocol,
  layer7ProtocolOf,
  matchTypeText,
  protocolName,
  tracePointText,
} from "@axoneme/flow";
import { direction } from "./context.ts";
import { about, type RawFlow, verdict } from "./raw-flow.ts";
import type { MetricName, MetricSpec } from "./spec.ts";

/** A metric that is counted on raw fields. What tells its series apart is packed into one number below 2^29. */
export interface MetricDefinition {
  readonly metric: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** A bit of `about`: flows without it are not counted. */
  readonly of: number;
  /** The series that a flow belongs to; -1 when it is not counted. */
  readonly base: (flow: RawFlow) => number;
  /** Label values of a series. */
  readonly texts: (base: number) => readonly string[];
}

const verdictNames = [
  "VERDICT_UNKNOWN",
  "FORWARDED",
  "DROPPED",
  "ERROR",
  "AUDIT",
  "REDIRECTED",
  "TRACED",
  "TRANSLATED",
];
const tcpFlagNames = ["SYN", "SYN-ACK", "FIN", "RST"];
/** Host identity: its verdicts are not counted (as in the field). */
const hostIdentity = 1;

/** Stands for layer 7 among match types; its protocol is in the upper half, as in a subtype. */
const layer7Match = 7;

function matchText(match: number): string {
  if ((match & 0xf) !== layer7Match) return matchTypeText(match);
  return `l7/${layer7ProtocolOf(match).toLowerCase()}`;
}

const syn = 2;
const ack = 16;
const policyDenied = 133;
/** Protocols that a flow names. */
const layer4 = new Set<number>(Object.values(ipProtocol));

const hasPorts = (proto: number): boolean =>
  proto === ipProtocol.tcp || proto === ipProtocol.udp || proto === ipProtocol.sctp;
const family = (bit: number): string => (bit === 0 ? "IPv4" : "IPv6");

/** How a metric is counted on raw fields; undefined for those that are not. */
export function definitionOf({ name, options }: MetricSpec): MetricDefinition | undefined {
  if (name === "dns") return undefined;
  return name === "flows-to-world" ? flowsToWorld(options) : definitions[name];
}

const definitions: Readonly<Record<Exclude<MetricName, "dns" | "flows-to-world">, MetricDefinition>> = {
  flow: {
    metric: "hubble_flows_processed_total",
    help: "Flows seen, whether or not anybody read them",
    labels: ["protocol", "type", "subtype", "verdict"],
    of: about.all,
    base: (flow) => {
      const type = flow.part.kind === "verdict" ? eventType.policyVerdict : flow.part.type;
      const subtype = flow.part.kind === "verdict" ? 0 : flow.subtype;
      return (((((flow.proto << 8) | type) << 8) | subtype) << 3) | flow.verdict;
    },
    texts: (base) => [
      ((base >> 11) & 0xff) === eventType.l7
        ? layer7ProtocolOf((base >> 3) & 0xff)
        : protocolName(base >> 19),
      ...typeLabels((base >> 11) & 0xff, (base >> 3) & 0xff),
      verdictNames[base & 7] ?? "",
    ],
  },
  drop: {
    metric: "hubble_drop_total",
    help: "Flows with verdict DROPPED",
    labels: ["reason", "protocol"],
    of: about.dropped,
    base: (flow) => (flow.proto << 8) | flow.dropReason,
    texts: (base) => [dropReasonName(base & 0xff), protocolName(base >> 8)],
  },
  policy: {
    metric: "hubble_policy_verdicts_total",
    help: "Policy verdicts, those on messages of layer 7 too",
    labels: ["direction", "match", "action"],
    of: about.decision,
    base: (flow) => {
      const isLayer7 = flow.part.kind === "event";
      if (flow.sourceIdentity === hostIdentity && !isLayer7) return -1;
      const match = isLayer7 ? (flow.subtype & 0xf0) | layer7Match : flow.matchType;
      return (flow.verdict << 9) | (match << 1) | (flow.direction === direction.egress ? 1 : 0);
    },
    texts: (base) => [
      (base & 1) === 0 ? "ingress" : "egress",
      matchText((base >> 1) & 0xff),
      (verdictNames[base >> 9] ?? "").toLowerCase(),
    ],
  },
  tcp: {
    metric: "hubble_tcp_flags_total",
    help: "TCP flags of forwarded flows",
    labels: ["flag", "family"],
    of: about.tcp,
    base: (flow) => {
      const flag = tcpFlagOf(flow.tcpFlags);
      return flag < 0 ? -1 : (flag << 1) | flow.ipv6;
    },
    texts: (base) => [tcpFlagNames[base >> 1] ?? "", family(base & 1)],
  },
  icmp: {
    metric: "hubble_icmp_total",
    help: "ICMP flows",
    labels: ["family", "type"],
    of: about.icmp,
    base: (flow) => (flow.icmp << 1) | (flow.proto === ipProtocol.icmpv6 ? 1 : 0),
    texts: (base) => [family(base & 1), icmpText((base & 1) === 1, (base >> 1) & 0xff, base >> 9)],
  },
  "port-distribution": {
    metric: "hubble_port_distribution_total",
    help: "Forwarded flows that are not replies, by destination port",
    labels: ["protocol", "port"],
    of: about.request,
    base: (flow) => {
      const { proto } = flow;
      if (flow.verdict !== verdict.forwarded) return -1;
      return ((hasPorts(proto) ? flow.destinationPort : 0) << 8) | proto;
    },
    texts: (base) => [protocolName(base & 0xff), `${base >> 8}`],
  },
};

/** Of what is forwarded the requests, of what is dropped what policy refused, unless all drops are asked for. */
function flowsToWorld(options: ReadonlySet<string>): MetricDefinition {
  const anyDrop = options.has("any-drop");
  const synOnly = options.has("syn-only");
  const withPort = options.has("port");
  return {
    metric: "hubble_flows_to_world_total",
    help: "Flows to destinations outside the cluster",
    labels: withPort ? ["protocol", "verdict", "port"] : ["protocol", "verdict"],
    of: about.request | about.dropped,
    base: (flow) => {
      if (!flow.toWorld || !layer4.has(flow.proto)) return -1;
      if (flow.verdict === verdict.dropped && !anyDrop && flow.dropReason !== policyDenied) return -1;
      if (synOnly && flow.proto === ipProtocol.tcp && (flow.tcpFlags & (syn | ack)) !== syn) return -1;
      const port = withPort && hasPorts(flow.proto) ? flow.destinationPort : 0;
      return (((port << 8) | flow.proto) << 3) | flow.verdict;
    },
    texts: (base) => {
      const texts = [protocolName((base >> 3) & 0xff), verdictNames[base & 7] ?? ""];
      return withPort ? [...texts, `${base >> 11}`] : texts;
    },
  };
}

/** Index in tcpFlagNames; -1 when the flags are none of these. */
function tcpFlagOf(bits: number): number {
  if ((bits & 4) !== 0) return 3;
  if ((bits & 1) !== 0) return 2;
  if ((bits & 2) !== 0) return (bits & 16) !== 0 ? 1 : 0;
  return -1;
}

function typeLabels(type: number, subtype: number): [string, string] {
  if (type === eventType.drop) return ["Drop", dropReasonText(subtype)];
  if (type === eventType.trace) return ["Trace", tracePointText(subtype)];
  if (type === eventType.l7) return ["L7", layer7ProtocolOf(subtype)];
  return type === eventType.policyVerdict ? ["PolicyVerdict", ""] : ["Unknown", `${type}`];
}

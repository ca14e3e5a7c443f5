/** Names of the numbers in a record: observation points, reasons, protocols, flags. */

import { EventFlags, EventType } from "@axoneme/abi";

/** Event types (`type` of struct ax_event, numbers of the monitor messages), plus layer 7 and the store's own loss marker. */
export const eventType = {
  drop: EventType.DROP,
  trace: EventType.TRACE,
  policyVerdict: EventType.POLICY_VERDICT,
  traceSock: EventType.TRACE_SOCK,
  l7: 129,
  lost: 255,
} as const;

/** Bits of `flags` of struct ax_event. */
export const eventFlag = {
  egress: EventFlags.EGRESS,
  ingress: EventFlags.INGRESS,
  ipv6: EventFlags.IPV6,
  auditEgress: EventFlags.AUDIT_EGRESS,
  auditIngress: EventFlags.AUDIT_INGRESS,
  deniedEgress: EventFlags.DENIED_EGRESS,
  deniedIngress: EventFlags.DENIED_INGRESS,
  translated: EventFlags.TRANSLATED,
} as const;

export const ipProtocol = { icmp: 1, igmp: 2, tcp: 6, udp: 17, icmpv6: 58, vrrp: 112, sctp: 132 } as const;

/** Observation points by their datapath number (`subtype` of a trace). */
const points = [
  "to-endpoint",
  "to-proxy",
  "to-host",
  "to-stack",
  "to-overlay",
  "from-endpoint",
  "from-proxy",
  "from-host",
  "from-stack",
  "from-overlay",
  "from-network",
  "to-network",
  "from-crypto",
  "to-crypto",
] as const;

const pointNames = points.map((text) => text.toUpperCase().replaceAll("-", "_"));

/** `to-endpoint`, ...; the number as text when unknown. */
export function tracePointText(point: number): string {
  return points[point] ?? `${point}`;
}

/** Datapath number of `to-endpoint`, ...; undefined when unknown. */
export function tracePointNumber(text: string): number | undefined {
  const index = (points as readonly string[]).indexOf(text);
  return index < 0 ? undefined : index;
}

/** All observation points as the CLI writes them. */
export function tracePointTexts(): readonly string[] {
  return points;
}

/** Enum name (`flow.TraceObservationPoint`). */
export function tracePointName(point: number): string {
  return pointNames[point] ?? "UNKNOWN_POINT";
}

/** Datapath number of the observation point where a packet goes to a proxy of its node. */
export const tracePointToProxy = 1;

/** Datapath number of trace reason 5: connection tracking did not look. */
export const traceReasonUnknown = 5;
export const traceReasonReply = 2;
/** Bit of `reason`: the packet was encrypted. */
export const traceReasonEncrypted = 0x80;

const reasonNames = [
  "NEW",
  "ESTABLISHED",
  "REPLY",
  "RELATED",
  "REOPENED",
  undefined,
  "SRV6_ENCAP",
  "SRV6_DECAP",
  "ENCRYPT_OVERLAY",
];

/** Enum name (`flow.TraceReason`); undefined for unknown. */
export function traceReasonName(reason: number): string | undefined {
  return reasonNames[reason & ~traceReasonEncrypted];
}

const sockPoints = [
  undefined,
  "PRE_DIRECTION_FWD",
  "POST_DIRECTION_FWD",
  "PRE_DIRECTION_REV",
  "POST_DIRECTION_REV",
];

/** Enum name (`flow.SocketTranslationPoint`). */
export function sockPointName(point: number): string | undefined {
  const name = sockPoints[point];
  return name === undefined ? undefined : `SOCK_XLATE_POINT_${name}`;
}

const sockTexts = [undefined, "pre-xlate-fwd", "post-xlate-fwd", "pre-xlate-rev", "post-xlate-rev"];

/** `pre-xlate-fwd`, ...; the number as text when unknown. */
export function sockPointText(point: number): string {
  return sockTexts[point] ?? `${point}`;
}

/** Number of `pre-xlate-fwd`, ...; undefined when unknown. */
export function sockPointNumber(text: string): number | undefined {
  const index = sockTexts.indexOf(text);
  return index < 1 ? undefined : index;
}

const matchTexts = ["none", "l3-only", "l3-l4", "l4-only", "all", "l3-proto", "proto-only"];

/** Policy match type as the metrics say it (`l3-l4`). */
export function matchTypeText(type: number): string {
  return matchTexts[type] ?? "unknown";
}

/** TCP flag bits in the order in which people read them. */
export const tcpFlagBits: readonly (readonly [
  "SYN" | "ACK" | "RST" | "FIN" | "PSH" | "URG" | "ECE" | "CWR",
  number,
])[] = [
  ["SYN", 2],
  ["ACK", 16],
  ["RST", 4],
  ["FIN", 1],
  ["PSH", 8],
  ["URG", 32],
  ["ECE", 64],
  ["CWR", 128],
];

/** Protocol name as flows and metrics write it; the number as text when it has none. */
export function protocolName(proto: number): string {
  switch (proto) {
    case ipProtocol.icmp:
      return "ICMPv4";
    case ipProtocol.igmp:
      return "IGMP";
    case ipProtocol.tcp:
      return "TCP";
    case ipProtocol.udp:
      return "UDP";
    case ipProtocol.icmpv6:
      return "ICMPv6";
    case ipProtocol.vrrp:
      return "VRRP";
    case ipProtocol.sctp:
      return "SCTP";
    default:
      return `${proto}`;
  }
}

const reservedIdentities = [
  "unknown",
  "host",
  "world",
  "unmanaged",
  "health",
  "init",
  "remote-node",
  "kube-apiserver",
  "ingress",
  "world-ipv4",
  "world-ipv6",
];

/** Name of a reserved identity (`host`, `world`, ...); undefined for an allocated one. */
export function reservedIdentityName(identity: number): string | undefined {
  return reservedIdentities[identity];
}

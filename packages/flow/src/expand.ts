import { formatIp, formatMac, type Ip } from "@axoneme/base";
import { dropDirection, traceDirection } from "./direction.ts";
import { dropReasonName } from "./drop-reason.ts";
import { endpointOf } from "./endpoint.ts";
import type { Flow, FlowIcmp, FlowLayer4, FlowPolicy, FlowPorts, TrafficDirection } from "./flow.ts";
import {
  eventFlag,
  eventType,
  ipProtocol,
  sockPointName,
  tracePointName,
  traceReasonEncrypted,
  traceReasonName,
  traceReasonReply,
  traceReasonUnknown,
} from "./names.ts";
import { isRedirect, type Outcome, type Part, partsOf, policyDenied, policyDenyRule } from "./parts.ts";
import { type RawEvent, type RecordRef, readEvent } from "./record.ts";
import type { FlowResolver, RuleInfo } from "./resolver.ts";
import { summaryOf, tcpFlags } from "./summary.ts";
import { formatTimestamp } from "./time.ts";

/**
 * The flows of one stored record, in the order in which the field emits them: one, or up to three when policy
 * decisions are in it (see `partsOf`). Empty for a loss marker. `uuidOf` names the n-th flow of the record.
 */
export function toFlows(record: RecordRef, resolver: FlowResolver, uuidOf: (part: number) => string): Flow[] {
  const event = readEvent(record);
  if (event.type === eventType.l7 && resolver.layer7?.(event.len) === undefined) return [];
  const parts = partsOf(event.type, event.subtype, event.flags);
  return parts.map((part, i) => toFlow(event, part, resolver, uuidOf(i)));
}

function toFlow(event: RawEvent, part: Part, resolver: FlowResolver, uuid: string): Flow {
  const flow: Flow = { time: formatTimestamp(event.timeNs), uuid };
  setLayers(flow, event);
  flow.source = endpointOf(resolver, event.saddr, event.srcEp, event.srcIdentity);
  flow.destination = endpointOf(resolver, event.daddr, event.dstEp, event.dstIdentity);
  setProcesses(flow, event, resolver);
  flow.Type = event.type === eventType.traceSock ? "SOCK" : "L3_L4";
  flow.node_name = resolver.nodeName;
  if (resolver.nodeLabels !== undefined && resolver.nodeLabels.length > 0)
    flow.node_labels = resolver.nodeLabels;
  setNames(flow, event, resolver);
  if (part.kind === "verdict") setVerdict(flow, event, part, resolver);
  else if (part.type === eventType.l7) setLayer7(flow, event, part, resolver);
  else setEvent(flow, event, part.type, resolver);
  setServices(flow, event, resolver);
  setInterface(flow, event, resolver);
  const summary = summaryOf(flow);
  if (summary !== "") flow.Summary = summary;
  return flow;
}

function setLayers(flow: Flow, event: RawEvent): void {
  if (event.type !== eventType.traceSock && (isSet(event.smac) || isSet(event.dmac))) {
    flow.ethernet = { source: formatMac(event.smac), destination: formatMac(event.dmac) };
  }
  flow.IP = {
    source: formatIp(event.saddr),
    destination: formatIp(event.daddr),
    ipVersion: (event.flags & eventFlag.ipv6) !== 0 ? "IPv6" : "IPv4",
  };
  if (event.type === eventType.trace && (event.reason & traceReasonEncrypted) !== 0) flow.IP.encrypted = true;
  const l4 = layer4(event);
  if (l4 !== undefined) flow.l4 = l4;
}

// Plain assignments, here and below: spreading would cost more than all the rest of a flow.
function isSet(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return true;
  return false;
}

function layer4(event: RawEvent): FlowLayer4 | undefined {
  switch (event.proto) {
    case ipProtocol.tcp: {
      const tcp: NonNullable<FlowLayer4["TCP"]> = ports(event);
      const flags = tcpFlags(event.tcpFlags);
      if (flags !== undefined) tcp.flags = flags;
      return { TCP: tcp };
    }
    case ipProtocol.udp:
      return { UDP: ports(event) };
    case ipProtocol.sctp:
      return { SCTP: ports(event) };
    case ipProtocol.icmp:
      return { ICMPv4: icmp(event) };
    case ipProtocol.icmpv6:
      return { ICMPv6: icmp(event) };
    case ipProtocol.vrrp:
      return { VRRP: {} };
    case ipProtocol.igmp:
      return { IGMP: {} };
    default:
      return undefined;
  }
}

function ports({ sport, dport }: RawEvent): FlowPorts {
  if (sport !== 0 && dport !== 0) return { source_port: sport, destination_port: dport };
  const ports: FlowPorts = {};
  if (sport !== 0) ports.source_port = sport;
  if (dport !== 0) ports.destination_port = dport;
  return ports;
}

function icmp({ icmpType, icmpCode }: RawEvent): FlowIcmp {
  const icmp: FlowIcmp = {};
  if (icmpType !== 0) icmp.type = icmpType;
  if (icmpCode !== 0) icmp.code = icmpCode;
  return icmp;
}

function setProcesses(flow: Flow, event: RawEvent, resolver: FlowResolver): void {
  if (resolver.processById === undefined) return;
  const source = event.srcProcess === 0 ? undefined : resolver.processById(event.srcProcess, event.timeNs);
  if (source !== undefined && flow.source !== undefined) flow.source.process = source;
  const destination =
    event.dstProcess === 0 ? undefined : resolver.processById(event.dstProcess, event.timeNs);
  if (destination !== undefined && flow.destination !== undefined) flow.destination.process = destination;
}

/** The names of an address are those the other side's endpoint has learnt. */
function setNames(flow: Flow, event: RawEvent, resolver: FlowResolver): void {
  if (resolver.namesOf === undefined) return;
  const source = event.dstEp === 0 ? undefined : resolver.namesOf(event.saddr, event.dstEp);
  if (source !== undefined && source.length > 0) flow.source_names = source;
  const destination = event.srcEp === 0 ? undefined : resolver.namesOf(event.daddr, event.srcEp);
  if (destination !== undefined && destination.length > 0) flow.destination_names = destination;
}

function setVerdict(
  flow: Flow,
  event: RawEvent,
  part: Part & { kind: "verdict" },
  resolver: FlowResolver,
): void {
  const rule = resolver.ruleById(part.direction === "EGRESS" ? event.ruleEgress : event.ruleIngress);
  flow.event_type = { type: eventType.policyVerdict };
  flow.traffic_direction = part.direction;
  if (part.outcome === "denied") {
    flow.verdict = "DROPPED";
    setDropReason(flow, dropReasonOf(event, rule));
  } else {
    const redirected = isRedirect(part, event.subtype);
    if (part.outcome === "audit") flow.verdict = "AUDIT";
    else flow.verdict = redirected ? "REDIRECTED" : "FORWARDED";
    if (part.outcome === "allowed") flow.is_reply = false;
  }
  const match = matchTypeOf(rule, part.outcome);
  if (match !== 0) flow.policy_match_type = match;
  setPolicies(flow, part.direction, part.outcome !== "allowed", rule);
}

function dropReasonOf(event: RawEvent, rule: RuleInfo | undefined): number {
  if (event.type === eventType.drop) return event.subtype;
  return rule === undefined || rule.defaultDeny === true ? policyDenied : policyDenyRule;
}

/** Match type of a verdict as in the field: 0 none, 1 L3-only, 2 L3-L4, 3 L4-only, 4 all, 5 L3-proto, 6 proto-only. */
export function matchTypeOf(rule: RuleInfo | undefined, outcome: Outcome): number {
  if (rule === undefined) return outcome === "allowed" ? 4 : 0;
  if (rule.defaultDeny === true) return 0;
  if (rule.l4 === undefined || rule.l4 === "port") return rule.l3 === false ? 3 : 2;
  if (rule.l4 === "protocol") return rule.l3 === false ? 6 : 5;
  return rule.l3 === false ? 4 : 1;
}

/** The field lists policies of explicit denies only; we also name the policies behind a default deny. */
function setPolicies(
  flow: Flow,
  direction: TrafficDirection,
  denied: boolean,
  rule: RuleInfo | undefined,
): void {
  const policies: readonly FlowPolicy[] = rule?.policies ?? [];
  if (policies.length === 0) return;
  if (direction === "EGRESS") {
    if (denied) flow.egress_denied_by = policies;
    else flow.egress_allowed_by = policies;
  } else if (denied) flow.ingress_denied_by = policies;
  else flow.ingress_allowed_by = policies;
}

function setEvent(flow: Flow, event: RawEvent, type: number, resolver: FlowResolver): void {
  flow.event_type = event.subtype === 0 ? { type } : { type, sub_type: event.subtype };
  if (type === eventType.drop) setDrop(flow, event, resolver);
  else if (type === eventType.trace) setTrace(flow, event);
  else setSock(flow, event);
}

/** A message that a proxy passed on or refused. */
function setLayer7(
  flow: Flow,
  event: RawEvent,
  part: Part & { kind: "event" },
  resolver: FlowResolver,
): void {
  const detail = resolver.layer7?.(event.len);
  flow.Type = "L7";
  if (detail !== undefined) flow.l7 = detail;
  flow.event_type = { type: eventType.l7 };
  flow.traffic_direction = (event.flags & eventFlag.egress) !== 0 ? "EGRESS" : "INGRESS";
  flow.is_reply = detail?.type === "RESPONSE";
  if (flow.is_reply) flow.reply = true;
  if (part.outcome === "denied") {
    flow.verdict = "DROPPED";
    setDropReason(flow, policyDenied);
  } else flow.verdict = part.outcome === "audit" ? "AUDIT" : "FORWARDED";
}

function setDropReason(flow: Flow, reason: number): void {
  flow.drop_reason = reason;
  const name = dropReasonName(reason);
  if (name !== "DROP_REASON_UNKNOWN") flow.drop_reason_desc = name;
}

function setDrop(flow: Flow, event: RawEvent, resolver: FlowResolver): void {
  flow.verdict = "DROPPED";
  setDropReason(flow, event.subtype);
  const direction = dropDirection(event.flags, event.srcEp, event.dstEp);
  if (direction === undefined) return;
  flow.traffic_direction = direction;
  if (event.subtype !== policyDenied && event.subtype !== policyDenyRule) return;
  const rule = direction === "EGRESS" ? event.ruleEgress : event.ruleIngress;
  setPolicies(flow, direction, true, resolver.ruleById(rule));
}

function setTrace(flow: Flow, event: RawEvent): void {
  flow.verdict = "FORWARDED";
  flow.trace_observation_point = tracePointName(event.subtype);
  const reason = event.reason & ~traceReasonEncrypted;
  const name = traceReasonName(reason);
  if (name !== undefined) flow.trace_reason = name;
  if (reason === traceReasonUnknown) return;
  const isReply = reason === traceReasonReply;
  flow.is_reply = isReply;
  if (isReply) flow.reply = true;
  const direction = traceDirection(event.subtype, isReply, event.srcEp, event.dstEp);
  if (direction !== undefined) flow.traffic_direction = direction;
}

function setSock(flow: Flow, event: RawEvent): void {
  const post = event.subtype === 2 || event.subtype === 4;
  flow.verdict = post ? "TRANSLATED" : "TRACED";
  const point = sockPointName(event.subtype);
  if (point !== undefined) flow.sock_xlate_point = point;
}

/** A translated packet names its Service by what the client dialled; on a reply that is the source. */
function setServices(flow: Flow, event: RawEvent, resolver: FlowResolver): void {
  const service = (ip: Ip, port: number): { name: string; namespace: string } | undefined =>
    resolver.serviceByAddr(ip, port, event.proto);
  const translated = (event.flags & eventFlag.translated) !== 0;
  const dialled = translated ? service(event.origDaddr, event.origDport) : undefined;
  const source = service(event.saddr, event.sport) ?? (flow.is_reply === true ? dialled : undefined);
  const destination = service(event.daddr, event.dport) ?? (flow.is_reply === true ? undefined : dialled);
  if (source !== undefined) flow.source_service = source;
  if (destination !== undefined) flow.destination_service = destination;
}

function setInterface(flow: Flow, event: RawEvent, resolver: FlowResolver): void {
  if (event.ifindex === 0) return;
  const name = resolver.interfaceName(event.ifindex);
  flow.interface = name === undefined ? { index: event.ifindex } : { index: event.ifindex, name };
}

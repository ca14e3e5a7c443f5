import { formatIp, type Ip } from "@axoneme/base";
import {
  at,
  dropReasonText,
  eventFlag,
  eventType,
  type FlowResolver,
  formatTimestamp,
  icmpText,
  ipProtocol,
  protocolName,
  type RawEvent,
  type RecordRef,
  readEvent,
  sockPointText,
  tcpFlagBits,
  tracePointText,
  traceReasonName,
} from "@axoneme/flow";
import type { MonitorLine, MonitorQuery, MonitorRecord } from "./api.ts";

const typeNames: Record<number, MonitorRecord["type"]> = {
  [eventType.drop]: "drop",
  [eventType.trace]: "trace",
  [eventType.policyVerdict]: "policy-verdict",
  [eventType.traceSock]: "trace-sock",
};

/** Whether a record is wanted; losses always are. */
export function monitorTest(query: MonitorQuery): (record: RecordRef) => boolean {
  const types = new Set<string>(query.type ?? []);
  const from = new Set(query.from ?? []);
  const to = new Set(query.to ?? []);
  return ({ view, offset }) => {
    const type = view.getUint8(offset + at.type);
    if (type === eventType.lost) return true;
    if (type === eventType.l7) return false; // not of the datapath
    if (types.size > 0 && !types.has(typeNames[type] ?? "unknown")) return false;
    if (from.size > 0 && !from.has(view.getUint16(offset + at.srcEp, true))) return false;
    return to.size === 0 || to.has(view.getUint16(offset + at.dstEp, true));
  };
}

/** One record as a line of /v1/events. */
export function monitorLine(record: RecordRef, seq: number, resolver: FlowResolver): MonitorLine {
  const event = readEvent(record);
  if (event.type === eventType.lost) return { lost: event.len };
  const name = resolver.interfaceName(event.ifindex);
  const reason = event.type === eventType.trace ? traceReasonName(event.reason) : undefined;
  const flags = tcpFlagBits.filter(([, bit]) => (event.tcpFlags & bit) !== 0).map(([flag]) => flag);
  const isIcmp = event.proto === ipProtocol.icmp || event.proto === ipProtocol.icmpv6;
  const icmp6 = event.proto === ipProtocol.icmpv6;
  const translated = (event.flags & eventFlag.translated) !== 0;
  return {
    record: {
      seq,
      time: formatTimestamp(event.timeNs),
      type: typeNames[event.type] ?? "unknown",
      subtype: subtypeText(event),
      ...(reason === undefined ? {} : { reason: reason.toLowerCase() }),
      flags: flagNames(event.flags),
      protocol: protocolName(event.proto),
      ...(event.proto === ipProtocol.tcp ? { tcpFlags: flags.join(",") } : {}),
      ...(isIcmp ? { icmp: icmpText(icmp6, event.icmpType, event.icmpCode) } : {}),
      source: addressText(event.saddr, event.sport),
      destination: addressText(event.daddr, event.dport),
      ...(translated ? { original: addressText(event.origDaddr, event.origDport) } : {}),
      srcIdentity: event.srcIdentity,
      dstIdentity: event.dstIdentity,
      srcEndpoint: event.srcEp,
      dstEndpoint: event.dstEp,
      ruleEgress: event.ruleEgress,
      ruleIngress: event.ruleIngress,
      ifindex: event.ifindex,
      ...(name === undefined ? {} : { interface: name }),
      length: event.len,
      cpu: event.cpu,
    },
  };
}

function subtypeText(event: RawEvent): string {
  if (event.type === eventType.drop) return dropReasonText(event.subtype);
  if (event.type === eventType.trace || event.type === eventType.policyVerdict)
    return tracePointText(event.subtype);
  return event.type === eventType.traceSock ? sockPointText(event.subtype) : "";
}

function flagNames(flags: number): string[] {
  return Object.entries(eventFlag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));
}

/** `10.0.0.1:80`, `[fd00::1]:80`; without a port when it is 0. */
function addressText(ip: Ip, port: number): string {
  const text = formatIp(ip);
  if (port === 0) return text;
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
}

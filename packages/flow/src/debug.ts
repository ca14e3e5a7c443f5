import { formatIp, type Ip, isV4 } from "@axoneme/base";
import { dropReasonText } from "./drop-reason.ts";
import { endpointOf } from "./endpoint.ts";
import type { FlowEndpoint } from "./flow.ts";
import { eventFlag, eventType, protocolName, traceReasonEncrypted, traceReasonName } from "./names.ts";
import { isRedirect, type Part, partsOf } from "./parts.ts";
import { at, type RawEvent, type RecordRef, readEvent } from "./record.ts";
import type { FlowResolver } from "./resolver.ts";

/**
 * `flow.DebugEvent` in its JSON form. The arguments are the field's for that type, in its byte orders (addresses and ports as
 * they are in a packet, read as little-endian numbers); one that a record does not tell is absent.
 */
export interface DebugEvent {
  type: string;
  /** The local endpoint that it is about; absent: none is. */
  source?: FlowEndpoint;
  /** The same for all packets of a connection, in both directions; made of addresses, ports and protocol. */
  hash: number;
  arg1?: number;
  arg2?: number;
  arg3?: number;
  message: string;
  cpu: number;
}

/** What the datapath did to a packet, one after the other. */
type Step =
  | "frontend"
  | "backend"
  | "no-backend"
  | "conntrack"
  | "created"
  | "deliver"
  | "host"
  | "stack"
  | "encapsulate"
  | "error"
  | (Part & { kind: "verdict" });

/** What is done with a packet by its observation point; the others have no type of debug event. */
const forwarding: Readonly<Record<number, Step>> = { 0: "deliver", 2: "host", 3: "stack", 4: "encapsulate" };
const noService = 158;
const reasonNew = 0;
const none: readonly Step[] = [];

/**
 * How many debug events a record stands for. Looks at bytes only: for readers that count before they read.
 */
export function debugCount(record: RecordRef): number {
  return stepsOf(record).length;
}

/**
 * The debug events that a stored record stands for, in the order in which the datapath did those things. The datapath writes no
 * debug messages; but a record tells which service was looked up, what conntrack and policy said and where the packet went,
 * and this says them in the field's types. None for messages of layer 7 and losses.
 */
export function toDebugEvents(record: RecordRef, resolver: FlowResolver): DebugEvent[] {
  const steps = stepsOf(record);
  if (steps.length === 0) return [];
  const event = readEvent(record);
  const hash = connectionHash(event);
  return steps.map((step) => {
    const { type, message, ...args } = say(step, event, record);
    const source = sourceOf(step, event, resolver);
    return { type, ...(source === undefined ? {} : { source }), hash, ...args, message, cpu: event.cpu };
  });
}

function stepsOf({ view, offset }: RecordRef): readonly Step[] {
  const type = view.getUint8(offset + at.type);
  const isDrop = type === eventType.drop;
  if (!isDrop && type !== eventType.trace && type !== eventType.policyVerdict) return none;
  const subtype = view.getUint8(offset + at.subtype);
  const flags = view.getUint8(offset + at.flags);
  const verdicts = partsOf(type, subtype, flags).filter((part) => part.kind === "verdict");
  const translated = (flags & eventFlag.translated) !== 0;
  if (isDrop) {
    const end = verdicts.length > 0 ? [] : ([subtype === noService ? "no-backend" : "error"] as const);
    return [...(translated ? (["frontend"] as const) : []), ...verdicts, ...end];
  }
  const reason = view.getUint8(offset + at.reason) & ~traceReasonEncrypted;
  const forward = forwarding[subtype];
  return [
    ...(translated ? (["frontend", "backend"] as const) : []),
    ...(traceReasonName(reason) === undefined ? [] : (["conntrack"] as const)),
    ...verdicts,
    ...(reason === reasonNew ? (["created"] as const) : []),
    ...(forward === undefined ? [] : [forward]),
  ];
}

type Said = Pick<DebugEvent, "type" | "arg1" | "arg2" | "arg3" | "message">;

function say(step: Step, event: RawEvent, record: RecordRef): Said {
  if (typeof step !== "string") return sayPolicy(step, event);
  const { srcIdentity, dstIdentity, dstEp, subtype } = event;
  const connection = `${text(event.saddr, event.sport)} -> ${text(event.daddr, event.dport)} ${protocolName(event.proto)}`;
  switch (step) {
    case "frontend":
    case "backend":
      return sayService(step, event, record);
    case "no-backend":
      return {
        type: `DBG_LB${versionOf(event)}_LOOKUP_BACKEND_FAIL`,
        message: `no backend for ${connection}`,
      };
    case "conntrack": {
      const reason = event.reason & ~traceReasonEncrypted;
      const message = `conntrack: ${traceReasonName(reason)?.toLowerCase()}, ${connection}`;
      return { type: "DBG_CT_VERDICT", arg1: reason, message };
    }
    case "created": {
      const isLb = (event.flags & eventFlag.translated) !== 0 && versionOf(event) === 4;
      const frontend = isLb ? { arg3: rawEnd(record, at.origDaddr, at.origDport).arg1 } : {};
      const message = `conntrack entry created: ${connection}, identity ${srcIdentity} -> ${dstIdentity}`;
      return { type: `DBG_CT_CREATED${versionOf(event)}`, arg2: srcIdentity, ...frontend, message };
    }
    case "deliver": {
      const message = `delivered to local endpoint ${dstEp}, from identity ${srcIdentity}: ${connection}`;
      return { type: "DBG_LOCAL_DELIVERY", arg1: dstEp, arg2: srcIdentity, message };
    }
    case "host":
      return { type: "DBG_TO_HOST", message: `to the host: ${connection}` };
    case "stack":
      return { type: "DBG_TO_STACK", message: `to the node's stack: ${connection}` };
    case "encapsulate": {
      const message = `into the tunnel, from identity ${srcIdentity}: ${connection}`;
      return { type: "DBG_ENCAP", arg2: srcIdentity, message };
    }
    case "error": {
      const message = `dropped, ${dropReasonText(subtype)} (${subtype}): ${connection}`;
      return { type: "DBG_ERROR_RET", arg2: subtype, message };
    }
  }
}

function sayService(step: "frontend" | "backend", event: RawEvent, record: RecordRef): Said {
  const lookup = `DBG_LB${versionOf(event)}_LOOKUP`;
  if (step === "frontend") {
    const message = `service look-up of ${text(event.origDaddr, event.origDport)} ${protocolName(event.proto)}`;
    return { type: `${lookup}_FRONTEND`, ...rawEnd(record, at.origDaddr, at.origDport), message };
  }
  const message = `the service's backend is ${text(event.daddr, event.dport)}`;
  return { type: `${lookup}_BACKEND_SLOT_SUCCESS`, ...rawEnd(record, at.daddr, at.dport), message };
}

function versionOf({ flags }: RawEvent): 4 | 6 {
  return (flags & eventFlag.ipv6) === 0 ? 4 : 6;
}

/** The last four bytes of an address and a port at these offsets, as the datapath has them. */
function rawEnd({ view, offset }: RecordRef, ip: number, port: number): { arg1: number; arg2: number } {
  return { arg1: view.getUint32(offset + ip + 12, true), arg2: view.getUint16(offset + port, true) };
}

/** The port of a proxy is in no record: then the argument that has it is absent, and not 0, which means none. */
function sayPolicy(part: Part & { kind: "verdict" }, event: RawEvent): Said {
  const { srcIdentity, dstIdentity, dport, proto, ruleEgress, ruleIngress } = event;
  const isEgress = part.direction === "EGRESS";
  const rule = isEgress ? ruleEgress : ruleIngress;
  const asked = `identity ${srcIdentity} -> ${dstIdentity} port ${dport} ${protocolName(proto)}`;
  const about = `${asked}${rule === 0 ? "" : ` (rule ${rule})`}`;
  const policy = `${isEgress ? "egress" : "ingress"} policy`;
  if (part.outcome !== "allowed") {
    const verb = part.outcome === "denied" ? "refuses" : "would refuse (audit)";
    const message = `${policy} ${verb} ${about}`;
    return { type: "DBG_POLICY_DENIED", arg1: srcIdentity, arg2: dstIdentity, message };
  }
  const redirected = isRedirect(part, event.subtype);
  const message = `${policy} allows ${about}${redirected ? ", through the proxy" : ""}`;
  return { type: "DBG_L4_POLICY", ...(redirected ? {} : { arg1: 0 }), arg2: isEgress ? 0 : 1, message };
}

/** A decision is its side's; all else is of the local endpoint that sends, or else of the one that receives. */
function sourceOf(step: Step, event: RawEvent, resolver: FlowResolver): FlowEndpoint | undefined {
  const { saddr, srcEp, srcIdentity, daddr, dstEp, dstIdentity } = event;
  const isDestination = typeof step === "string" ? srcEp === 0 : step.direction === "INGRESS";
  if ((isDestination ? dstEp : srcEp) === 0) return undefined;
  return isDestination
    ? endpointOf(resolver, daddr, dstEp, dstIdentity)
    : endpointOf(resolver, saddr, srcEp, srcIdentity);
}

/** Sums are the same in both directions. */
function connectionHash({ saddr, sport, daddr, dport, proto }: RawEvent): number {
  return (endHash(saddr, sport) + endHash(daddr, dport) + proto) >>> 0;
}

/** FNV-1a, 32 bits. */
function endHash(ip: Ip, port: number): number {
  let hash = 0x811c9dc5;
  for (const byte of [...ip, port >> 8, port & 0xff]) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function text(ip: Ip, port: number): string {
  const address = formatIp(ip);
  if (port === 0) return address;
  return isV4(ip) ? `${address}:${port}` : `[${address}]:${port}`;
}

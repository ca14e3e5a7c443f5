import { eventFlag, eventType, tracePointToProxy } from "./names.ts";

/** Numbers of the drop reasons that are policy decisions. */
export const policyDenied = 133;
export const policyDenyRule = 181;

export type Outcome = "allowed" | "denied" | "audit";

/** One flow that a record stands for: a policy verdict in one direction, or the event itself. */
export type Part =
  | { readonly kind: "verdict"; readonly direction: "EGRESS" | "INGRESS"; readonly outcome: Outcome }
  /** `outcome`: of a message of layer 7, what the proxy did with it. */
  | { readonly kind: "event"; readonly type: number; readonly outcome?: Outcome };

/** Whether this decision sends the packet to the node's proxy. */
export function isRedirect(part: Part, subtype: number): boolean {
  return part.kind === "verdict" && part.direction === "EGRESS" && subtype === tracePointToProxy;
}

const none: readonly Part[] = [];
const drop: Part = { kind: "event", type: eventType.drop };
const trace: Part = { kind: "event", type: eventType.trace };
const onlyDrop: readonly Part[] = [drop];
const onlyTrace: readonly Part[] = [trace];
const onlySock: readonly Part[] = [{ kind: "event", type: eventType.traceSock }];

function outcome(flags: number, denied: number, audit: number): Outcome {
  if ((flags & denied) !== 0) return "denied";
  return (flags & audit) !== 0 ? "audit" : "allowed";
}

function verdictParts(flags: number): readonly Part[] {
  const f = eventFlag;
  const parts: Part[] = [];
  if ((flags & (f.egress | f.deniedEgress | f.auditEgress)) !== 0) {
    parts.push({
      kind: "verdict",
      direction: "EGRESS",
      outcome: outcome(flags, f.deniedEgress, f.auditEgress),
    });
  }
  if ((flags & (f.ingress | f.deniedIngress | f.auditIngress)) !== 0) {
    parts.push({
      kind: "verdict",
      direction: "INGRESS",
      outcome: outcome(flags, f.deniedIngress, f.auditIngress),
    });
  }
  return parts;
}

const decisionsByFlags = Array.from({ length: 256 }, (_, flags) => verdictParts(flags));
const isDenied = (part: Part): boolean => part.kind === "verdict" && part.outcome === "denied";
/** A connection that is let in: its decisions, and the first packet on its way. */
const verdictsByFlags = decisionsByFlags.map((parts) => (parts.some(isDenied) ? parts : [...parts, trace]));
const dropsByFlags = decisionsByFlags.map((parts) => (parts.some(isDenied) ? [...parts, drop] : onlyDrop));

const layer7ByFlags = Array.from({ length: 256 }, (_, flags): readonly Part[] => {
  const { deniedEgress, deniedIngress, auditEgress, auditIngress } = eventFlag;
  const decided = outcome(flags, deniedEgress | deniedIngress, auditEgress | auditIngress);
  return [{ kind: "event", type: eventType.l7, outcome: decided }];
});

/**
 * The flows that a record stands for, in the order in which the field emits them: egress verdict, ingress verdict,
 * the event. Where the field sends several messages for a packet, the datapath writes one record and we say them all:
 * a new connection under policy is a verdict record (its `subtype` is the observation point) and means its decisions
 * and a trace; a drop by policy means its decisions and the drop. The arrays are shared; do not change them.
 */
export function partsOf(type: number, subtype: number, flags: number): readonly Part[] {
  switch (type) {
    case eventType.policyVerdict:
      return verdictsByFlags[flags] ?? none;
    case eventType.drop:
      return subtype === policyDenied || subtype === policyDenyRule
        ? (dropsByFlags[flags] ?? onlyDrop)
        : onlyDrop;
    case eventType.trace:
      return onlyTrace;
    case eventType.traceSock:
      return onlySock;
    case eventType.l7:
      return layer7ByFlags[flags] ?? none;
    default:
      return none;
  }
}

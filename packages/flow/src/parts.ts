import { eventFlag, eventType } from "./names.ts";

/** Numbers of the drop reasons that are policy decisions. */
export const policyDenied = 133;
export const policyDenyRule = 181;

export type Outcome = "allowed" | "denied" | "audit";

/** One flow that a record stands for: a policy verdict in one direction, or the event itself. */
export type Part =
  | { readonly kind: "verdict"; readonly direction: "EGRESS" | "INGRESS"; readonly outcome: Outcome }
  | { readonly kind: "event" };

const event: Part = { kind: "event" };
const onlyEvent: readonly Part[] = [event];
const none: readonly Part[] = [];

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

const verdictsByFlags = Array.from({ length: 256 }, (_, flags) => verdictParts(flags));
const dropsByFlags = verdictsByFlags.map((verdicts) =>
  verdicts.some((part) => part.kind === "verdict" && part.outcome === "denied")
    ? [...verdicts, event]
    : onlyEvent,
);

/**
 * The flows that a record stands for, in the order in which the field emits them: egress verdict, ingress verdict,
 * the event. A drop by policy carries its decisions itself: where the field sends a verdict and a drop message for the
 * same packet, we send one record and say both. The arrays are shared; do not change them.
 */
export function partsOf(type: number, subtype: number, flags: number): readonly Part[] {
  switch (type) {
    case eventType.policyVerdict:
      return verdictsByFlags[flags] ?? none;
    case eventType.drop:
      return subtype === policyDenied || subtype === policyDenyRule
        ? (dropsByFlags[flags] ?? onlyEvent)
        : onlyEvent;
    case eventType.trace:
    case eventType.traceSock:
      return onlyEvent;
    default:
      return none;
  }
}

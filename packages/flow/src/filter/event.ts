/** Clauses on the event: its type, verdict, drop reason, direction. They also decide on raw bytes. */
import { dropReasonName, dropReasonNumber } from "../drop-reason.ts";
import type { EventTypeFilter, FlowFilter } from "../flow.ts";
import { eventType } from "../names.ts";
import { isRedirect, type Part, partsOf, policyDenied, policyDenyRule } from "../parts.ts";
import { at } from "../record.ts";
import type { Clause, RawTest } from "./clause.ts";
import { invalid } from "./pattern.ts";

/** Holds if the test holds for one of the flows that the record stands for. */
function anyPart(test: (part: Part, subtype: number) => boolean): RawTest {
  return (view, _, o) => {
    const type = view.getUint8(o + at.type);
    const subtype = view.getUint8(o + at.subtype);
    const parts = partsOf(type, subtype, view.getUint8(o + at.flags));
    return parts.some((part) => test(part, subtype));
  };
}

function verdictOf(part: Part, subtype: number): string {
  if (part.kind === "verdict") {
    if (part.outcome === "denied") return "DROPPED";
    if (part.outcome === "audit") return "AUDIT";
    return isRedirect(part, subtype) ? "REDIRECTED" : "FORWARDED";
  }
  if (part.type === eventType.drop) return "DROPPED";
  if (part.outcome !== undefined) {
    if (part.outcome === "denied") return "DROPPED";
    return part.outcome === "audit" ? "AUDIT" : "FORWARDED";
  }
  if (part.type === eventType.trace) return "FORWARDED";
  return subtype === 2 || subtype === 4 ? "TRANSLATED" : "TRACED";
}

const verdicts = new Set([
  "VERDICT_UNKNOWN",
  "FORWARDED",
  "DROPPED",
  "ERROR",
  "AUDIT",
  "REDIRECTED",
  "TRACED",
  "TRANSLATED",
]);

/** verdict. */
export function verdictClause(values: NonNullable<FlowFilter["verdict"]>): Clause {
  const wanted = new Set<string>(values);
  for (const value of wanted) {
    if (!verdicts.has(value)) throw invalid("verdict", value, `is unknown (${[...verdicts].join(", ")})`);
  }
  return {
    match: (flow) => wanted.has(flow.verdict ?? "VERDICT_UNKNOWN"),
    raw: anyPart((part, subtype) => wanted.has(verdictOf(part, subtype))),
  };
}

/** drop_reason_desc. */
export function dropReasonClause(values: readonly string[]): Clause {
  for (const value of values) {
    if (dropReasonNumber(value) === undefined) throw invalid("drop_reason_desc", value, "is no drop reason");
  }
  const wanted = new Set(values);
  const match: Clause["match"] = (flow) => wanted.has(flow.drop_reason_desc ?? "DROP_REASON_UNKNOWN");
  if (wanted.has("DROP_REASON_UNKNOWN")) return { match };
  const byPolicy = wanted.has(dropReasonName(policyDenied)) || wanted.has(dropReasonName(policyDenyRule));
  return {
    match,
    raw: anyPart((part, subtype) => {
      if (part.kind === "verdict" || part.outcome !== undefined) return part.outcome === "denied" && byPolicy;
      return part.type === eventType.drop && wanted.has(dropReasonName(subtype));
    }),
  };
}

/** event_type: type, and the sub-type where `match_sub_type` is set. */
export function eventTypeClause(values: readonly EventTypeFilter[]): Clause {
  const holds = (type: number, subtype: number): boolean =>
    values.some((value) => {
      if (value.type !== type) return false;
      return value.match_sub_type !== true || (value.sub_type ?? 0) === subtype;
    });
  return {
    match: ({ event_type: event }) => event !== undefined && holds(event.type ?? 0, event.sub_type ?? 0),
    raw: anyPart((part, subtype) =>
      part.kind === "verdict"
        ? holds(eventType.policyVerdict, 0)
        : holds(part.type, part.type === eventType.l7 ? 0 : subtype),
    ),
  };
}

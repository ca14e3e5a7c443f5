import type { FlowQuery, FlowSide } from "./enginetypes.ts";
import type { Decision, RowQuery } from "./rows.ts";
import { Direction, Verdict } from "./rule.ts";

/** What is decided of a connection: together, and on each side that is a local endpoint. */
export interface FlowVerdict {
  verdict: "allow" | "deny" | "audit";
  egress?: Decision;
  ingress?: Decision;
}

/** Who is asked about a connection. */
export interface Judge {
  policyIdOf(endpointId: number): number;
  decide(query: RowQuery): Decision;
}

/** Judges a connection: egress at the source, ingress at the destination, each where it is a local endpoint. */
export function evaluateFlow(judge: Judge, { source, destination, proto, port }: FlowQuery): FlowVerdict {
  const ask = (side: FlowSide, peer: FlowSide, direction: Direction): Decision | undefined => {
    if (side.endpointId === undefined) return undefined;
    const policyId = judge.policyIdOf(side.endpointId);
    const { identity, cidr } = peer;
    return judge.decide({ policyId, direction, identity, cidr, proto, port });
  };
  const egress = ask(source, destination, Direction.EGRESS);
  const ingress = ask(destination, source, Direction.INGRESS);
  const verdicts = [egress, ingress].map((decision) => decision?.verdict ?? Verdict.ALLOW);
  const denied = verdicts.some((v) => v === Verdict.DENY || v === Verdict.DEFAULT_DENY);
  const verdict = denied ? "deny" : verdicts.includes(Verdict.AUDIT) ? "audit" : "allow";
  return { verdict, ...(egress && { egress }), ...(ingress && { ingress }) };
}

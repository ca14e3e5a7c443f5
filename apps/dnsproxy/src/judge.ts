import { type Query, RCODE } from "@axoneme/dns";
import type { Origin } from "./origin.ts";
import type { Rules } from "./rules.ts";

export type Judgement = "forwarded" | "refused" | "audit";

/** Whole zones: their answers are many messages, and no resolver of a pod asks for them. */
const IXFR = 251;
const AXFR = 252;

/** Whether a pod's query may go to the server it dialled. Only plain queries can be allowed. */
export function judge(rules: Rules, { rules: id, audited }: Origin, query: Query): Judgement {
  const plain = query.opcode === 0 && query.type !== AXFR && query.type !== IXFR;
  if (plain && rules.allows(id, query.name)) return "forwarded";
  return audited && plain ? "audit" : "refused";
}

/** The rcode of a refusal. */
export function refusalCode(rules: Rules): number {
  return rules.config.rejectCode === "nameError" ? RCODE.nameError : RCODE.refused;
}

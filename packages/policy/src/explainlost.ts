import { sameTier, Verdict } from "./rule.ts";
import type { RuleInfo } from "./ruletable.ts";

type Ranked = Pick<RuleInfo, "verdict" | "precedence" | "audited">;

/** Why a rule that matches a connection is not the one that decides it. */
export function lostBecause(rule: Ranked, winner: Ranked | undefined): string {
  if (rule.audited) return "it is on trial: it decides nothing, and reports what it would deny";
  if (rule.verdict === Verdict.PASS) return "it passes the decision on to the tiers below";
  if (winner === undefined || winner.verdict === Verdict.DEFAULT_DENY)
    return "its tier comes after default deny";
  if (!sameTier(rule, winner)) return "its tier comes later";
  if (rule.precedence === winner.precedence) return "it says the same, no more closely";
  const sameOrder = Math.floor(rule.precedence / 0x100) === Math.floor(winner.precedence / 0x100);
  return sameOrder && rule.verdict === Verdict.ALLOW
    ? "a denial beats an allowance"
    : "its priority is lower";
}

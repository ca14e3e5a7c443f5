import {
  isNormalTier,
  isPastNormal,
  type PolicySpec,
  policyKey,
  priorityRank,
  type RowVerdict,
  sameTier,
  Verdict,
} from "./rule.ts";
import { outranks, type RuleInfo } from "./ruletable.ts";

/** Default deny of a direction: the rule that brought it, in earnest and on trial. */
export interface Default {
  readonly enforced: RuleInfo | undefined;
  /** Of a policy that only reports. */
  readonly audited: RuleInfo | undefined;
}

/** What rules say together; `rule` absent = nobody says anything: allowed. */
export interface Judgement {
  readonly verdict: RowVerdict;
  readonly rule: RuleInfo | undefined;
}

/**
 * What all rules that match a connection say together: tiers one after the other, in each the highest ranking rule,
 * default deny after the normal tier. Rules on trial do not decide: what they alone would deny is allowed and reported.
 * @param audit denials of rules in earnest are only reported, too.
 */
export function judge(rules: readonly RuleInfo[], fallback: Default, audit: boolean): Judgement {
  const ranked = [...new Set(rules)].sort((a, b) => (outranks(a, b) ? -1 : 1));
  const inEarnest = decideBy(
    ranked.filter((rule) => !rule.audited),
    fallback.enforced,
  );
  if (denies(inEarnest)) {
    const verdict = inEarnest?.verdict === Verdict.DEFAULT_DENY ? Verdict.DEFAULT_DENY : Verdict.DENY;
    return { verdict: audit ? Verdict.AUDIT : verdict, rule: inEarnest };
  }
  const onTrial = decideBy(ranked, fallback.enforced ?? fallback.audited);
  return { verdict: denies(onTrial) ? Verdict.AUDIT : Verdict.ALLOW, rule: onTrial };
}

function denies(rule: RuleInfo | undefined): boolean {
  return rule !== undefined && rule.verdict !== Verdict.ALLOW;
}

/** The rule that decides, of rules in order of rank. */
export function decideBy(ranked: readonly RuleInfo[], fallback: RuleInfo | undefined): RuleInfo | undefined {
  let passed: RuleInfo | undefined;
  for (const rule of leading(ranked)) {
    if (passed !== undefined && sameTier(rule, passed)) continue;
    if (fallback !== undefined && isPastNormal(rule)) return fallback;
    if (rule.verdict !== Verdict.PASS) return rule;
    passed = rule;
  }
  return fallback;
}

/** Among policies of one priority a denial comes first, then an allowance. */
const strength: Partial<Record<Verdict, number>> = { [Verdict.ALLOW]: 1, [Verdict.PASS]: 2 };

/**
 * Of each policy the first rule that matches, in the order in which they decide. The place of a rule in its policy is part
 * of its rank, and says nothing beside a rule of another policy with the same priority.
 */
function leading(ranked: readonly RuleInfo[]): readonly RuleInfo[] {
  if (!ranked.some((rule, i) => i > 0 && differInPlace(rule, ranked[i - 1]))) return ranked;
  const first = new Map<string, RuleInfo>();
  for (const rule of ranked) {
    const key = `${priorityRank(rule)}/${policyKey(rule.policy)}`;
    if (!first.has(key)) first.set(key, rule);
  }
  return [...first.values()].sort(
    (a, b) =>
      priorityRank(a) - priorityRank(b) ||
      (strength[a.verdict] ?? 0) - (strength[b.verdict] ?? 0) ||
      (outranks(a, b) ? -1 : 1),
  );
}

function differInPlace(a: RuleInfo, b: RuleInfo | undefined): boolean {
  return b !== undefined && priorityRank(a) === priorityRank(b) && a.precedence >> 8 !== b.precedence >> 8;
}

/** Whether rules of a spec need more than "deny beats allow" to be judged. */
export function isLayered(spec: Pick<PolicySpec, "tier" | "audited" | "rules">): boolean {
  return spec.audited === true || !isNormalTier(spec) || spec.rules.some(({ dns }) => dns !== undefined);
}

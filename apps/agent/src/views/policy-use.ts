import type { RuleUseView, UsedRule, UseView } from "@axoneme/observe";
import { type Policy, policyKey, type RuleInfo, Verdict } from "@axoneme/policy";
import type { PolicyModule } from "../state/policy.ts";
import type { RuleUses, Use } from "../state/rule-use.ts";

const ACTIONS = { [Verdict.ALLOW]: "allow", [Verdict.DENY]: "deny", [Verdict.PASS]: "pass" } as const;

type Origin = Pick<RuleInfo, "name" | "direction" | "verdict">;

/** What each rule of the policies there are decided on this node; those that select no pod here are among them. */
export function ruleUseView(policy: PolicyModule, uses: RuleUses): RuleUseView {
  const { sinceMs, blindMs, lost } = uses.watch;
  return {
    since: new Date(sinceMs).toISOString(),
    blindSeconds: Math.round(blindMs / 1000),
    lost,
    rules: policy.policies().flatMap((known) => usedRules(known.policy, policy, uses)),
  };
}

function usedRules({ ref, specs }: Policy, policy: PolicyModule, uses: RuleUses): UsedRule[] {
  const endpoints = policy.endpointsOf(ref).length;
  const rules = new Map<string, UsedRule>();
  for (const { path, direction, verdict } of specs.flatMap((spec) => spec.rules)) {
    rules.set(path, {
      kind: ref.kind,
      namespace: ref.namespace ?? "",
      name: ref.name,
      path,
      action: ACTIONS[verdict],
      endpoints,
      ...viewOf(uses.of({ name: `${policyKey(ref)} ${path}`, direction, verdict })),
    });
  }
  return [...rules.values()];
}

/** What all rules of a policy decided together, default deny too. */
export function policyUse({ ref, specs }: Policy, uses: RuleUses): UseView {
  const origins = new Map<string, Origin>();
  const add = (origin: Origin) => origins.set(JSON.stringify(origin), origin);
  for (const { path, rules } of specs) {
    for (const direction of [0, 1] as const)
      add({ name: `${policyKey(ref)} ${path}`, direction, verdict: Verdict.DEFAULT_DENY });
    for (const { path: at, direction, verdict } of rules)
      add({ name: `${policyKey(ref)} ${at}`, direction, verdict });
  }
  const sum: Use = { allowed: 0, denied: 0, audited: 0, lastMs: 0 };
  for (const origin of origins.values()) {
    const use = uses.of(origin);
    if (use === undefined) continue;
    sum.allowed += use.allowed;
    sum.denied += use.denied;
    sum.audited += use.audited;
    sum.lastMs = Math.max(sum.lastMs, use.lastMs);
  }
  return viewOf(sum);
}

function viewOf(use: Use | undefined): UseView {
  const { allowed = 0, denied = 0, audited = 0, lastMs = 0 } = use ?? {};
  return { allowed, denied, audited, ...(lastMs > 0 && { lastUsed: new Date(lastMs).toISOString() }) };
}

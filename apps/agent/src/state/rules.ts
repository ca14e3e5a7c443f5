import type { RuleInfo as FlowRule } from "@axoneme/flow";
import { type Policy, policyKey, type Rule, type RuleInfo, Verdict } from "@axoneme/policy";
import type { PolicyModule } from "./policy.ts";

/**
 * What flows say of a rule id: its policy, and whether it names peers and ports.
 * @returns undefined for id 0 (nothing decided) and ids long gone.
 */
export function flowRule(policies: PolicyModule, id: number): FlowRule | undefined {
  const info = id === 0 ? undefined : policies.engine.rule(id);
  if (!info) return undefined;
  const { kind, name, namespace } = info.policy;
  const rule = ruleOf(policies.known(policyKey(info.policy))?.policy, info);
  return {
    policies: [{ name, kind, ...(namespace === undefined ? {} : { namespace }) }],
    l3: rule !== undefined && !rule.peers.some((peer) => peer.kind === "all"),
    l4: rule ? l4Of(rule) : "any",
    ...(info.verdict === Verdict.DEFAULT_DENY ? { defaultDeny: true } : {}),
  };
}

function ruleOf(policy: Policy | undefined, info: RuleInfo): Rule | undefined {
  for (const spec of policy?.specs ?? []) {
    const found = spec.rules.find((rule) => rule.path === info.path && rule.direction === info.direction);
    if (found) return found;
  }
  return undefined;
}

function l4Of(rule: Rule): NonNullable<FlowRule["l4"]> {
  if (rule.named.length > 0 || rule.l4.some(({ shape }) => shape > 8)) return "port";
  return rule.l4.some(({ shape }) => shape > 0) ? "protocol" : "any";
}

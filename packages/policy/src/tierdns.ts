import { labelKeys } from "@axoneme/identity";
import { fqdnSelectors, unite } from "./fqdn.ts";
import { protocols } from "./l4.ts";
import { type DnsNames, type Rule, Verdict } from "./rule.ts";
import { equals } from "./selector.ts";

const TCP = protocols["TCP"] ?? 0;
const UDP = protocols["UDP"] ?? 0;

/**
 * A rule that accepts domain names also lets its pods ask the cluster's DNS servers for them, and be asked through the
 * proxy: otherwise nobody would learn their addresses. Other names are left to the rules that follow.
 */
export function withDnsServers(rule: Rule, cluster: string): Rule[] {
  const selectors = fqdnSelectors([rule]);
  if (selectors.length === 0 || rule.verdict !== Verdict.ALLOW) return [rule];
  const servers = [
    equals("k8s", "k8s-app", "kube-dns"),
    // Elsewhere anybody may call a pod so, and what it answers opens addresses.
    equals("k8s", labelKeys.namespace, "kube-system"),
    equals("k8s", labelKeys.cluster, cluster),
  ];
  const asking: Rule = {
    ...rule,
    path: `${rule.path}.domainNames`,
    peers: [{ kind: "labels", selector: { requirements: servers } }],
    l4: [],
    named: [
      { name: "dns", proto: UDP },
      { name: "dns-tcp", proto: TCP },
    ],
    dns: { ...namesOf(selectors), andOthers: true },
  };
  return [rule, asking];
}

function namesOf(selectors: readonly string[]): DnsNames {
  const isPattern = (text: string): boolean => text.includes("*");
  return unite([{ names: selectors.filter((s) => !isPattern(s)), patterns: selectors.filter(isPattern) }]);
}

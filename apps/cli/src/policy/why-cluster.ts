import { labelLines } from "@axoneme/identity";
import type { WhyRuleView } from "@axoneme/observe";
import { lostBecause, PolicySandbox, type RuleInfo, type SideJudgement, Verdict } from "@axoneme/policy";
import type { Asked } from "./asked.ts";
import type { Cluster } from "./cluster.ts";
import { type ClusterPlace, clusterDestination, clusterSource } from "./cluster-places.ts";
import type { ShownSide, WhyAnswer } from "./why-answer.ts";
import { missingPolicies } from "./why-answer.ts";

const verdictNames = {
  [Verdict.ALLOW]: "allow",
  [Verdict.DENY]: "deny",
  [Verdict.DEFAULT_DENY]: "default-deny",
  [Verdict.AUDIT]: "audit",
  [Verdict.PASS]: "pass",
} as const;

/** What the API server never tells. */
export const unknownToAll = [
  "whether the agents have all of it in force, and what the rows in the kernel say",
  "options of the agents: policyEnforcement default, policyCIDRMatchMode address and the cluster's name default are assumed",
];

/** Answers from what the API server knows, with the agents' engine. @throws CliError not found */
export function whyFromCluster(cluster: Cluster, { from, to, l4: asked }: Asked): WhyAnswer {
  const source = clusterSource(cluster, from);
  const destination = clusterDestination(cluster, to, source, asked);
  const l4 = { ...asked, port: destination.port ?? asked.port };
  const query = { source: source.side, destination: destination.side, proto: l4.proto, port: l4.port };
  const { isAllowed, egress, ingress } = new PolicySandbox(cluster.objects, cluster.context).judge(query);
  const sides = [
    ...(egress && source.pod ? [shown("egress", source, destination, egress)] : []),
    ...(ingress && destination.pod ? [shown("ingress", destination, source, ingress)] : []),
  ];
  return {
    source: from,
    destination: to,
    protocol: l4.protocol,
    port: l4.port,
    ...(destination.service === undefined ? {} : { service: destination.service }),
    verdict: isAllowed ? "allowed" : "denied",
    sides,
    missing: missingPolicies(sides, query),
    unknown: unknownOf(cluster, source, destination),
  };
}

function unknownOf(cluster: Cluster, ...places: readonly ClusterPlace[]): string[] {
  return [
    ...places.flatMap(({ unknown }) => unknown),
    ...cluster.unreadable.map((kind) => `objects of kind ${kind}: this user may not read them`),
    ...unknownToAll,
  ];
}

function shown(
  direction: "ingress" | "egress",
  of: ClusterPlace,
  peer: ClusterPlace,
  { verdict, isEnforced, rule, others }: SideJudgement,
): ShownSide {
  const { namespace = "", name = "", node = "" } = of.pod ?? {};
  return {
    node,
    direction,
    endpoint: { namespace, pod: name, labels: labelLines(of.side.labels) },
    peer: { address: peer.address, labels: labelLines(peer.side.labels) },
    verdict,
    isEnforced,
    ...(rule && { rule: ruleView(rule) }),
    others: others.map((other) => ({ ...ruleView(other), lost: lostBecause(other, rule) })),
  };
}

function ruleView({ id, policy, path, verdict, precedence }: RuleInfo): WhyRuleView {
  const { kind, namespace = "", name } = policy;
  return { id, kind, namespace, name, path, verdict: verdictNames[verdict], precedence };
}

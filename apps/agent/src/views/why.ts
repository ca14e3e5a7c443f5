import { formatIp, tryParseIp } from "@axoneme/base";
import { type Kernel, kernelPolicyRows } from "@axoneme/datapath";
import { type Ipcache, reserved } from "@axoneme/identity";
import type { EndpointView, WhyRuleView, WhySideView } from "@axoneme/observe";
import { Direction, decide, type RowQuery, type RuleInfo, Verdict } from "@axoneme/policy";
import { HttpError } from "../api-server.ts";
import type { PolicyModule } from "../state/policy.ts";

/** What the question is answered from. */
export interface WhySources {
  readonly nodeName: string;
  readonly kernel: Kernel;
  readonly policy: PolicyModule;
  readonly ipcache: Ipcache;
  /** An endpoint of this node by its name, as `axon endpoint get` takes it. @throws HttpError 404 */
  readonly endpoint: (text: string) => EndpointView;
  readonly labelsOf: (identity: number) => readonly string[];
}

/** Entities that stand for themselves, by the words of policies. */
const entities: Readonly<Record<string, number>> = {
  host: reserved.host,
  world: reserved.world,
  "world-ipv4": reserved.worldIpv4,
  "world-ipv6": reserved.worldIpv6,
  "remote-node": reserved.remoteNode,
  "kube-apiserver": reserved.kubeApiserver,
  health: reserved.health,
  init: reserved.init,
  ingress: reserved.ingress,
  unmanaged: reserved.unmanaged,
};
const names = {
  [Verdict.ALLOW]: "allow",
  [Verdict.DENY]: "deny",
  [Verdict.DEFAULT_DENY]: "default-deny",
  [Verdict.AUDIT]: "audit",
  [Verdict.PASS]: "pass",
} as const;

/** Answers GET /v1/why: `endpoint`, `direction`, `peer` (address or entity), `proto` and `port` (numbers). */
export function whyView(sources: WhySources, query: URLSearchParams): WhySideView {
  const endpoint = sources.endpoint(query.get("endpoint") ?? "");
  const direction = query.get("direction") === "ingress" ? Direction.INGRESS : Direction.EGRESS;
  const peer = peerOf(sources, query.get("peer") ?? "");
  const { policyId } = endpoint;
  const asked: RowQuery = {
    policyId,
    direction,
    identity: peer.identity,
    proto: numberOf(query, "proto", 255),
    port: numberOf(query, "port", 65_535),
  };
  const { engine } = sources.policy;
  const { verdict, ruleId } = engine.decide(asked);
  const rule = engine.rule(ruleId);
  const others = [...new Set(engine.matches(asked).map((match) => match.rule))].filter(
    ({ id }) => id !== ruleId,
  );
  const { ingress, egress } = sources.policy.enforced(policyId);
  return {
    node: sources.nodeName,
    direction: direction === Direction.INGRESS ? "ingress" : "egress",
    endpoint: {
      id: endpoint.id,
      namespace: endpoint.namespace,
      pod: endpoint.pod,
      labels: endpoint.labels,
      policyId,
    },
    peer: { ...peer, labels: [...sources.labelsOf(peer.identity)] },
    verdict: names[verdict],
    isEnforced: direction === Direction.INGRESS ? ingress : egress,
    ...(rule === undefined ? {} : { rule: ruleView(rule) }),
    others: others.sort((a, b) => b.precedence - a.precedence).map(ruleView),
    kernel: names[decide(kernelPolicyRows(sources.kernel.maps), asked).verdict],
  };
}

function ruleView({ id, policy, path, verdict, precedence }: RuleInfo): WhyRuleView {
  const { kind, namespace = "", name } = policy;
  return { id, kind, namespace, name, path, verdict: names[verdict], precedence };
}

function peerOf({ ipcache }: WhySources, text: string): { address: string; identity: number } {
  const entity = entities[text];
  if (entity !== undefined) return { address: "", identity: entity };
  const ip = tryParseIp(text);
  if (ip === undefined)
    throw new HttpError(
      400,
      "bad_peer",
      `"${text}" is no address and no entity`,
      `give an address or one of ${Object.keys(entities).join(", ")}`,
    );
  return { address: formatIp(ip), identity: ipcache.lookup(ip)?.identity ?? reserved.unknown };
}

function numberOf(query: URLSearchParams, name: string, most: number): number {
  const text = query.get(name) ?? "";
  const value = Number(text);
  if (text === "" || !Number.isInteger(value) || value < 0 || value > most)
    throw new HttpError(400, `bad_${name}`, `${name} must be a number from 0 to ${most}, got "${text}"`);
  return value;
}

import { formatIp, hostPrefix, parseIp, tryParseIp } from "@axoneme/base";
import { type Kernel, kernelPolicyRows } from "@axoneme/datapath";
import { type Ipcache, parseLabelLines, reserved, reservedByName, reservedNames } from "@axoneme/identity";
import type { EndpointView, WhyRuleView, WhySideView } from "@axoneme/observe";
import {
  Direction,
  decide,
  lostBecause,
  type MatchedConnection,
  matchedFields,
  policyKey,
  type RowQuery,
  type RuleInfo,
  Verdict,
} from "@axoneme/policy";
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

const worlds: ReadonlySet<number> = new Set([reserved.world, reserved.worldIpv4, reserved.worldIpv6]);
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
    cidr: cidrOf(sources, peer),
    proto: numberOf(query, "proto", 255),
    port: numberOf(query, "port", 65_535),
  };
  const { engine } = sources.policy;
  const matched = { ...asked, ...matchedPeer(sources, peer, asked, endpoint.identity) };
  const shown = (info: RuleInfo): WhyRuleView => {
    const fields = fieldsOf(sources.policy, info, matched);
    return { ...ruleView(info), ...(fields.length > 0 && { fields }) };
  };
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
    peer: { ...peer, labels: [...labelsOf(sources, peer)] },
    verdict: names[verdict],
    isEnforced: direction === Direction.INGRESS ? ingress : egress,
    ...(rule === undefined ? {} : { rule: shown(rule) }),
    others: others
      .sort((a, b) => b.precedence - a.precedence)
      .map((other) => ({ ...shown(other), lost: lostBecause(other, rule) })),
    kernel: names[decide(kernelPolicyRows(sources.kernel.maps), asked).verdict],
  };
}

/** The other side and the destination's named ports, as rules look at them. */
function matchedPeer(
  { labelsOf, policy }: WhySources,
  { address, identity }: { address: string; identity: number },
  { direction }: RowQuery,
  own: number,
): Pick<MatchedConnection, "labels" | "prefix" | "ports"> {
  const labels = parseLabelLines([...labelsOf(identity)]);
  const ip = tryParseIp(address);
  const isMatched = ip && policy.places.cidrOf(ip, identity) !== 0;
  return {
    labels,
    ...(isMatched && { prefix: hostPrefix(ip) }),
    ports: policy.engine.peerPortsOf(direction === Direction.INGRESS ? own : identity),
  };
}

/** What of a rule's entry matched; nothing for default deny and what is built in. */
function fieldsOf(
  policy: PolicyModule,
  { policy: ref, path }: RuleInfo,
  matched: MatchedConnection,
): string[] {
  const object = policy.known(policyKey(ref))?.object;
  return object === undefined ? [] : matchedFields({ ...object, kind: ref.kind }, path, matched);
}

function ruleView({ id, policy, path, verdict, precedence }: RuleInfo): WhyRuleView {
  const { kind, namespace = "", name } = policy;
  return { id, kind, namespace, name, path, verdict: names[verdict], precedence };
}

function peerOf({ ipcache }: WhySources, text: string): { address: string; identity: number } {
  const entity = reservedByName(text);
  if (entity !== undefined) return { address: "", identity: entity };
  const ip = tryParseIp(text);
  if (ip === undefined)
    throw new HttpError(
      400,
      "bad_peer",
      `"${text}" is no address and no entity`,
      `give an address or one of ${reservedNames.join(", ")}`,
    );
  return { address: formatIp(ip), identity: ipcache.lookup(ip)?.identity ?? reserved.unknown };
}

/** What rules on prefixes know the peer by; an entity without an address counts for the world, if it is that. */
function cidrOf(
  { policy }: WhySources,
  { address, identity }: { address: string; identity: number },
): number {
  const ip = tryParseIp(address);
  if (ip !== undefined) return policy.places.cidrOf(ip, identity);
  return worlds.has(identity) ? identity : 0;
}

/** Of a pod its own: its identity may say less. */
function labelsOf(
  { ipcache, labelsOf: ofIdentity }: WhySources,
  { address, identity }: { address: string; identity: number },
): readonly string[] {
  const pod = address === "" ? undefined : ipcache.get(hostPrefix(parseIp(address)))?.pod;
  return pod?.labels ?? ofIdentity(identity);
}

function numberOf(query: URLSearchParams, name: string, most: number): number {
  const text = query.get(name) ?? "";
  const value = Number(text);
  if (text === "" || !Number.isInteger(value) || value < 0 || value > most)
    throw new HttpError(400, `bad_${name}`, `${name} must be a number from 0 to ${most}, got "${text}"`);
  return value;
}

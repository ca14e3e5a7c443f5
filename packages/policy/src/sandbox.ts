import { isV4, parseIp } from "@axoneme/base";
import { NameIndex, normalizeName } from "@axoneme/dns";
import { identityKey, type Labels, reserved, reservedIdentities, worldOf } from "@axoneme/identity";
import { type CidrMatch, isMatchedByCidr } from "./cidrmatch.ts";
import { parseCiliumPolicy } from "./ciliumpolicy.ts";
import { PolicyEngine } from "./engine.ts";
import { fqdnLabel, fqdnSelectors } from "./fqdn.ts";
import { parseNetworkPolicy } from "./networkpolicy.ts";
import type { ContainerPort } from "./peerports.ts";
import { isObject } from "./reader.ts";
import { type CidrGroup, type PolicyService, parseCidrGroup } from "./references.ts";
import { Direction, type Policy, Verdict } from "./rule.ts";
import type { RuleInfo } from "./ruletable.ts";
import { parseTierPolicy } from "./tierpolicy.ts";

/** One side of a connection as people and flows know it. */
export interface SandboxSide {
  /** All labels of a pod, or those of an entity (`reserved:host`). */
  readonly labels: Labels;
  /** What policies select: pods, not the world or a node. */
  readonly isPod: boolean;
  /** For rules on prefixes; without it they pass over this side. */
  readonly ip?: string;
  /** Names by which the client knows the address. */
  readonly names?: readonly string[];
  readonly namedPorts?: readonly ContainerPort[];
}

/** A connection in question. */
export interface SandboxQuery {
  readonly source: SandboxSide;
  readonly destination: SandboxSide;
  /** IP protocol number. */
  readonly proto: number;
  /** Destination port; ICMP: the type. */
  readonly port: number;
}

/** What is decided at one side. */
export interface SideJudgement {
  readonly verdict: "allow" | "deny" | "default-deny" | "audit";
  /** Whether any policy isolates the side in this direction. */
  readonly isEnforced: boolean;
  /** Who decided; absent when nobody did: everything is allowed. */
  readonly rule: RuleInfo | undefined;
  /** Other rules that match, the highest ranking first. */
  readonly others: readonly RuleInfo[];
}

/** What is decided together. A side that is no pod has no say. */
export interface Judged {
  readonly isAllowed: boolean;
  readonly egress: SideJudgement | undefined;
  readonly ingress: SideJudgement | undefined;
}

/** What policies name besides labels. */
export interface SandboxContext {
  readonly cluster?: string;
  readonly services?: readonly PolicyService[];
  readonly isAudited?: (namespace: string) => boolean;
  /** Whom rules on prefixes match by address (default everybody). */
  readonly cidrMatch?: CidrMatch;
}

const firstIdentity = 0x1_0000;
const firstPrefix = 0x100_0001;
const verdictNames = {
  [Verdict.ALLOW]: "allow",
  [Verdict.DENY]: "deny",
  [Verdict.DEFAULT_DENY]: "default-deny",
  [Verdict.AUDIT]: "audit",
} as const;

/** An object of the API in normal form; undefined for kinds that are no policies. */
export function parsePolicy(object: unknown, context: SandboxContext = {}): Policy | undefined {
  const kind = isObject(object) ? object["kind"] : undefined;
  switch (kind) {
    case "NetworkPolicy":
      return parseNetworkPolicy(object, context);
    case "CiliumNetworkPolicy":
    case "CiliumClusterwideNetworkPolicy":
      return parseCiliumPolicy(object, context);
    case "ClusterNetworkPolicy":
    case "AdminNetworkPolicy":
    case "BaselineAdminNetworkPolicy":
      return parseTierPolicy(object, context);
    default:
      return undefined;
  }
}

/**
 * The agent's engine over policies that need not be anywhere yet, for questions: what would be decided, and by
 * which rule. Pure; runs in a browser. Takes pods as they come up in questions.
 */
export class PolicySandbox {
  readonly #engine = new PolicyEngine();
  readonly #identities = new Map<string, number>();
  readonly #endpoints = new Map<string, number>();
  readonly #names = new NameIndex<string>();
  readonly #cidrMatch: CidrMatch;
  #nextPrefix = firstPrefix;
  readonly policies: readonly Policy[];
  #isStale = true;

  /** `objects`: policies and CiliumCIDRGroups as the API has them; other kinds are passed over. */
  constructor(objects: readonly unknown[], context: SandboxContext = {}) {
    this.#cidrMatch = context.cidrMatch ?? "address";
    for (const { id, labels } of reservedIdentities()) this.#identities.set(identityKey(labels), id);
    for (const object of objects) {
      const group = groupOf(object);
      if (group) this.#engine.upsertCidrGroup(group);
    }
    for (const service of context.services ?? []) this.#engine.upsertService(service);
    this.policies = objects.flatMap((object) => parsePolicy(object, context) ?? []);
    for (const policy of this.policies) {
      this.#engine.upsertPolicy(policy);
      for (const selector of policy.specs.flatMap(({ rules }) => fqdnSelectors(rules)))
        this.#names.add(
          selector.includes("*") ? { matchPattern: selector } : { matchName: selector },
          selector,
        );
    }
  }

  /** Judges a connection. */
  judge(query: SandboxQuery): Judged {
    const source = { peer: this.#identityOf(query.source), endpoint: this.#endpointOf(query.source) };
    const destination = {
      peer: this.#identityOf(query.destination),
      endpoint: this.#endpointOf(query.destination),
    };
    this.#settle();
    const ask = (endpoint: number | undefined, side: SandboxSide, identity: number, direction: Direction) => {
      if (endpoint === undefined) return undefined;
      const cidr = this.#cidrOf(side, identity);
      return this.#side(endpoint, { direction, identity, cidr, proto: query.proto, port: query.port });
    };
    const egress = ask(source.endpoint, query.destination, destination.peer, Direction.EGRESS);
    const ingress = ask(destination.endpoint, query.source, source.peer, Direction.INGRESS);
    const isAllowed = [egress, ingress].every(
      (side) => side?.verdict !== "deny" && side?.verdict !== "default-deny",
    );
    return { isAllowed, egress, ingress };
  }

  /** What rules on prefixes know a side by. */
  #cidrOf({ ip, labels, isPod }: SandboxSide, identity: number): number {
    if (ip === undefined || !this.#isMatched(labels, isPod, identity)) return 0;
    const cidr = this.#engine.cidrOf(parseIp(ip));
    this.#engine.addPlacement(identity, cidr);
    this.#engine.commit();
    return cidr;
  }

  #isMatched(labels: Labels, isPod: boolean, identity: number): boolean {
    if (!isPod && isWorld(labels)) return true;
    const isNode = !isPod && Object.keys(labels).some((label) => nodeLabels.has(label));
    return isMatchedByCidr(this.#cidrMatch, isNode ? reserved.remoteNode : identity);
  }

  /** In which directions a pod is isolated. */
  isolation(pod: SandboxSide): { ingress: boolean; egress: boolean } {
    const endpoint = this.#endpointOf({ ...pod, isPod: true });
    this.#settle();
    return this.#engine.enforcementOf(this.#engine.policyIdOf(endpoint ?? 0));
  }

  /** Policies that select a pod, as `kind/namespace/name`. */
  selecting(pod: SandboxSide): Policy[] {
    const endpoint = this.#endpointOf({ ...pod, isPod: true });
    this.#settle();
    return this.policies.filter(({ ref }) => this.#engine.endpointsOf(ref).includes(endpoint ?? 0));
  }

  #side(
    endpoint: number,
    query: { direction: Direction; identity: number; cidr: number; proto: number; port: number },
  ): SideJudgement {
    const policyId = this.#engine.policyIdOf(endpoint);
    const { verdict, ruleId } = this.#engine.decide({ ...query, policyId });
    const rule = this.#engine.rule(ruleId);
    const matching = this.#engine.matches({ ...query, policyId }).map((match) => match.rule);
    const { ingress, egress } = this.#engine.enforcementOf(policyId);
    const others = [...new Set(matching)].filter((other) => other.id !== ruleId);
    return {
      verdict: verdictNames[verdict],
      isEnforced: query.direction === Direction.INGRESS ? ingress : egress,
      rule,
      others: others.sort((a, b) => b.precedence - a.precedence),
    };
  }

  #identityOf(side: SandboxSide): number {
    const isOutside = side.ip !== undefined && !side.isPod && isWorld(side.labels);
    if (isOutside) return this.#learned(side.ip, side.names ?? []);
    const key = identityKey(side.labels);
    const known = this.#identities.get(key);
    if (known !== undefined) return known;
    const id = firstIdentity + this.#identities.size;
    this.#identities.set(key, id);
    this.#engine.addIdentity(id, side.labels);
    this.#isStale = true;
    return id;
  }

  /** An address outside: rules on its names reach it. */
  #learned(ip: string, names: readonly string[]): number {
    const selectors = [
      ...new Set(names.flatMap((name) => [...this.#names.matching(normalizeName(name))])),
    ].sort();
    const world = worldOf(isV4(parseIp(ip)), true).label;
    const key = `${world} ${selectors.join(" ")}`;
    const known = this.#identities.get(key);
    if (known !== undefined) return known;
    const id = firstIdentity + this.#identities.size;
    const labels = Object.fromEntries([
      [world, ""],
      ...selectors.map((selector) => [fqdnLabel(selector), ""]),
    ]) as Labels;
    this.#identities.set(key, id);
    this.#engine.addIdentity(id, labels);
    this.#isStale = true;
    return id;
  }

  #endpointOf(side: SandboxSide): number | undefined {
    if (!side.isPod) return undefined;
    const key = `${identityKey(side.labels)} ${JSON.stringify(side.namedPorts ?? [])}`;
    const known = this.#endpoints.get(key);
    if (known !== undefined) return known;
    const id = this.#endpoints.size + 1;
    this.#endpoints.set(key, id);
    const { labels, namedPorts = [] } = side;
    this.#engine.upsertEndpoint({ id, identity: this.#identityOf(side), labels, namedPorts });
    this.#isStale = true;
    return id;
  }

  #settle(): void {
    if (!this.#isStale) return;
    for (const prefix of this.#engine.prepare()) this.#engine.addPrefix(prefix, this.#nextPrefix++);
    this.#engine.commit();
    this.#isStale = false;
  }
}

const nodeLabels: ReadonlySet<string> = new Set([
  "reserved:host",
  "reserved:remote-node",
  "reserved:kube-apiserver",
]);

function isWorld(labels: Labels): boolean {
  return Object.keys(labels).some((label) => label.startsWith("reserved:world") || label.startsWith("cidr:"));
}

function groupOf(object: unknown): CidrGroup | undefined {
  return isObject(object) && object["kind"] === "CiliumCIDRGroup" ? parseCidrGroup(object).group : undefined;
}

import { type Prefix, parsePrefix, prefixKey } from "@axoneme/base";
import { identityKey, type Labels, reserved, reservedIdentities } from "@axoneme/identity";
import { file, unfile } from "./buckets.ts";
import { Catalog } from "./catalog.ts";
import { CidrIndex, neededBy } from "./cidrindex.ts";
import {
  type CompiledRule,
  type CompiledSpec,
  compileSpec,
  concretePeers,
  contribute,
  type Distinct,
  dropSpec,
  fingerprintOf,
  type Indexes,
  type PeerNode,
  reachCount,
} from "./compiled.ts";
import { builtins, type Enforcement, Grouping, type Membership, membershipOf } from "./grouping.ts";
import { l4Code, onePort } from "./l4.ts";
import { LabelIndex, type SelectorNode } from "./labelindex.ts";
import { PeerLinks } from "./peerlinks.ts";
import { type ContainerPort, namedKey, type PeerPortChange, PeerPorts } from "./peerports.ts";
import { emptyPhases } from "./phases.ts";
import {
  type CidrGroup,
  groupLabels,
  groupPeers,
  type PolicyService,
  serviceLabels,
  servicePeers,
} from "./references.ts";
import {
  type Decision,
  decide,
  matchingRows,
  type PolicyChange,
  type PolicyHead,
  type PolicyRow,
  type PolicyRowKey,
  type RowQuery,
  type RowSource,
} from "./rows.ts";
import { Direction, type Policy, type PolicyRef, policyKey, type Rule, Verdict } from "./rule.ts";
import { type RuleInfo, RuleTable } from "./ruletable.ts";

/** A local endpoint. */
export interface PolicyEndpoint {
  /** Endpoint id, 1..65535. */
  id: number;
  identity: number;
  /** Identity labels: what policy subjects select. */
  labels: Labels;
  namedPorts?: readonly ContainerPort[];
}

export interface PolicyEngineOptions {
  enforcement?: Enforcement;
  /** Rows and heads that deny say AUDIT instead: report, do not drop (default false). */
  audit?: boolean;
  /** `auto`: the node may reach its pods wherever ingress is enforced; `policy`: only by a rule (default auto). */
  allowLocalhost?: "auto" | "policy";
  /** Which families the node has. With one only, identity 2 (world) is that family's world. */
  families?: { ipv4: boolean; ipv6: boolean };
  /** First number given to distinct policies: above every one in the maps after a restart (default 1). */
  firstPolicyId?: number;
  /** First rule id (default 1). The built-in rules take the first three. */
  firstRuleId?: number;
}

/** What a commit asks the caller to do. */
export interface PolicyCommit {
  /** Writes, in the order in which they must reach the kernel. */
  changes: PolicyChange[];
  /**
   * Prefixes in need of a local identity (and an ipcache entry) that have none yet, and prefixes no policy names
   * any more: give up the identity, if you took one.
   */
  cidrs: { added: Prefix[]; removed: Prefix[] };
}

/** One side of a connection. */
export interface FlowSide {
  identity: number;
  /** When the side is a local endpoint: its policy is asked. */
  endpointId?: number;
}

/** A connection to judge. */
export interface FlowQuery {
  source: FlowSide;
  destination: FlowSide;
  proto: number;
  /** Destination port; ICMP: the type. */
  port: number;
}

interface EndpointState {
  endpoint: PolicyEndpoint;
  distinct: Distinct | undefined;
  /** As last given out in a commit; undefined before the first. */
  policyId: number | undefined;
}

/**
 * Network policy, compiled to the rows of the datapath and kept so with work in proportion to each change.
 * Feed it policies, identities, endpoints and named ports in any order; `commit()` yields the writes. Pure.
 *
 * To keep order with the ipcache: before `upsertPolicy`, take an identity for each of `missingCidrs(policy)`, add
 * it, commit and write, put it into the ipcache, and only then add the policy. After a commit with
 * `cidrs.removed`: take the prefix out of the ipcache first, then `deleteIdentity`. Likewise for pods: add and
 * commit an identity before an endpoint or the ipcache carries it, delete it after none does any more.
 */
export class PolicyEngine implements RowSource {
  readonly #enforcement: Enforcement;
  readonly #families: { ipv4: boolean; ipv6: boolean };
  readonly #indexes: Indexes;
  readonly #grouping: Grouping;
  readonly #ports = new PeerPorts();
  readonly #policies = new Map<string, { policy: Policy; specs: CompiledSpec[] }>();
  readonly #specsBySubject = new Map<SelectorNode, Set<CompiledSpec>>();
  readonly #links: PeerLinks;
  readonly #rulesByName = new Map<string, Set<CompiledRule>>();
  readonly #identities = new Map<number, { text: string; prefix: Prefix | undefined }>();
  readonly #cidrIdentities = new Set<string>();
  readonly #endpoints = new Map<number, EndpointState>();
  readonly #distincts = new Map<string, Distinct>();
  readonly #byPolicyId = new Map<number, Distinct>();
  readonly #dirtyEndpoints = new Set<number>();
  readonly #touched = new Set<Distinct>();
  #retired: CompiledSpec[] = [];
  #nextPolicyId: number;
  #nextSpecId = 1;

  constructor(options: PolicyEngineOptions = {}) {
    this.#enforcement = options.enforcement ?? "default";
    this.#families = options.families ?? { ipv4: true, ipv6: true };
    this.#nextPolicyId = options.firstPolicyId ?? 1;
    const rules = new RuleTable(options.firstRuleId ?? 1);
    this.#indexes = {
      subjects: new LabelIndex(),
      peers: new LabelIndex(),
      cidrs: new CidrIndex(),
      rules,
      groups: new Catalog(),
      services: new Catalog(),
    };
    this.#links = new PeerLinks(this.#indexes, this.#ports, this.#touched);
    this.#grouping = new Grouping(this.#ports, builtins(rules), {
      enforcement: this.#enforcement,
      allowLocalhost: (options.allowLocalhost ?? "auto") === "auto",
      hostIdentity: reserved.host,
      audit: options.audit ?? false,
    });
    for (const { id, labels } of reservedIdentities()) this.addIdentity(id, labels);
  }

  // --- policies ---------------------------------------------------------------------------------------------

  /** Adds a policy or replaces the one of the same kind, namespace and name. Unchanged specs cost nothing. */
  upsertPolicy(policy: Policy): void {
    const key = policyKey(policy.ref);
    const old = this.#policies.get(key);
    const same = old?.policy.ref.uid === policy.ref.uid;
    const reusable = new Map(same ? old?.specs.map((spec) => [spec.fingerprint, spec]) : []);
    const specs = policy.specs.map((spec) => {
      const fingerprint = fingerprintOf(spec);
      const known = reusable.get(fingerprint);
      reusable.delete(fingerprint);
      return known ?? this.#install(compileSpec(this.#nextSpecId++, policy.ref, spec, this.#indexes));
    });
    const kept = new Set(specs);
    for (const spec of old?.specs ?? []) if (!kept.has(spec)) this.#retire(spec);
    this.#policies.set(key, { policy, specs });
  }

  /** Removes a policy; false when it was not there. */
  deletePolicy(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): boolean {
    const key = policyKey(ref);
    const old = this.#policies.get(key);
    if (old === undefined) return false;
    for (const spec of old.specs) this.#retire(spec);
    return this.#policies.delete(key);
  }

  /** All policies, with their problems. */
  *policies(): Generator<Policy> {
    for (const { policy } of this.#policies.values()) yield policy;
  }

  /** Prefixes the policy needs identities for, that have none yet. */
  missingCidrs(policy: Policy): Prefix[] {
    const missing = new Map<string, Prefix>();
    for (const rule of policy.specs.flatMap((spec) => spec.rules)) {
      for (const prefix of this.#cidrsOf(rule)) {
        if (!this.#cidrIdentities.has(prefixKey(prefix))) missing.set(prefixKey(prefix), prefix);
      }
    }
    return [...missing.values()];
  }

  #cidrsOf({ peers }: Rule): Prefix[] {
    const concrete = concretePeers(peers, this.#indexes);
    // Of a group that has no prefixes yet: when it gets some, the exceptions must be told apart already.
    const except = peers.flatMap((peer) => (peer.kind === "groups" ? peer.except : []));
    return [
      ...concrete.flatMap((peer) => (peer.kind === "cidr" ? neededBy(peer) : [])),
      ...except.flatMap((prefix) => neededBy({ prefix, except: [] })),
    ];
  }

  /** Every prefix that policies in force need an identity for. */
  neededCidrs(): Prefix[] {
    return [...this.#links.needs.all()];
  }

  // --- what rules name --------------------------------------------------------------------------------------

  /** Adds a CIDR group or changes it; rules that name it follow. */
  upsertCidrGroup(group: CidrGroup): void {
    this.#links.turn(this.#indexes.groups.set(group.name, groupLabels(group), groupPeers(group)));
  }

  /** Removes a CIDR group: rules that name it reach nothing by it. */
  deleteCidrGroup(name: string): void {
    this.#links.turn(this.#indexes.groups.delete(name));
  }

  /** Whether a rule names Services: only then they have to be told. */
  get namesServices(): boolean {
    return this.#indexes.services.isNamed;
  }

  /** Adds a Service or changes it; rules that name it follow. */
  upsertService(service: PolicyService): void {
    const key = `${service.namespace}/${service.name}`;
    this.#links.turn(this.#indexes.services.set(key, serviceLabels(service), servicePeers(service)));
  }

  /** Removes a Service. */
  deleteService(namespace: string, name: string): void {
    this.#links.turn(this.#indexes.services.delete(`${namespace}/${name}`));
  }

  // --- putting specs in and out of force --------------------------------------------------------------------

  #install(spec: CompiledSpec): CompiledSpec {
    file(this.#specsBySubject, spec.subject, spec);
    for (const rule of spec.rules) {
      this.#links.install(rule);
      if (rule.direction === Direction.EGRESS) {
        for (const port of rule.named) file(this.#rulesByName, namedKey(port), rule);
      }
    }
    for (const id of spec.subject.items) this.#dirtyEndpoints.add(id);
    return spec;
  }

  /** Takes a spec out of force; it stays known until the commit has taken its rows back. */
  #retire(spec: CompiledSpec): void {
    unfile(this.#specsBySubject, spec.subject, spec);
    for (const rule of spec.rules) this.#links.retire(rule);
    for (const id of spec.subject.items) this.#dirtyEndpoints.add(id);
    this.#retired.push(spec);
  }

  #drop(spec: CompiledSpec): void {
    for (const rule of spec.rules) {
      this.#links.drop(rule);
      for (const port of rule.named) unfile(this.#rulesByName, namedKey(port), rule);
    }
    dropSpec(spec, this.#indexes);
  }

  // --- identities -------------------------------------------------------------------------------------------

  /** Adds an identity (or gives it other labels); `prefix` for those of CIDRs. Reserved ones are known already. */
  addIdentity(id: number, labels: Labels, prefix?: Prefix): void {
    const text = identityKey(labels) + (prefix === undefined ? "" : prefixKey(prefix));
    const old = this.#identities.get(id);
    if (old?.text === text) return;
    if (old !== undefined) this.deleteIdentity(id);
    this.#identities.set(id, { text, prefix });
    if (prefix !== undefined) this.#cidrIdentities.add(prefixKey(prefix));
    const nodes: PeerNode[] = [...this.#indexes.peers.add(id, labels)];
    const prefixes = prefix === undefined ? this.#worldPrefixes(id) : [prefix];
    if (prefixes.length > 0) nodes.push(...this.#indexes.cidrs.add(id, prefixes));
    this.#links.reach(nodes, id, 1);
  }

  /** Removes an identity. Take it out of the ipcache first. */
  deleteIdentity(id: number): void {
    const identity = this.#identities.get(id);
    if (identity === undefined) return;
    this.#identities.delete(id);
    if (identity.prefix !== undefined) this.#cidrIdentities.delete(prefixKey(identity.prefix));
    const nodes: PeerNode[] = [...this.#indexes.peers.remove(id), ...this.#indexes.cidrs.remove(id)];
    this.#links.reach(nodes, id, -1);
  }

  /** A world identity stands for the /0 of its family. */
  #worldPrefixes(id: number): Prefix[] {
    const { ipv4, ipv6 } = this.#families;
    if (id === reserved.worldIpv4) return [WORLD4];
    if (id === reserved.worldIpv6) return [WORLD6];
    if (id !== reserved.world || ipv4 === ipv6) return [];
    return [ipv4 ? WORLD4 : WORLD6];
  }

  /**
   * States the named ports of a pod anywhere in the cluster, for egress rules that name ports. `source` is any
   * text that names the pod. Local endpoints need not be stated.
   */
  setPeerPorts(source: string, identity: number, ports: readonly ContainerPort[]): void {
    this.#portsChanged(this.#ports.set(`peer ${source}`, identity, ports));
  }

  /** Takes back what `setPeerPorts` stated. */
  deletePeerPorts(source: string): void {
    this.#portsChanged(this.#ports.delete(`peer ${source}`));
  }

  #portsChanged(changes: readonly PeerPortChange[]): void {
    for (const { named, identity, port, by } of changes) {
      const proto = Number(named.slice(named.lastIndexOf("/") + 1));
      const code = l4Code(Direction.EGRESS, onePort(proto, port));
      for (const rule of this.#rulesByName.get(named) ?? []) {
        const times = reachCount(rule, identity);
        for (const distinct of rule.spec.distincts) {
          for (let i = 0; i < times; i++) contribute(rule, distinct, code, identity, by);
          if (times > 0) this.#touched.add(distinct);
        }
      }
    }
  }

  // --- endpoints --------------------------------------------------------------------------------------------

  /** Adds a local endpoint, or updates its identity, labels and named ports. */
  upsertEndpoint(endpoint: PolicyEndpoint): void {
    const { id, identity, labels, namedPorts = [] } = endpoint;
    const old = this.#endpoints.get(id);
    if (old !== undefined) this.#indexes.subjects.remove(id);
    this.#indexes.subjects.add(id, labels);
    this.#endpoints.set(id, { endpoint, distinct: old?.distinct, policyId: old?.policyId });
    this.#portsChanged(this.#ports.set(`endpoint ${id}`, identity, namedPorts));
    this.#dirtyEndpoints.add(id);
  }

  /** Removes a local endpoint. Remove its row of `ax_endpoints` before writing the next commit. */
  deleteEndpoint(id: number): void {
    const state = this.#endpoints.get(id);
    if (state === undefined) return;
    this.#endpoints.delete(id);
    this.#dirtyEndpoints.delete(id);
    this.#indexes.subjects.remove(id);
    this.#portsChanged(this.#ports.delete(`endpoint ${id}`));
    state.distinct?.endpoints.delete(id);
    if (state.distinct !== undefined) this.#touched.add(state.distinct);
  }

  /** The endpoint's distinct policy as of the last commit; 0 = nothing selects it. */
  policyIdOf(endpointId: number): number {
    return this.#endpoints.get(endpointId)?.policyId ?? 0;
  }

  /** Whether default deny holds under a policy id, per direction, as of the last commit. One on trial does not. */
  enforcementOf(policyId: number): { ingress: boolean; egress: boolean } {
    const distinct = this.#byPolicyId.get(policyId);
    if (distinct === undefined) return { ingress: false, egress: false };
    const [ingress, egress] = this.#grouping.defaults(distinct);
    return { ingress: ingress.enforced !== undefined, egress: egress.enforced !== undefined };
  }

  // --- commit -----------------------------------------------------------------------------------------------

  /** The writes that bring the maps from the last commit to what is known now. */
  commit(): PolicyCommit {
    const flips = this.#regroup();
    const phases = emptyPhases();
    const removals: PolicyChange[] = [];
    for (const distinct of this.#touched) {
      if (distinct.endpoints.size > 0) distinct.rows.commit(this.#grouping.defaults(distinct), phases);
      else removals.push(...this.#discard(distinct));
    }
    this.#touched.clear();
    for (const spec of this.#retired) this.#drop(spec);
    this.#retired = [];
    const changes = [...Object.values(phases), flips, removals].flat() as PolicyChange[];
    const { added, removed } = this.#links.needs.take();
    return {
      changes,
      cidrs: { added: added.filter((p) => !this.#cidrIdentities.has(prefixKey(p))), removed },
    };
  }

  /**
   * Every write there is: rows that deny, rows that allow, heads, endpoints. For after a write that failed, when it
   * is not known what the maps hold; follow it with a prune against `allRows`.
   */
  resync(): PolicyChange[] {
    const denies: PolicyChange[] = [];
    const allows: PolicyChange[] = [];
    const heads: PolicyChange[] = [];
    for (const distinct of this.#byPolicyId.values()) {
      const { policyId } = distinct.rows;
      for (const { key, row } of distinct.rows.rows()) {
        (row.verdict === Verdict.ALLOW ? allows : denies).push({ op: "putRow", key, row });
      }
      for (const direction of [Direction.INGRESS, Direction.EGRESS]) {
        const head = distinct.rows.head(direction, this.#grouping.defaults(distinct));
        heads.push({ op: "putHead", policyId, direction, head });
      }
    }
    const endpoints = [...this.#endpoints].map(([endpointId, { policyId = 0 }]): PolicyChange => {
      return { op: "setEndpoint", endpointId, policyId };
    });
    return [...denies, ...allows, ...heads, ...endpoints];
  }

  #discard(distinct: Distinct): PolicyChange[] {
    if (this.#distincts.get(distinct.key) === distinct) this.#distincts.delete(distinct.key);
    this.#byPolicyId.delete(distinct.rows.policyId);
    this.#grouping.discard(distinct);
    return distinct.rows.removal();
  }

  /** Puts every dirty endpoint where it belongs now. */
  #regroup(): PolicyChange[] {
    const leaving = new Map<
      Distinct | undefined,
      Map<string, { membership: Membership; states: EndpointState[] }>
    >();
    for (const id of this.#dirtyEndpoints) {
      const state = this.#endpoints.get(id);
      if (state === undefined) continue;
      const membership = this.#membership(state.endpoint);
      const groups = leaving.get(state.distinct) ?? new Map();
      leaving.set(state.distinct, groups);
      const group = groups.get(membership.key) ?? { membership, states: [] };
      groups.set(membership.key, group);
      group.states.push(state);
    }
    this.#dirtyEndpoints.clear();
    const flips: PolicyChange[] = [];
    for (const [from, groups] of leaving) {
      // Decided before anybody moves: a policy that some endpoints leave must not change under them.
      const together = groups.size === 1 ? from?.endpoints.size : undefined;
      for (const { membership, states } of groups.values()) {
        this.#move(from, membership, states, states.length === together, flips);
      }
    }
    return flips;
  }

  #membership(endpoint: PolicyEndpoint): Membership {
    const specs = new Set<CompiledSpec>();
    for (const node of this.#indexes.subjects.nodesOf(endpoint.id)) {
      for (const spec of this.#specsBySubject.get(node) ?? []) specs.add(spec);
    }
    return membershipOf(specs, endpoint.labels, endpoint.namedPorts ?? [], this.#enforcement);
  }

  /** `together`: these are all endpoints of `from`, so that it can be changed in place. */
  #move(
    from: Distinct | undefined,
    to: Membership,
    states: EndpointState[],
    together: boolean,
    flips: PolicyChange[],
  ): void {
    if (from !== undefined && together && this.#evolves(from, to)) {
      this.#distincts.delete(from.key);
      this.#grouping.evolve(from, to);
      this.#distincts.set(from.key, from);
      this.#touched.add(from);
    } else if (from === undefined || from.key !== to.key) {
      const target = to.key === "" ? undefined : this.#distinctFor(to);
      for (const state of states) {
        from?.endpoints.delete(state.endpoint.id);
        target?.endpoints.add(state.endpoint.id);
        state.distinct = target;
      }
      if (from !== undefined) this.#touched.add(from);
    }
    for (const state of states) {
      const policyId = state.distinct?.rows.policyId ?? 0;
      if (policyId !== state.policyId)
        flips.push({ op: "setEndpoint", endpointId: state.endpoint.id, policyId });
      state.policyId = policyId;
    }
  }

  #evolves(from: Distinct, to: Membership): boolean {
    if (from.key === to.key || to.key === "") return false;
    return !this.#distincts.has(to.key) && this.#grouping.canEvolve(from, to);
  }

  #distinctFor(membership: Membership): Distinct {
    const known = this.#distincts.get(membership.key);
    if (known !== undefined) return known;
    const distinct = this.#grouping.create(this.#nextPolicyId++, membership);
    this.#distincts.set(distinct.key, distinct);
    this.#byPolicyId.set(distinct.rows.policyId, distinct);
    this.#touched.add(distinct);
    return distinct;
  }

  /** Ids of the local endpoints that a policy object selects, as of the last commit. */
  endpointsOf(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): number[] {
    const ids = new Set<number>();
    for (const spec of this.#policies.get(policyKey(ref))?.specs ?? []) {
      for (const distinct of spec.distincts) for (const id of distinct.endpoints) ids.add(id);
    }
    return [...ids].sort((a, b) => a - b);
  }

  // --- questions --------------------------------------------------------------------------------------------

  /** What a rule id stands for, also for a while after its rule is gone. */
  rule(id: number): RuleInfo | undefined {
    return this.#indexes.rules.get(id);
  }

  /** Rules in force with their ids: write them down to `restoreRules` after a restart. */
  rules(): RuleInfo[] {
    return [...this.#indexes.rules.all()];
  }

  /** Keeps rule ids over a restart; before any policy is added. */
  restoreRules(rules: Iterable<RuleInfo>): void {
    this.#indexes.rules.restore(rules);
  }

  head(policyId: number, direction: Direction): PolicyHead | undefined {
    const distinct = this.#byPolicyId.get(policyId);
    return distinct?.rows.head(direction, this.#grouping.defaults(distinct));
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    return this.#byPolicyId.get(key.policyId)?.rows.row(key);
  }

  /** All rows of all distinct policies, for a prune of the map. */
  *allRows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const distinct of this.#byPolicyId.values()) yield* distinct.rows.rows();
  }

  /** The distinct policies: who uses them and how large they are. */
  *distincts(): Generator<{ policyId: number; endpoints: number[]; rows: number; specs: number }> {
    for (const { rows, endpoints, specs } of this.#byPolicyId.values()) {
      yield { policyId: rows.policyId, endpoints: [...endpoints], rows: rows.rowCount, specs: specs.size };
    }
  }

  /** Judges one direction at one endpoint, as the datapath does. */
  decide(query: RowQuery): Decision {
    return decide(this, query);
  }

  /** Judges a connection: egress at the source, ingress at the destination, each where it is a local endpoint. */
  evaluate(flow: FlowQuery): { verdict: "allow" | "deny" | "audit"; egress?: Decision; ingress?: Decision } {
    const { source, destination, proto, port } = flow;
    const ask = (side: FlowSide, peer: FlowSide, direction: Direction): Decision | undefined => {
      if (side.endpointId === undefined) return undefined;
      const policyId = this.policyIdOf(side.endpointId);
      return this.decide({ policyId, direction, identity: peer.identity, proto, port });
    };
    const egress = ask(source, destination, Direction.EGRESS);
    const ingress = ask(destination, source, Direction.INGRESS);
    const verdicts = [egress, ingress].map((decision) => decision?.verdict ?? Verdict.ALLOW);
    const denied = verdicts.some((v) => v === Verdict.DENY || v === Verdict.DEFAULT_DENY);
    const verdict = denied ? "deny" : verdicts.includes(Verdict.AUDIT) ? "audit" : "allow";
    return { verdict, ...(egress && { egress }), ...(ingress && { ingress }) };
  }

  /** Every rule that matches, with the row it matches by, in order of how specific the row is. */
  matches(query: RowQuery): { rule: RuleInfo; key: PolicyRowKey }[] {
    const head = this.head(query.policyId, query.direction);
    const distinct = this.#byPolicyId.get(query.policyId);
    if (head === undefined || distinct === undefined) return [];
    return [...matchingRows(this, head, query)].flatMap(({ key }) =>
      [...new Set(distinct.rows.reasons(key))].map((rule) => ({ rule, key })),
    );
  }
}

const WORLD4 = parsePrefix("0.0.0.0/0");
const WORLD6 = parsePrefix("::/0");

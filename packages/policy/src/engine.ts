import type { Ip, Prefix } from "@axoneme/base";
import { type Labels, reserved, reservedIdentities } from "@axoneme/identity";
import { ActiveSpecs } from "./activespecs.ts";
import { Budget, type MapSpace } from "./budget.ts";
import { Catalog } from "./catalog.ts";
import { CidrIndex } from "./cidrindex.ts";
import type { Distinct, Indexes } from "./compiledtypes.ts";
import { Contributor } from "./contribute.ts";
import { DnsRuleTable } from "./dnsrules.ts";
import { type Effort, noEffort } from "./effort.ts";
import { EndpointTable } from "./endpointtable.ts";
import type { FlowQuery, PolicyCommit, PolicyEndpoint, PolicyEngineOptions } from "./enginetypes.ts";
import { evaluateFlow, type FlowVerdict } from "./flowverdict.ts";
import { builtins, type Enforcement, Grouping } from "./grouping.ts";
import { IdentityTable } from "./identitytable.ts";
import { LabelIndex } from "./labelindex.ts";
import { portOfKey, serviceKeys } from "./peerkeys.ts";
import { PeerLinks } from "./peerlinks.ts";
import { type ContainerPort, PeerPorts } from "./peerports.ts";
import { emptyPhases } from "./phases.ts";
import { Placements } from "./placements.ts";
import { PolicyTable } from "./policytable.ts";
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
import { Direction, type Policy, type PolicyRef, Verdict } from "./rule.ts";
import { type RuleInfo, RuleTable } from "./ruletable.ts";
import { Subjects } from "./subjects.ts";

/**
 * Network policy, compiled to the rows of the datapath and kept so with work in proportion to each change.
 * Feed it policies, identities, endpoints and named ports in any order; `commit()` yields the writes. Pure.
 *
 * To keep order with the map of prefixes: call `prepare()` after changes. When it names prefixes, give each a number,
 * `commitRows()` and write, put it into the map, and only then `commit()`. After a commit with
 * `cidrs.removed`: take the prefix out of the map first, then `deletePrefix`. Likewise for pods: add and
 * commit an identity before an endpoint or the ipcache carries it, delete it after none does any more.
 *
 * Only policies that select a local endpoint are compiled; of the others it is known whom they select.
 */
export class PolicyEngine implements RowSource {
  readonly #enforcement: Enforcement;
  readonly #indexes: Indexes;
  readonly #ports = new PeerPorts();
  readonly #placements = new Placements();
  readonly #touched = new Set<Distinct>();
  readonly #links: PeerLinks;
  readonly #active: ActiveSpecs;
  readonly #grouping: Grouping;
  /** The sets of DNS rules that rows name. */
  readonly dnsRules = new DnsRuleTable();
  readonly #identities: IdentityTable;
  readonly #endpoints: EndpointTable;
  readonly #policies: PolicyTable;
  readonly #budget: Budget;

  constructor(options: PolicyEngineOptions = {}) {
    this.#enforcement = options.enforcement ?? "default";
    const rules = new RuleTable(options.firstRuleId ?? 1);
    const effort = noEffort();
    const { dnsRules } = this;
    this.#indexes = {
      subjects: new LabelIndex(effort),
      peers: new LabelIndex(effort),
      cidrs: new CidrIndex(),
      rules,
      groups: new Catalog(effort),
      services: new Catalog(effort),
      effort,
    };
    const contributor = new Contributor(this.#ports, this.#placements, effort);
    this.#links = new PeerLinks(this.#indexes, contributor, this.#placements, this.#touched);
    this.#active = new ActiveSpecs(this.#indexes, this.#links);
    this.#grouping = new Grouping(contributor, this.#active, builtins(rules), {
      enforcement: this.#enforcement,
      allowLocalhost: (options.allowLocalhost ?? "auto") === "auto",
      hostIdentity: reserved.host,
      audit: options.audit ?? false,
      dns: dnsRules,
      placements: this.#placements,
    });
    const families = options.families ?? { ipv4: true, ipv6: true };
    this.#identities = new IdentityTable(this.#indexes, this.#links, families);
    const subjects = new Subjects(this.#indexes.subjects);
    const { firstPolicyId = 1 } = options;
    this.#endpoints = new EndpointTable(
      this.#indexes,
      subjects,
      this.#grouping,
      this.#touched,
      firstPolicyId,
    );
    this.#policies = new PolicyTable(this.#indexes, subjects, this.#endpoints);
    const capacity = options.capacity ?? { rows: Number.POSITIVE_INFINITY, heads: Number.POSITIVE_INFINITY };
    this.#budget = new Budget(capacity, (distinct) => this.#grouping.defaults(distinct));
    for (const { id, labels } of reservedIdentities()) this.addIdentity(id, labels);
  }

  // --- policies ---------------------------------------------------------------------------------------------

  /** Adds a policy or replaces the one of the same kind, namespace and name. Unchanged specs cost nothing. */
  upsertPolicy(policy: Policy): void {
    this.#policies.upsert(policy);
  }

  /** Removes a policy; false when it was not there. */
  deletePolicy(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): boolean {
    return this.#policies.delete(ref);
  }

  /** All policies, with their problems. */
  policies(): Iterable<Policy> {
    return this.#policies.all();
  }

  /** Every prefix that policies of local endpoints need a number for. */
  neededCidrs(): Prefix[] {
    return [...this.#links.needs.all()];
  }

  /** Label keys by which rules of local endpoints will tell peers apart once this Service is told. */
  keysNamedByService(service: PolicyService): string[] {
    return this.#indexes.services.names(serviceLabels(service)) ? serviceKeys(service) : [];
  }

  /** Label keys that rules of local endpoints have begun to name since the last call; ask after `prepare`. */
  takeNamedKeys(): string[] {
    return this.#indexes.peers.keys.takeFresh();
  }

  /** Whether a rule of a local endpoint tells peers apart by this label key (or the name of a port, see `portKey`). */
  namesKey(key: string): boolean {
    const port = portOfKey(key);
    return port === undefined ? this.#indexes.peers.keys.has(key) : this.#links.namesPort(port);
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

  /** Whether a rule of a local endpoint names Services: only then they have to be told. */
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

  // --- identities -------------------------------------------------------------------------------------------

  /** Adds an identity (or gives it other labels). Reserved ones are known already. */
  addIdentity(id: number, labels: Labels): void {
    this.#identities.add(id, labels);
  }

  /** Removes an identity. Take it out of the ipcache first. */
  deleteIdentity(id: number): void {
    this.#identities.delete(id);
  }

  /**
   * Gives a prefix that rules name a number by which they know the addresses in it, whoever has them. An address counts for the
   * longest prefix that holds it.
   */
  addPrefix(prefix: Prefix, number: number): void {
    this.#identities.addPrefix(prefix, number);
  }

  /** Takes the number of a prefix back. No address may count for it any more. */
  deletePrefix(prefix: Prefix): void {
    this.#identities.deletePrefix(prefix);
  }

  /** The number that rules on prefixes know an address by. */
  cidrOf(ip: Ip): number {
    return this.#identities.cidrOf(ip);
  }

  /**
   * An identity is about to be found at addresses of which a prefix (by its number) is the longest. Where rules on both have to be
   * judged together they get rows for it; until then the one that denies counts.
   */
  addPlacement(identity: number, cidr: number): void {
    if (this.#placements.add(identity, cidr)) this.#turnPlacement(identity, cidr, 1);
  }

  /** It is found there no more. */
  deletePlacement(identity: number, cidr: number): void {
    if (!this.#placements.has(identity, cidr)) return;
    this.#turnPlacement(identity, cidr, -1);
  }

  #turnPlacement(identity: number, cidr: number, by: 1 | -1): void {
    this.#links.turnPlacement(identity, cidr, by);
    if (by === -1) this.#placements.delete(identity, cidr);
    for (const distinct of this.#endpoints.distincts()) {
      if (distinct.rows.placementTurned(identity, cidr)) this.#touched.add(distinct);
    }
  }

  /**
   * States the named ports of a pod anywhere in the cluster, for egress rules that name ports. `source` is any
   * text that names the pod. Local endpoints need not be stated.
   */
  setPeerPorts(source: string, identity: number, ports: readonly ContainerPort[]): void {
    this.#links.turnPorts(this.#ports.set(source, identity, ports));
  }

  /** The named ports that pods of an identity have. */
  peerPortsOf(identity: number): ContainerPort[] {
    return this.#ports.all(identity);
  }

  /** Takes back what `setPeerPorts` stated. */
  deletePeerPorts(source: string): void {
    this.#links.turnPorts(this.#ports.delete(source));
  }

  // --- endpoints --------------------------------------------------------------------------------------------

  /** Adds a local endpoint, or updates its identity, labels and named ports. */
  upsertEndpoint(endpoint: PolicyEndpoint): void {
    const { id, identity, namedPorts = [] } = endpoint;
    this.#endpoints.upsert(endpoint);
    this.#links.turnPorts(this.#ports.set(localSource(id), identity, namedPorts));
  }

  /** Removes a local endpoint. Remove its row of `ax_endpoints` before writing the next commit. */
  deleteEndpoint(id: number): void {
    if (this.#endpoints.delete(id)) this.#links.turnPorts(this.#ports.delete(localSource(id)));
  }

  /** The endpoint's distinct policy as of the last commit; 0 = nothing selects it. */
  policyIdOf(endpointId: number): number {
    return this.#endpoints.policyIdOf(endpointId);
  }

  /** Whether default deny holds under a policy id, per direction, as of the last commit. One on trial does not. */
  enforcementOf(policyId: number): { ingress: boolean; egress: boolean } {
    const distinct = this.#endpoints.distinct(policyId);
    if (distinct === undefined) return { ingress: false, egress: false };
    const [ingress, egress] = this.#grouping.defaults(distinct);
    return { ingress: ingress.enforced !== undefined, egress: egress.enforced !== undefined };
  }

  /** Ids of the local endpoints that a policy object selects, as of the last commit. */
  endpointsOf(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): number[] {
    const ids = new Set<number>();
    for (const { distincts } of this.#policies.specsOf(ref)) {
      for (const { endpoints } of distincts) for (const id of endpoints) ids.add(id);
    }
    return [...ids].sort((a, b) => a - b);
  }

  // --- commit -----------------------------------------------------------------------------------------------

  /**
   * Looks up what the next commit will bring into force. Returns the prefixes that it names and that have no number
   * yet; `commit` names them among the added if they are not asked for here.
   */
  prepare(): Prefix[] {
    this.#activate();
    return this.#withoutNumber(this.#links.needs.takeAdded());
  }

  /** How many prefixes `prepare` would name. */
  countMissing(): number {
    this.#activate();
    return this.#withoutNumber([...this.#links.needs.coming()]).length;
  }

  #activate(): void {
    if (this.#enforcement === "never") return;
    for (const spec of this.#endpoints.gained()) this.#active.need(spec);
  }

  /** The writes for changed identities and named objects alone: each endpoint keeps the rules it has. */
  commitRows(): Omit<PolicyCommit, "cidrs"> {
    return { changes: this.#rowChanges(), dns: this.dnsRules.take() };
  }

  #rowChanges(): PolicyChange[] {
    const phases = emptyPhases();
    const used = [...this.#touched].filter(({ endpoints }) => endpoints.size > 0);
    this.#budget.commit(used, phases);
    // Those without endpoints go with the next commit.
    for (const distinct of used) this.#touched.delete(distinct);
    return Object.values(phases).flat() as PolicyChange[];
  }

  /**
   * What the maps will hold while the next commit is written; call it after `prepare`, and `commit` next. What asks for too much can still be taken back: a policy
   * by its former text, for example.
   */
  demand(): MapSpace {
    this.#endpoints.regroup();
    return this.#budget.demand(this.#touched);
  }

  /** What the maps hold as of the last commit. */
  get used(): MapSpace {
    return this.#budget.used;
  }

  /** Endpoints whose policy is not in the maps for want of room, as of the last commit: everything new is denied there. */
  get withdrawn(): number[] {
    return [...this.#budget.withdrawn].flatMap(({ endpoints }) => [...endpoints]);
  }

  /** The writes that bring the maps from the last commit to what is known now. */
  commit(): PolicyCommit {
    this.#endpoints.regroup();
    const changes = this.#rowChanges();
    const flips = this.#endpoints.flips();
    const removals = [...this.#touched].flatMap((distinct) => this.#discard(distinct));
    this.#touched.clear();
    this.#active.rest();
    this.#policies.dropRetired();
    const { added, removed } = this.#links.needs.take();
    return {
      changes: [...changes, ...flips, ...removals],
      cidrs: { added: this.#withoutNumber(added), removed },
      dns: this.dnsRules.take(),
    };
  }

  #discard(distinct: Distinct): PolicyChange[] {
    this.#budget.forget(distinct);
    return this.#endpoints.discard(distinct);
  }

  /** The distinct policies that are in the maps. */
  *#inMaps(): Generator<Distinct> {
    for (const distinct of this.#endpoints.distincts()) {
      if (!this.#budget.isWithdrawn(distinct)) yield distinct;
    }
  }

  #inMap(policyId: number): Distinct | undefined {
    const distinct = this.#endpoints.distinct(policyId);
    return distinct && !this.#budget.isWithdrawn(distinct) ? distinct : undefined;
  }

  #withoutNumber(prefixes: readonly Prefix[]): Prefix[] {
    return prefixes.filter((prefix) => !this.#identities.hasPrefix(prefix));
  }

  /**
   * Every write there is: rows that deny, rows that allow, heads, endpoints. For after a write that failed, when it
   * is not known what the maps hold; follow it with a prune against `allRows`.
   */
  resync(): PolicyChange[] {
    const denies: PolicyChange[] = [];
    const allows: PolicyChange[] = [];
    const heads: PolicyChange[] = [];
    for (const distinct of this.#inMaps()) {
      const { policyId } = distinct.rows;
      for (const { key, row } of distinct.rows.rows()) {
        (row.verdict === Verdict.ALLOW ? allows : denies).push({ op: "putRow", key, row });
      }
      for (const direction of [Direction.INGRESS, Direction.EGRESS]) {
        const head = distinct.rows.head(direction, this.#grouping.defaults(distinct));
        heads.push({ op: "putHead", policyId, direction, head });
      }
    }
    return [...denies, ...allows, ...heads, ...this.#endpoints.assignments()];
  }

  /** What has been done so far. */
  get effort(): Readonly<Effort> {
    return { ...this.#indexes.effort };
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

  /** Rules of one policy, where it selects local endpoints. */
  rulesOf(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): RuleInfo[] {
    const infos = this.#policies
      .specsOf(ref)
      .flatMap(({ rules, deny }) => [
        ...rules.map(({ info }) => info),
        ...deny.filter((info) => info !== undefined),
      ]);
    return [...new Set(infos)];
  }

  /** Keeps rule ids over a restart; before any policy is added. */
  restoreRules(rules: Iterable<RuleInfo>): void {
    this.#indexes.rules.restore(rules);
  }

  head(policyId: number, direction: Direction): PolicyHead | undefined {
    const distinct = this.#inMap(policyId);
    return distinct?.rows.head(direction, this.#grouping.defaults(distinct));
  }

  row(key: PolicyRowKey): PolicyRow | undefined {
    return this.#inMap(key.policyId)?.rows.row(key);
  }

  /** All rows of all distinct policies, for a prune of the map. */
  *allRows(): Generator<{ key: PolicyRowKey; row: PolicyRow }> {
    for (const distinct of this.#inMaps()) yield* distinct.rows.rows();
  }

  /** All rows of one distinct policy. */
  rowsOf(policyId: number): Iterable<{ key: PolicyRowKey; row: PolicyRow }> {
    return this.#inMap(policyId)?.rows.rows() ?? [];
  }

  /** The distinct policies: who uses them and how large they are. */
  *distincts(): Generator<{ policyId: number; endpoints: number[]; rows: number; specs: number }> {
    for (const { rows, endpoints, specs } of this.#endpoints.distincts()) {
      yield { policyId: rows.policyId, endpoints: [...endpoints], rows: rows.rowCount, specs: specs.size };
    }
  }

  /** Judges one direction at one endpoint, as the datapath does. */
  decide(query: RowQuery): Decision {
    return decide(this, query);
  }

  /** Judges a connection: egress at the source, ingress at the destination, each where it is a local endpoint. */
  evaluate(flow: FlowQuery): FlowVerdict {
    return evaluateFlow(this, flow);
  }

  /** Every rule that matches, with the row it matches by, in order of how specific the row is. */
  matches(query: RowQuery): { rule: RuleInfo; key: PolicyRowKey }[] {
    const head = this.head(query.policyId, query.direction);
    const distinct = this.#endpoints.distinct(query.policyId);
    if (head === undefined || distinct === undefined) return [];
    return [...matchingRows(this, head, query)].flatMap(({ key }) =>
      [...new Set(distinct.rows.reasons(key))].map((rule) => ({ rule, key })),
    );
  }
}

/** Of a local endpoint's ports. Peers keep their own text, which is held once more otherwise, and never begins like this. */
function localSource(id: number): string {
  return `\0endpoint ${id}`;
}

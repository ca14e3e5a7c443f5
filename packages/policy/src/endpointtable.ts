import type { Distinct, Indexes } from "./compiled.ts";
import type { PolicyEndpoint } from "./enginetypes.ts";
import type { Grouping, Membership } from "./grouping.ts";
import type { PolicyChange } from "./rows.ts";

interface EndpointState {
  endpoint: PolicyEndpoint;
  distinct: Distinct | undefined;
  /** As last given out in a commit; undefined before the first. */
  policyId: number | undefined;
}

type Group = { membership: Membership; states: EndpointState[] };

/** Local endpoints, and the distinct policies they share. */
export class EndpointTable {
  readonly #indexes: Indexes;
  readonly #grouping: Grouping;
  readonly #touched: Set<Distinct>;
  readonly #endpoints = new Map<number, EndpointState>();
  readonly #distincts = new Map<string, Distinct>();
  readonly #byPolicyId = new Map<number, Distinct>();
  #nextPolicyId: number;
  /** Endpoints that may belong to another distinct policy now. */
  readonly dirty = new Set<number>();

  /** @param touched collects the distinct policies whose rows or endpoints changed. */
  constructor(indexes: Indexes, grouping: Grouping, touched: Set<Distinct>, firstPolicyId: number) {
    this.#indexes = indexes;
    this.#grouping = grouping;
    this.#touched = touched;
    this.#nextPolicyId = firstPolicyId;
  }

  /** Adds an endpoint, or updates it. */
  upsert(endpoint: PolicyEndpoint): void {
    const { id, labels } = endpoint;
    const old = this.#endpoints.get(id);
    if (old !== undefined) this.#indexes.subjects.remove(id);
    this.#indexes.subjects.add(id, labels);
    this.#endpoints.set(id, { endpoint, distinct: old?.distinct, policyId: old?.policyId });
    this.dirty.add(id);
  }

  /** Removes an endpoint; false when it was not there. */
  delete(id: number): boolean {
    const state = this.#endpoints.get(id);
    if (state === undefined) return false;
    this.#endpoints.delete(id);
    this.dirty.delete(id);
    this.#indexes.subjects.remove(id);
    state.distinct?.endpoints.delete(id);
    if (state.distinct !== undefined) this.#touched.add(state.distinct);
    return true;
  }

  /** The endpoint's distinct policy as of the last commit; 0 = nothing selects it. */
  policyIdOf(endpointId: number): number {
    return this.#endpoints.get(endpointId)?.policyId ?? 0;
  }

  /** The distinct policy of an id. */
  distinct(policyId: number): Distinct | undefined {
    return this.#byPolicyId.get(policyId);
  }

  /** All distinct policies. */
  distincts(): Iterable<Distinct> {
    return this.#byPolicyId.values();
  }

  /** Every endpoint's `policy_id`, as last given out. */
  *assignments(): Generator<PolicyChange> {
    for (const [endpointId, { policyId = 0 }] of this.#endpoints) {
      yield { op: "setEndpoint", endpointId, policyId };
    }
  }

  /** Writes that remove a distinct policy nobody uses. */
  discard(distinct: Distinct): PolicyChange[] {
    if (this.#distincts.get(distinct.key) === distinct) this.#distincts.delete(distinct.key);
    this.#byPolicyId.delete(distinct.rows.policyId);
    this.#grouping.discard(distinct);
    return distinct.rows.removal();
  }

  /** Puts every dirty endpoint where it belongs now; returns the endpoints' new assignments. */
  regroup(membershipOf: (endpoint: PolicyEndpoint) => Membership): PolicyChange[] {
    const leaving = this.#leaving(membershipOf);
    this.dirty.clear();
    const flips: PolicyChange[] = [];
    for (const [from, groups] of leaving) {
      // Decided before anybody moves: a policy that some endpoints leave must not change under them.
      const together = groups.size === 1 ? from?.endpoints.size : undefined;
      for (const group of groups.values()) {
        this.#move(from, group, group.states.length === together);
        for (const state of group.states) flips.push(...this.#flip(state));
      }
    }
    return flips;
  }

  #leaving(
    membershipOf: (endpoint: PolicyEndpoint) => Membership,
  ): Map<Distinct | undefined, Map<string, Group>> {
    const leaving = new Map<Distinct | undefined, Map<string, Group>>();
    for (const id of this.dirty) {
      const state = this.#endpoints.get(id);
      if (state === undefined) continue;
      const membership = membershipOf(state.endpoint);
      const groups = leaving.get(state.distinct) ?? new Map<string, Group>();
      leaving.set(state.distinct, groups);
      const group = groups.get(membership.key) ?? { membership, states: [] };
      groups.set(membership.key, group);
      group.states.push(state);
    }
    return leaving;
  }

  /** `together`: these are all endpoints of `from`, so that it can be changed in place. */
  #move(from: Distinct | undefined, { membership: to, states }: Group, together: boolean): void {
    if (from !== undefined && together && this.#evolves(from, to)) {
      this.#distincts.delete(from.key);
      this.#grouping.evolve(from, to);
      this.#distincts.set(from.key, from);
      this.#touched.add(from);
      return;
    }
    if (from !== undefined && from.key === to.key) return;
    const target = to.key === "" ? undefined : this.#distinctFor(to);
    for (const state of states) {
      from?.endpoints.delete(state.endpoint.id);
      target?.endpoints.add(state.endpoint.id);
      state.distinct = target;
    }
    if (from !== undefined) this.#touched.add(from);
  }

  #flip(state: EndpointState): PolicyChange[] {
    const policyId = state.distinct?.rows.policyId ?? 0;
    if (policyId === state.policyId) return [];
    state.policyId = policyId;
    return [{ op: "setEndpoint", endpointId: state.endpoint.id, policyId }];
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
}

import { identityKey } from "@axoneme/identity";
import type { CompiledSpec, Distinct, Indexes, Standing } from "./compiledtypes.ts";
import type { PolicyEndpoint } from "./enginetypes.ts";
import type { Grouping, Membership } from "./grouping.ts";
import type { PolicyChange } from "./rows.ts";
import { deltaText, isAfter } from "./specset.ts";
import type { Subjects } from "./subjects.ts";

interface EndpointState {
  endpoint: PolicyEndpoint;
  /** Text of its labels; undefined while they are not looked at. */
  labels: string | undefined;
  distinct: Distinct | undefined;
  /** Specs that select it beside those of `distinct`. */
  gained: Set<CompiledSpec>;
  /** Specs of `distinct` that do not select it any more. */
  lost: Set<CompiledSpec>;
  /** As last given out in a commit; undefined before the first. */
  policyId: number | undefined;
}

interface Group {
  membership: Membership;
  states: EndpointState[];
}

/** Local endpoints, and the distinct policies they share. */
export class EndpointTable {
  readonly #indexes: Indexes;
  readonly #subjects: Subjects;
  readonly #grouping: Grouping;
  readonly #touched: Set<Distinct>;
  readonly #endpoints = new Map<number, EndpointState>();
  readonly #distincts = new Map<string, Distinct>();
  readonly #byPolicyId = new Map<number, Distinct>();
  #nextPolicyId: number;
  /** Endpoints that may belong to another distinct policy now. */
  readonly #dirty = new Set<EndpointState>();
  /** Endpoints that were looked at since their assignments were last told. */
  readonly #placed = new Set<EndpointState>();

  /** @param touched collects the distinct policies whose rows or endpoints changed. */
  constructor(
    indexes: Indexes,
    subjects: Subjects,
    grouping: Grouping,
    touched: Set<Distinct>,
    firstPolicyId: number,
  ) {
    this.#indexes = indexes;
    this.#subjects = subjects;
    this.#grouping = grouping;
    this.#touched = touched;
    this.#nextPolicyId = firstPolicyId;
  }

  /** Adds an endpoint, or updates it. */
  upsert(endpoint: PolicyEndpoint): void {
    const { id } = endpoint;
    const labels = identityKey(endpoint.labels);
    const state = this.#endpoints.get(id) ?? newState(endpoint);
    this.#endpoints.set(id, state);
    state.endpoint = endpoint;
    this.#dirty.add(state);
    if (state.labels === labels) return;
    state.labels = labels;
    const { gained, lost } = this.#subjects.place(id, endpoint.labels);
    for (const spec of lost) this.lose(id, spec);
    for (const spec of gained) this.gain(id, spec);
  }

  /** Removes an endpoint; false when it was not there. */
  delete(id: number): boolean {
    const state = this.#endpoints.get(id);
    if (state === undefined) return false;
    this.#endpoints.delete(id);
    this.#dirty.delete(state);
    this.#placed.delete(state);
    this.#subjects.forget(id);
    state.distinct?.endpoints.delete(id);
    if (state.distinct !== undefined) this.#touched.add(state.distinct);
    return true;
  }

  /** A spec selects an endpoint from now on. */
  gain(id: number, spec: CompiledSpec): void {
    const state = this.#endpoints.get(id);
    if (state === undefined) return;
    if (!state.lost.delete(spec)) state.gained.add(spec);
    this.#dirty.add(state);
  }

  /** A spec selects an endpoint no longer. */
  lose(id: number, spec: CompiledSpec): void {
    const state = this.#endpoints.get(id);
    if (state === undefined) return;
    if (!state.gained.delete(spec)) state.lost.add(spec);
    this.#dirty.add(state);
  }

  /** Specs that select endpoints since the last commit. */
  *gained(): Generator<CompiledSpec> {
    for (const { gained } of this.#dirty) yield* gained;
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
    this.#unkey(distinct);
    this.#byPolicyId.delete(distinct.rows.policyId);
    this.#grouping.discard(distinct);
    return distinct.rows.removal();
  }

  #unkey(distinct: Distinct): void {
    if (this.#distincts.get(distinct.key) === distinct) this.#distincts.delete(distinct.key);
  }

  /** Puts every dirty endpoint where it belongs now. */
  regroup(): void {
    const leaving = this.#leaving();
    this.#dirty.clear();
    for (const [from, groups] of leaving) {
      // Decided before anybody moves: a policy that some endpoints leave must not change under them.
      const together = groups.size === 1 ? from?.endpoints.size : undefined;
      for (const group of groups.values()) {
        this.#move(from, group, group.states.length === together);
        for (const state of group.states) {
          state.gained = new Set();
          state.lost = new Set();
          this.#placed.add(state);
        }
      }
    }
  }

  /** The new assignments of endpoints that were placed since the last call. */
  flips(): PolicyChange[] {
    const flips: PolicyChange[] = [];
    for (const state of this.#placed) {
      const policyId = state.distinct?.rows.policyId ?? 0;
      if (policyId === state.policyId) continue;
      state.policyId = policyId;
      flips.push({ op: "setEndpoint", endpointId: state.endpoint.id, policyId });
    }
    this.#placed.clear();
    return flips;
  }

  /** Dirty endpoints by where they are and what they become. */
  #leaving(): Map<Distinct | undefined, Map<string, Group>> {
    const leaving = new Map<Distinct | undefined, Map<string, Group>>();
    for (const state of this.#dirty) {
      const { endpoint, distinct, gained, lost } = state;
      this.#indexes.effort.placements++;
      const groups = leaving.get(distinct) ?? new Map<string, Group>();
      leaving.set(distinct, groups);
      const standing = standingOf(endpoint.labels);
      const membership = this.#grouping.membership(
        distinct,
        { gained, lost },
        standing,
        endpoint.namedPorts ?? [],
      );
      const text = `${deltaText(membership)}|${membership.key}`;
      const group = groups.get(text) ?? { membership, states: [] };
      groups.set(text, group);
      group.states.push(state);
    }
    return leaving;
  }

  /** `together`: these are all endpoints of `from`, so that it can be changed in place. */
  #move(from: Distinct | undefined, { membership: to, states }: Group, together: boolean): void {
    if ((from?.key ?? "") === to.key && to.gained.size + to.lost.size === 0) return;
    const known = this.#known(from, to);
    if (from !== undefined && together && known === undefined && this.#evolves(from, to)) {
      this.#unkey(from);
      this.#grouping.evolve(from, to);
      this.#distincts.set(from.key, from);
      this.#touched.add(from);
      return;
    }
    const target = to.key === "" ? undefined : (known ?? this.#create(from, to));
    for (const state of states) {
      from?.endpoints.delete(state.endpoint.id);
      target?.endpoints.add(state.endpoint.id);
      state.distinct = target;
    }
    if (from !== undefined) this.#touched.add(from);
  }

  /** The distinct policy of a membership, when there is one. */
  #known(from: Distinct | undefined, to: Membership): Distinct | undefined {
    const known = this.#distincts.get(to.key);
    return known !== undefined && isAfter(known.specs, from?.specs ?? new Set(), to) ? known : undefined;
  }

  #evolves(from: Distinct, to: Membership): boolean {
    return to.key !== "" && this.#grouping.canEvolve(from, to);
  }

  #create(from: Distinct | undefined, to: Membership): Distinct {
    const distinct = this.#grouping.create(this.#nextPolicyId++, from, to);
    this.#distincts.set(distinct.key, distinct);
    this.#byPolicyId.set(distinct.rows.policyId, distinct);
    this.#touched.add(distinct);
    return distinct;
  }
}

function newState(endpoint: PolicyEndpoint): EndpointState {
  return {
    endpoint,
    labels: undefined,
    distinct: undefined,
    gained: new Set(),
    lost: new Set(),
    policyId: undefined,
  };
}

function standingOf(labels: PolicyEndpoint["labels"]): Standing {
  if (labels["reserved:init"] !== undefined) return "init";
  return labels["reserved:host"] === undefined ? "pod" : "host";
}

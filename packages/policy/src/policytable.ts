import { takeSpec } from "./compiled.ts";
import type { CompiledSpec, Indexes } from "./compiledtypes.ts";
import type { EndpointTable } from "./endpointtable.ts";
import { sameValue } from "./equal.ts";
import { type Policy, type PolicyRef, policyKey } from "./rule.ts";
import type { Subjects } from "./subjects.ts";

/** The policies there are. */
export class PolicyTable {
  readonly #indexes: Indexes;
  readonly #subjects: Subjects;
  readonly #endpoints: EndpointTable;
  readonly #policies = new Map<string, { policy: Policy; specs: CompiledSpec[] }>();
  #retired: CompiledSpec[] = [];
  #nextSpecId = 1;

  constructor(indexes: Indexes, subjects: Subjects, endpoints: EndpointTable) {
    this.#indexes = indexes;
    this.#subjects = subjects;
    this.#endpoints = endpoints;
  }

  /** Adds a policy or replaces the one of the same kind, namespace and name. Unchanged specs cost nothing. */
  upsert(policy: Policy): void {
    const key = policyKey(policy.ref);
    const old = this.#policies.get(key);
    const reusable = old?.policy.ref.uid === policy.ref.uid ? [...(old?.specs ?? [])] : [];
    const specs = policy.specs.map((spec) => {
      const at = reusable.findIndex((known) => sameValue(known.spec, spec));
      const [known] = at < 0 ? [] : reusable.splice(at, 1);
      return known ?? this.#install(takeSpec(this.#nextSpecId++, policy.ref, spec, this.#indexes));
    });
    const kept = new Set(specs);
    for (const spec of old?.specs ?? []) if (!kept.has(spec)) this.#retire(spec);
    this.#policies.set(key, { policy, specs });
  }

  /** Removes a policy; false when it was not there. */
  delete(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): boolean {
    const key = policyKey(ref);
    const old = this.#policies.get(key);
    if (old === undefined) return false;
    for (const spec of old.specs) this.#retire(spec);
    return this.#policies.delete(key);
  }

  /** All policies. */
  *all(): Generator<Policy> {
    for (const { policy } of this.#policies.values()) yield policy;
  }

  /** The specs of a policy. */
  specsOf(ref: Pick<PolicyRef, "kind" | "namespace" | "name">): readonly CompiledSpec[] {
    return this.#policies.get(policyKey(ref))?.specs ?? [];
  }

  #install(spec: CompiledSpec): CompiledSpec {
    for (const id of this.#subjects.install(spec)) this.#endpoints.gain(id, spec);
    return spec;
  }

  /** Takes a spec out of force; it stays known until the commit has taken its rows back. */
  #retire(spec: CompiledSpec): void {
    for (const id of this.#subjects.remove(spec)) this.#endpoints.lose(id, spec);
    this.#retired.push(spec);
  }

  /** Forgets the specs that went out of force: their rows have been taken back. */
  dropRetired(): void {
    for (const spec of this.#retired) this.#indexes.subjects.release(spec.subject);
    this.#retired = [];
  }
}

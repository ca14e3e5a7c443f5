import { type Prefix, prefixKey } from "@axoneme/base";
import { file, unfile } from "./buckets.ts";
import { neededBy } from "./cidrindex.ts";
import {
  type CompiledSpec,
  compileSpec,
  concretePeers,
  dropSpec,
  fingerprintOf,
  type Indexes,
} from "./compiled.ts";
import type { SelectorNode } from "./labelindex.ts";
import type { PeerLinks } from "./peerlinks.ts";
import { type Policy, type PolicyRef, policyKey, type Rule } from "./rule.ts";

/** The policies in force and their compiled specs. */
export class PolicyTable {
  readonly #indexes: Indexes;
  readonly #links: PeerLinks;
  readonly #dirtyEndpoints: Set<number>;
  readonly #policies = new Map<string, { policy: Policy; specs: CompiledSpec[] }>();
  readonly #specsBySubject = new Map<SelectorNode, Set<CompiledSpec>>();
  #retired: CompiledSpec[] = [];
  #nextSpecId = 1;

  /** @param dirtyEndpoints collects the endpoints to which other specs may apply now. */
  constructor(indexes: Indexes, links: PeerLinks, dirtyEndpoints: Set<number>) {
    this.#indexes = indexes;
    this.#links = links;
    this.#dirtyEndpoints = dirtyEndpoints;
  }

  /** Adds a policy or replaces the one of the same kind, namespace and name. Unchanged specs cost nothing. */
  upsert(policy: Policy): void {
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

  /** The specs in force that select an endpoint. */
  specsFor(endpointId: number): Set<CompiledSpec> {
    const specs = new Set<CompiledSpec>();
    for (const node of this.#indexes.subjects.nodesOf(endpointId)) {
      for (const spec of this.#specsBySubject.get(node) ?? []) specs.add(spec);
    }
    return specs;
  }

  /** Prefixes a policy needs identities for, whether it is in force or not. */
  cidrsOf(policy: Policy): Prefix[] {
    const needed = policy.specs.flatMap(({ rules }) => rules).flatMap((rule) => this.#cidrsOf(rule));
    return [...new Map(needed.map((prefix) => [prefixKey(prefix), prefix])).values()];
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

  #install(spec: CompiledSpec): CompiledSpec {
    file(this.#specsBySubject, spec.subject, spec);
    for (const rule of spec.rules) this.#links.install(rule);
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

  /** Forgets the specs that went out of force: their rows have been taken back. */
  dropRetired(): void {
    for (const spec of this.#retired) {
      for (const rule of spec.rules) this.#links.drop(rule);
      dropSpec(spec, this.#indexes);
    }
    this.#retired = [];
  }
}

import { activate, deactivate } from "./compiled.ts";
import type { CompiledSpec, Indexes } from "./compiledtypes.ts";
import type { PeerLinks } from "./peerlinks.ts";

/** Specs that apply to local endpoints: only their rules are looked up and follow their peers. */
export class ActiveSpecs {
  readonly #indexes: Indexes;
  readonly #links: PeerLinks;
  /** Those to which nobody may belong any more. */
  readonly #idle = new Set<CompiledSpec>();

  constructor(indexes: Indexes, links: PeerLinks) {
    this.#indexes = indexes;
    this.#links = links;
  }

  /** A spec is about to apply to an endpoint. */
  need(spec: CompiledSpec): void {
    if (spec.active) return;
    activate(spec, this.#indexes);
    for (const rule of spec.rules) this.#links.install(rule);
    // Until an endpoint comes under it.
    this.#idle.add(spec);
  }

  /** An endpoint, or a whole distinct policy, left a spec. */
  leave(spec: CompiledSpec): void {
    if (spec.distincts.size === 0) this.#idle.add(spec);
  }

  /** Forgets the rules of specs that apply to nobody: their rows have been taken back. */
  rest(): void {
    for (const spec of this.#idle) {
      if (!spec.active || spec.distincts.size > 0) continue;
      for (const rule of spec.rules) this.#links.remove(rule);
      deactivate(spec, this.#indexes);
    }
    this.#idle.clear();
  }
}

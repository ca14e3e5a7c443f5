import type { Labels } from "@axoneme/identity";
import { file, unfile } from "./buckets.ts";
import type { CompiledSpec } from "./compiledtypes.ts";
import type { LabelIndex, SelectorNode } from "./labelindex.ts";

/** Which specs select which local endpoints. */
export class Subjects {
  readonly #index: LabelIndex;
  readonly #specs = new Map<SelectorNode, Set<CompiledSpec>>();

  constructor(index: LabelIndex) {
    this.#index = index;
  }

  /** A spec comes into force; the endpoints it selects. */
  install(spec: CompiledSpec): Iterable<number> {
    file(this.#specs, spec.subject, spec);
    return spec.subject.items;
  }

  /** A spec goes; the endpoints it selected. */
  remove(spec: CompiledSpec): Iterable<number> {
    unfile(this.#specs, spec.subject, spec);
    return spec.subject.items;
  }

  /** An endpoint has these labels now: the specs that select it newly, and those that do no longer. */
  place(id: number, labels: Labels): { gained: Iterable<CompiledSpec>; lost: Iterable<CompiledSpec> } {
    const before = this.#index.remove(id);
    const after = this.#index.add(id, labels);
    return { gained: this.#of(after, before), lost: this.#of(before, after) };
  }

  /** An endpoint is no more. */
  forget(id: number): void {
    this.#index.remove(id);
  }

  *#of(nodes: ReadonlySet<SelectorNode>, without: ReadonlySet<SelectorNode>): Generator<CompiledSpec> {
    for (const node of nodes) if (!without.has(node)) yield* this.#specs.get(node) ?? [];
  }
}

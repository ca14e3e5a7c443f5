import type { FlowResolver } from "@axoneme/flow";
import { type NameKey, nameKey, resolverOf } from "./names.ts";
import type { NameEntry } from "./recorder.ts";

/** The answers that a key had, and from which frame on. */
interface Answers {
  readonly frames: number[];
  readonly values: unknown[];
}

/** The names of a segment, as of each of its frames. Grows as far as the segment is read. */
export class Dictionary {
  readonly #answers = new Map<NameKey, Answers>();

  /** Takes in the names of a frame; frames come in their order. */
  add(frame: number, entries: readonly NameEntry[]): void {
    for (const [key, value] of entries) {
      const known = this.#answers.get(key);
      if (known === undefined) this.#answers.set(key, { frames: [frame], values: [value] });
      else {
        known.frames.push(frame);
        known.values.push(value);
      }
    }
  }

  /** Answers for records of a frame what the agent's resolver answered when they came. */
  resolver(frame: number, nodeName: string, nodeLabels: FlowResolver["nodeLabels"]): FlowResolver {
    const resolver = resolverOf(nodeName, (name, args) => {
      const key = (nameKey[name] as (...args: unknown[]) => NameKey)(...args);
      return this.#at(key, frame) as never;
    });
    return nodeLabels === undefined ? resolver : { ...resolver, nodeLabels };
  }

  #at(key: NameKey, frame: number): unknown {
    const known = this.#answers.get(key);
    if (known === undefined) return undefined;
    let i = known.frames.length - 1;
    while (i >= 0 && (known.frames[i] ?? 0) > frame) i--;
    return known.values[i] ?? undefined;
  }
}

import type { SideValues } from "./context.ts";

interface Entry {
  readonly key: string;
  readonly texts: readonly string[];
  /** Pods that the texts were made for; absent when they do not end with a pod. */
  readonly pods: Set<string> | undefined;
}

/** Label values as small numbers. Their number is bounded: beyond the limit there are none for new ones. */
export class InternedValues {
  readonly #limit: number;
  readonly #ids = new Map<string, number>();
  readonly #entries: (Entry | undefined)[] = [];
  readonly #free: number[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The number of these values; -1 when they are new and the limit is reached. */
  idOf({ texts, pod }: SideValues): number {
    const key = texts.join("\0");
    const known = this.#ids.get(key);
    if (known !== undefined) {
      if (pod !== undefined) this.#entries[known]?.pods?.add(pod);
      return known;
    }
    if (this.#ids.size >= this.#limit) return -1;
    const id = this.#free.pop() ?? this.#entries.length;
    this.#ids.set(key, id);
    this.#entries[id] = { key, texts, pods: pod === undefined ? undefined : new Set([pod]) };
    return id;
  }

  textsOf(id: number): readonly string[] {
    return this.#entries[id]?.texts ?? [];
  }

  /** Forgets the values that name none but these pods; the numbers that were theirs. */
  drop(pods: ReadonlySet<string>): Set<number> {
    const dropped = new Set<number>();
    for (const [id, entry] of this.#entries.entries()) {
      if (entry?.pods === undefined) continue;
      for (const pod of pods) entry.pods.delete(pod);
      if (entry.pods.size > 0) continue;
      this.#ids.delete(entry.key);
      this.#entries[id] = undefined;
      this.#free.push(id);
      dropped.add(id);
    }
    return dropped;
  }
}

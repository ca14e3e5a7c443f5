import type { LabelSource } from "@axoneme/identity";
import type { Selector } from "./selector.ts";

/** Labels of these are no pod's. */
const otherSources: ReadonlySet<LabelSource> = new Set([
  "reserved",
  "cidr",
  "cidrgroup",
  "node",
  "fqdn",
  "gen",
]);

/** Label keys of pods that a selector names, whatever it says of them. */
export function keysOf({ requirements }: Selector): Set<string> {
  return new Set(requirements.filter(({ source }) => !otherSources.has(source)).map(({ key }) => key));
}

/** How many selectors name a label key. */
export class KeyCounts {
  readonly #counts = new Map<string, number>();
  readonly #fresh = new Set<string>();

  add(selector: Selector): void {
    for (const key of keysOf(selector)) {
      const count = this.#counts.get(key) ?? 0;
      if (count === 0) this.#fresh.add(key);
      this.#counts.set(key, count + 1);
    }
  }

  remove(selector: Selector): void {
    for (const key of keysOf(selector)) {
      const count = (this.#counts.get(key) ?? 1) - 1;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
    }
  }

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  /** Keys that came to be named since the last call. */
  takeFresh(): string[] {
    const fresh = [...this.#fresh];
    this.#fresh.clear();
    return fresh;
  }
}

import { type Policy, peerKeys } from "@axoneme/policy";

/** Label keys that policies tell peers apart by, whomever they select, with the number of policies that do. */
export class NamedKeys {
  readonly #counts = new Map<string, number>();

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  /** A policy takes the place of another, or of none, or goes. */
  replace(before: Policy | undefined, now: Policy | undefined): void {
    if (now) this.#count(now, 1);
    if (before) this.#count(before, -1);
  }

  #count(policy: Policy, by: 1 | -1): void {
    for (const key of peerKeys(policy)) {
      const count = (this.#counts.get(key) ?? 0) + by;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
    }
  }
}

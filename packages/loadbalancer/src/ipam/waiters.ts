/** Sets of Services by what they wait for. */
export class Waiters<K> {
  readonly #byKey = new Map<K, Set<string>>();

  add(key: K, service: string): void {
    const set = this.#byKey.get(key);
    if (set === undefined) this.#byKey.set(key, new Set([service]));
    else set.add(service);
  }

  delete(key: K, service: string): void {
    const set = this.#byKey.get(key);
    if (set === undefined) return;
    set.delete(service);
    if (set.size === 0) this.#byKey.delete(key);
  }

  of(key: K): Iterable<string> {
    return this.#byKey.get(key) ?? [];
  }
}

/** Runs tasks one after the other per key, and different keys side by side. A failed task blocks nothing. */
export class KeyedQueue<K> {
  readonly #tails = new Map<K, Promise<void>>();

  /** Queues `task` behind those of the same key; resolves or rejects with its outcome. */
  run<T>(key: K, task: () => T | Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(task);
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(key, tail);
    void tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    return result;
  }

  /** Number of keys with work queued or running. */
  get busy(): number {
    return this.#tails.size;
  }

  /** Resolves when nothing is queued or running any more. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values());
  }
}

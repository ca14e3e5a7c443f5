/**
 * One kind of event: listeners are called at once, in the order they came. A listener that throws keeps no
 * other from being called; the first error is rethrown to the one who emitted.
 */
export class Emitter<T> {
  readonly #listeners = new Set<(value: T) => void>();

  /** Adds a listener; the result removes it. */
  on(listener: (value: T) => void): () => void {
    const own = (value: T): void => listener(value); // the same function may be added twice
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Adds a listener for the next event only. */
  once(listener: (value: T) => void): () => void {
    const off = this.on((value) => {
      off();
      listener(value);
    });
    return off;
  }

  emit(value: T): void {
    const errors: unknown[] = [];
    for (const listener of [...this.#listeners]) {
      try {
        listener(value);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }
}

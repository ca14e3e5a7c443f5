/** Largest id: the maps hold 32 bits. */
const maxId = 0xffff_ffff;
/** Ids a former agent may have given out beyond the highest of which a row is left. */
const leap = 1 << 20;
/** Beyond this the numbers start again, far from where they started. */
const turnAt = 0xf000_0000;

/** Numbers from 1 on, none twice; 0 is no id. */
export class IdCounter {
  #next = 1;
  readonly #taken = new Set<number>();

  next(): number {
    while (this.#taken.has(this.#next)) this.#advance();
    const id = this.#next;
    this.#advance();
    return id;
  }

  #advance(): void {
    this.#next = this.#next === maxId ? 1 : this.#next + 1;
  }

  /** An id that is in use. */
  restore(id: number): void {
    this.#taken.add(id);
    if (id >= this.#next) this.#next = id + 1;
  }

  /**
   * Goes on far from the restored ids, or anywhere when there are none: connections may remember ids whose rows went before a restart, and these
   * must not come again.
   * @param random in [0, 1).
   */
  jump(random: number): void {
    const known = this.#taken.size > 0;
    this.#next += leap + Math.floor(random * leap);
    if (known && this.#next < turnAt) this.#taken.clear();
    else this.#next = 1 + Math.floor(random * (turnAt / 2));
  }
}

/** Entries at most; older ones are thinned to make room. 1 MiB. */
const limit = 65_536;
/** Records of different CPUs may stand out of order by less than this many seconds. */
const slack = 1;

/**
 * For the records of a ring, by second, the number of the first one at or after it. Holds what the ring holds: a
 * second costs one entry, and goes with its records. If there were too many, entries stand for two seconds, four, ...:
 * they only say where to begin to look.
 */
export class TimeIndex {
  #seconds: number[] = [];
  #seqs: number[] = [];
  /** Entries before this one are of records that are overwritten. */
  #head = 0;
  /** Second of the newest entry, and the latest second of all records. */
  #last = Number.NEGATIVE_INFINITY;
  #latest = Number.NEGATIVE_INFINITY;
  /** Seconds from one entry to the next, at least. */
  #step = 1;
  /** Last record that was older than its time among the others allows: the clock was set back. */
  #backAt = -1;

  /** Takes in the record `seq` of a second. Called for every record, in their order. */
  add(second: number, seq: number): void {
    if (second > this.#latest) this.#latest = second;
    else if (second < this.#latest - slack) this.#backAt = seq;
    if (second < this.#last + this.#step) return;
    this.#seconds.push(second);
    this.#seqs.push(seq);
    this.#last = second;
    if (this.#seconds.length - this.#head > limit) this.#thin();
  }

  /** Forgets what is before the oldest record that is held. */
  forget(oldestSeq: number): void {
    while (this.#head + 1 < this.#seqs.length && (this.#seqs[this.#head + 1] ?? 0) <= oldestSeq) this.#head++;
    const newest = this.#seqs.at(-1) ?? oldestSeq;
    if (newest < oldestSeq && this.#backAt > newest) this.#restart();
    if (this.#head * 2 < this.#seqs.length || this.#head < 64) return;
    this.#seconds = this.#seconds.slice(this.#head);
    this.#seqs = this.#seqs.slice(this.#head);
    this.#head = 0;
    if (this.#step > 1 && this.#seqs.length < limit / 4) this.#step /= 2;
  }

  /** No record before this one is at or after the second; 0 when all may be. */
  firstFrom(second: number): number {
    const entry = this.#after(second - slack);
    return entry === this.#head ? 0 : (this.#seqs[entry - 1] ?? 0);
  }

  /** No record from this one on is of the second or an earlier one; `none` when the last may be. */
  endOf(second: number, oldestSeq: number, none: number): number {
    if (this.#backAt >= oldestSeq) return none;
    return this.#seqs[this.#after(second + slack)] ?? none;
  }

  /** First entry of a later second. */
  #after(second: number): number {
    let low = this.#head;
    let high = this.#seconds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#seconds[middle] ?? 0) <= second) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The clock was set back, and what was recorded in its future is gone: what comes is in order again. */
  #restart(): void {
    this.#seconds = [];
    this.#seqs = [];
    this.#head = 0;
    this.#last = Number.NEGATIVE_INFINITY;
    this.#latest = Number.NEGATIVE_INFINITY;
  }

  #thin(): void {
    this.#step *= 2;
    const keep = (_: number, i: number): boolean => i >= this.#head && (i - this.#head) % 2 === 0;
    this.#seconds = this.#seconds.filter(keep);
    this.#seqs = this.#seqs.filter(keep);
    this.#head = 0;
    this.#last = this.#seconds.at(-1) ?? this.#last;
  }
}

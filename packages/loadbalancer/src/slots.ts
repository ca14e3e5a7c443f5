/** A range of `ax_slots`. */
export interface SlotRange {
  readonly offset: number;
  readonly size: number;
}

/** A freed range stays untouched so long: no reader that found it in a service row is still there then. */
export const quarantineMs = 1_000;

/**
 * Gives out ranges of `ax_slots`: the smallest free one that fits, else from the end. Freed ranges are joined
 * with their free neighbours once `reclaim` has let them out of quarantine. Every operation costs the number of
 * different sizes of free ranges at most, not their count.
 */
export class SlotAllocator {
  readonly #limit: number;
  /** Free ranges by their start and by the offset after their end. */
  readonly #byStart = new Map<number, number>();
  readonly #byEnd = new Map<number, number>();
  /** Starts of free ranges by size, and the sizes there are, ascending. */
  readonly #bySize = new Map<number, Set<number>>();
  readonly #sizes: number[] = [];
  /** Freed ranges not yet seen by `reclaim`, and those that wait. */
  #fresh: SlotRange[] = [];
  #waiting: { freedAt: number; ranges: SlotRange[] }[] = [];
  #end = 0;
  #used = 0;

  /** @param limit slots there may be at all. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The map must have this many slots: every range ever given out lies below. */
  get slotsNeeded(): number {
    return this.#end;
  }

  /** Slots in ranges that are given out. */
  get used(): number {
    return this.#used;
  }

  /** Slots in freed ranges that wait. */
  get quarantined(): number {
    return [...this.#fresh, ...this.#waiting.flatMap(({ ranges }) => ranges)].reduce(
      (sum, { size }) => sum + size,
      0,
    );
  }

  /** Offset of a range of this size (1 or more), or undefined when the limit leaves no room. */
  allocate(size: number): number | undefined {
    const offset = this.#bestFit(size) ?? this.#grow(size);
    if (offset !== undefined) this.#used += size;
    return offset;
  }

  /** Gives a range back. It comes out again `quarantineMs` after the first `reclaim` that sees it. */
  free(range: SlotRange): void {
    this.#used -= range.size;
    this.#fresh.push(range);
  }

  /** Lets ranges out of quarantine. `nowMs` is any clock that only goes forward. Returns whether any came. */
  reclaim(nowMs: number): boolean {
    let came = false;
    while (this.#waiting[0] !== undefined && this.#waiting[0].freedAt + quarantineMs <= nowMs) {
      for (const { offset, size } of this.#waiting.shift()?.ranges ?? []) this.#release(offset, size);
      came = true;
    }
    if (this.#fresh.length > 0) this.#waiting.push({ freedAt: nowMs, ranges: this.#fresh });
    this.#fresh = [];
    return came;
  }

  /** Takes over a range that is in use, before anything else and in ascending order; gaps are freed. */
  adopt({ offset, size }: SlotRange): void {
    if (offset < this.#end) throw new RangeError(`slots ${offset} to ${offset + size} are in use already`);
    this.skipTo(offset);
    this.#end = offset + size;
    this.#used += size;
  }

  /** What lies before `offset` was in use until now: it is freed. */
  skipTo(offset: number): void {
    if (offset <= this.#end) return;
    this.#fresh.push({ offset: this.#end, size: offset - this.#end });
    this.#end = offset;
  }

  #bestFit(size: number): number | undefined {
    const fit = this.#sizes[lowerBound(this.#sizes, size)];
    if (fit === undefined) return undefined;
    for (const offset of this.#bySize.get(fit) ?? []) {
      this.#take(offset, fit);
      if (fit > size) this.#give(offset + size, fit - size);
      return offset;
    }
    return undefined;
  }

  /** From the end on, beginning with the free range that ends there. */
  #grow(size: number): number | undefined {
    const tail = this.#byEnd.get(this.#end);
    const offset = tail ?? this.#end;
    if (offset + size > this.#limit) return undefined;
    if (tail !== undefined) this.#take(tail, this.#end - tail);
    this.#end = offset + size;
    return offset;
  }

  #release(offset: number, size: number): void {
    const before = this.#byEnd.get(offset);
    const after = this.#byStart.get(offset + size);
    const start = before ?? offset;
    const end = offset + size + (after ?? 0);
    if (before !== undefined) this.#take(before, offset - before);
    if (after !== undefined) this.#take(offset + size, after);
    this.#give(start, end - start);
  }

  #give(offset: number, size: number): void {
    this.#byStart.set(offset, size);
    this.#byEnd.set(offset + size, offset);
    const starts = this.#bySize.get(size);
    if (starts !== undefined) {
      starts.add(offset);
      return;
    }
    this.#bySize.set(size, new Set([offset]));
    this.#sizes.splice(lowerBound(this.#sizes, size), 0, size);
  }

  #take(offset: number, size: number): void {
    this.#byStart.delete(offset);
    this.#byEnd.delete(offset + size);
    const starts = this.#bySize.get(size);
    starts?.delete(offset);
    if (starts?.size !== 0) return;
    this.#bySize.delete(size);
    this.#sizes.splice(lowerBound(this.#sizes, size), 1);
  }
}

/** Index of the first element that is `value` or more. */
function lowerBound(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

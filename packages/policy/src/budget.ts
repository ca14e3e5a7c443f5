import type { Distinct } from "./compiledtypes.ts";
import type { Defaults } from "./distinct.ts";
import type { Phases } from "./phases.ts";

/** How many rows and heads there are room for, or are asked for. */
export interface MapSpace {
  readonly rows: number;
  readonly heads: number;
}

/** Heads of a distinct policy: one a direction. */
const HEADS = 2;

/**
 * Keeps what is written within the room of the maps. A distinct policy that does not fit is taken out as a whole, its
 * heads first: its endpoints accept nothing new, and never half of it is in force. It comes back when there is room.
 */
export class Budget {
  readonly #capacity: MapSpace;
  readonly #defaults: (distinct: Distinct) => Defaults;
  /** Distinct policies in the maps, each with its number of rows as of the last commit. */
  readonly #written = new Map<Distinct, number>();
  readonly #withdrawn = new Set<Distinct>();
  #rows = 0;

  constructor(capacity: MapSpace, defaults: (distinct: Distinct) => Defaults) {
    this.#capacity = capacity;
    this.#defaults = defaults;
  }

  /** Whether a distinct policy is kept out of the maps. */
  isWithdrawn(distinct: Distinct): boolean {
    return this.#withdrawn.has(distinct);
  }

  /** Those kept out of the maps. */
  get withdrawn(): Iterable<Distinct> {
    return this.#withdrawn;
  }

  /** What is in the maps. */
  get used(): MapSpace {
    return { rows: this.#rows, heads: this.#written.size * HEADS };
  }

  /** What will be in the maps while changes of these are on their way: rows go after others came. */
  demand(touched: Iterable<Distinct>): MapSpace {
    let { rows, heads } = this.used;
    for (const distinct of touched) {
      if (distinct.endpoints.size === 0 || this.#withdrawn.has(distinct)) continue;
      rows += this.#growth(distinct);
      if (!this.#written.has(distinct)) heads += HEADS;
    }
    return { rows, heads };
  }

  /** Files the writes of these, and of those that were kept out and fit now. */
  commit(touched: Iterable<Distinct>, phases: Phases): void {
    const changed = new Set([...touched, ...this.#withdrawn]);
    let { rows, heads } = this.used;
    for (const distinct of changed) {
      if (distinct.endpoints.size === 0) continue;
      const growth = this.#growth(distinct);
      const more = this.#written.has(distinct) ? 0 : HEADS;
      if (rows + growth > this.#capacity.rows || heads + more > this.#capacity.heads) {
        this.#withdraw(distinct, phases);
        continue;
      }
      rows += growth;
      heads += more;
      this.#withdrawn.delete(distinct);
      distinct.rows.commit(this.#defaults(distinct), phases);
      this.#count(distinct, distinct.rows.rowCount);
    }
  }

  /** A distinct policy is no more. */
  forget(distinct: Distinct): void {
    this.#count(distinct, undefined);
    this.#withdrawn.delete(distinct);
  }

  #growth(distinct: Distinct): number {
    return distinct.rows.peak(this.#defaults(distinct)) - (this.#written.get(distinct) ?? 0);
  }

  #withdraw(distinct: Distinct, phases: Phases): void {
    this.#withdrawn.add(distinct);
    if (!this.#written.has(distinct)) return;
    for (const change of distinct.rows.withdraw()) phases.withdrawals.push(change);
    this.#count(distinct, undefined);
  }

  #count(distinct: Distinct, rows: number | undefined): void {
    this.#rows += (rows ?? 0) - (this.#written.get(distinct) ?? 0);
    if (rows === undefined) this.#written.delete(distinct);
    else this.#written.set(distinct, rows);
  }
}

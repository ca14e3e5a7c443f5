import { type Filter, type FlowRow, matches } from "../shared/model.ts";

/** The newest flows, in a ring: memory is what `capacity` rows take. */
export class RecentFlows {
  readonly #rows: (FlowRow | undefined)[];
  #count = 0;

  constructor(capacity: number) {
    this.#rows = new Array<FlowRow | undefined>(capacity);
  }

  /** Flows so far: a reader's place in the stream. */
  get count(): number {
    return this.#count;
  }

  add(row: FlowRow): void {
    this.#rows[this.#count++ % this.#rows.length] = row;
  }

  /** Matching flows from place `from` on, oldest first: the newest `limit` of them, and how many were left out. */
  since(from: number, filter: Filter, limit: number): { rows: FlowRow[]; skipped: number } {
    const oldest = Math.max(from, this.#count - this.#rows.length, 0);
    const rows: FlowRow[] = [];
    let skipped = 0;
    for (let place = this.#count - 1; place >= oldest; place--) {
      const row = this.#rows[place % this.#rows.length];
      if (row === undefined || !matches(row, filter)) continue;
      if (rows.length < limit) rows.push(row);
      else skipped++;
    }
    return { rows: rows.reverse(), skipped: skipped + Math.max(0, oldest - from) };
  }

  /** By its identifier, while it is here. */
  find(id: string): FlowRow | undefined {
    return this.#rows.find((row) => row?.id === id);
  }
}

import { type Filter, type FlowRow, matches } from "../shared/model.ts";

/** Turns messages into rows, and passes over those that a filter cannot match. */
export interface RowReader {
  row(message: Uint8Array): FlowRow | undefined;
  mayMatch(message: Uint8Array, filter: Filter): boolean;
}

/** The newest flows as they came, in a ring; rows are made of those that somebody looks at. */
export class RecentFlows {
  readonly #messages: (Uint8Array | undefined)[];
  readonly #reader: RowReader;
  #count = 0;

  constructor(capacity: number, reader: RowReader) {
    this.#messages = new Array<Uint8Array | undefined>(capacity);
    this.#reader = reader;
  }

  /** Flows so far: a reader's place in the stream. */
  get count(): number {
    return this.#count;
  }

  add(message: Uint8Array): void {
    this.#messages[this.#count++ % this.#messages.length] = message;
  }

  /** Matching flows from place `from` on, oldest first: the newest `limit` of them, and how many were left out. */
  since(from: number, filter: Filter, limit: number): { rows: FlowRow[]; skipped: number } {
    const oldest = Math.max(from, this.#count - this.#messages.length, 0);
    const isAll = Object.values(filter).every((value) => value === "");
    const rows: FlowRow[] = [];
    let skipped = Math.max(0, oldest - from);
    for (let place = this.#count - 1; place >= oldest; place--) {
      if (isAll && rows.length === limit) {
        skipped += place - oldest + 1;
        break;
      }
      const message = this.#messages[place % this.#messages.length];
      if (message === undefined || !this.#reader.mayMatch(message, filter)) continue;
      const row = this.#reader.row(message);
      if (row === undefined || !matches(row, filter)) continue;
      if (rows.length < limit) rows.push(row);
      else skipped++;
    }
    return { rows: rows.reverse(), skipped };
  }
}

import { type Cell, cellText } from "./truth.ts";

interface State {
  /** What holds in it, by cell. */
  readonly wanted: readonly boolean[];
  /** In force from then on, at the earliest; until then, at the latest. Milliseconds. */
  readonly from: number;
  until: number;
}

/**
 * States of policy one after the other, and what connections found meanwhile. A change takes a while: between its
 * beginning and its end a connection may find either state, but nothing that both forbid, and all that both allow.
 */
export class History {
  readonly #cells: readonly Cell[];
  readonly #states: State[];
  /** Connections that found what no state of their time says. */
  readonly wrong: string[] = [];
  /** Connections that had to find something, since all states of their time said the same. */
  decided = 0;

  constructor(cells: readonly Cell[], wanted: readonly boolean[]) {
    this.#cells = cells;
    this.#states = [{ wanted, from: 0, until: Number.POSITIVE_INFINITY }];
  }

  get now(): readonly boolean[] {
    return this.#states.at(-1)?.wanted ?? [];
  }

  get changes(): number {
    return this.#states.length - 1;
  }

  /** A change begins. */
  begins(wanted: readonly boolean[]): void {
    this.#states.push({ wanted, from: performance.now(), until: Number.POSITIVE_INFINITY });
  }

  /** The last change is in force everywhere. */
  ends(): void {
    const now = performance.now();
    for (const former of this.#states.slice(0, -1)) former.until = Math.min(former.until, now);
  }

  /** All cells were asked between then and now. */
  found(since: number, is: readonly boolean[]): void {
    const now = performance.now();
    const possible = this.#states.filter(({ from, until }) => from <= now && until >= since);
    for (const [i, cell] of this.#cells.entries()) {
      const first = possible[0]?.wanted[i];
      if (possible.some(({ wanted }) => wanted[i] !== first)) continue;
      this.decided++;
      if (is[i] === first) continue;
      const said = first ? "open in all" : "shut in all";
      this.wrong.push(`${cellText(cell)}: ${said} ${possible.length} states, and was not`);
    }
  }
}

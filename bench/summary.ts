import { writeReport } from "./net/index.ts";

/** One line of the summary that `make bench` ends with. */
export interface Measure {
  readonly measure: string;
  readonly ours: string;
  /** What it was compared with; empty where the bar is a figure of its own. */
  readonly peer: string;
  /** The judged figure: a ratio to the peer, or ours in the bar's unit. */
  readonly value: number;
  readonly bar: Bar;
}

/** What a figure is judged by. */
export type Bar = { readonly atLeast: number } | { readonly atMost: number };

/** Whether a figure meets its bar. A figure that could not be had does not. */
export function meets(value: number, bar: Bar): boolean {
  return "atLeast" in bar ? value >= bar.atLeast : value <= bar.atMost;
}

/** Writes `build/bench/summary-<name>.json`, which scripts/bench.mjs puts together into one table. */
export function writeSummary(root: string, name: string, measures: readonly Measure[]): string {
  const judged = measures.map((entry) => ({ ...entry, met: meets(entry.value, entry.bar) }));
  return writeReport(root, `summary-${name}`, { measures: judged });
}

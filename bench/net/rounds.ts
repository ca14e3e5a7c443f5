import type { Measurement, Mode, PairResult } from "./perf.ts";
import { modes } from "./perf.ts";

/** Something to measure; the first of a comparison is the baseline. */
export interface Subject {
  readonly name: string;
  measure(): Promise<PairResult>;
}

/** The figure a mode is judged by: bits for the stream, operations for the rest. */
export function rate(measurement: Measurement): number {
  return measurement.mode === "tcp-stream" ? measurement.bitsPerSecond : measurement.opsPerSecond;
}

/** One mode of one subject over all rounds. */
export interface Figure {
  readonly subject: string;
  readonly mode: Mode;
  /** Median over the rounds; see {@link rate}. */
  readonly rate: number;
  /** Medians, in microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Median over the rounds of the rate against the baseline's in the same round, and its extremes. */
  readonly ratio: number;
  readonly ratioMin: number;
  readonly ratioMax: number;
  readonly errors: number;
  readonly lost: number;
  readonly rounds: number;
}

/** A comparison: every figure, and every measurement behind it by subject and round. */
export interface Comparison {
  readonly baseline: string;
  readonly figures: readonly Figure[];
  readonly measurements: Readonly<Record<string, readonly PairResult[]>>;
}

/** The middle value; of an even number the mean of the two middle ones. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
  return (upper + lower) / 2;
}

/**
 * Measures the subjects in turn, round after round (A, B, A, B ...), so that a machine that slows down slows down
 * all of them, and compares each with the first of its own round.
 */
export async function compare(
  subjects: readonly Subject[],
  rounds: number,
  progress: (text: string) => void = () => undefined,
): Promise<Comparison> {
  const measurements: Record<string, PairResult[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const subject of subjects) {
      progress(`round ${round + 1} of ${rounds}: ${subject.name}`);
      const results = measurements[subject.name] ?? [];
      results.push(await subject.measure());
      measurements[subject.name] = results;
    }
  }
  const baseline = subjects[0]?.name ?? "";
  const figures = subjects.flatMap(({ name }) =>
    modes.flatMap((mode) => figure(name, mode, measurements[name] ?? [], measurements[baseline] ?? [])),
  );
  return { baseline, figures, measurements };
}

function figure(subject: string, mode: Mode, own: PairResult[], base: PairResult[]): Figure[] {
  const found = own.map((result) => result[mode]).filter((result) => result !== undefined);
  if (found.length === 0) return [];
  const ratios = own.flatMap((result, round) => {
    const mine = result[mode];
    const other = base[round]?.[mode];
    return mine === undefined || other === undefined ? [] : [rate(mine) / rate(other)];
  });
  return [
    {
      subject,
      mode,
      rate: median(found.map(rate)),
      p50: median(found.map((result) => result.latencyUs.p50)),
      p99: median(found.map((result) => result.latencyUs.p99)),
      ratio: median(ratios),
      ratioMin: Math.min(...ratios),
      ratioMax: Math.max(...ratios),
      errors: found.reduce((sum, result) => sum + result.errors, 0),
      lost: found.reduce((sum, result) => sum + result.lost, 0),
      rounds: found.length,
    },
  ];
}

import { type Measurement, type Mode, modes } from "./perf.ts";

/** Something to measure; the first of a comparison is the baseline. */
export interface Subject {
  readonly name: string;
  measure(mode: Mode): Promise<Measurement>;
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
  /** The best round against the baseline's best: what other work on the machine disturbs least. */
  readonly bestRatio: number;
  /** Baseline's median latency against this one's, from the least of the rounds' medians: likewise. */
  readonly latencyRatio: number;
  readonly errors: number;
  readonly lost: number;
  readonly rounds: number;
}

/** A comparison: every figure, and every measurement behind it by subject and round. */
export interface Comparison {
  readonly baseline: string;
  readonly figures: readonly Figure[];
  readonly measurements: Readonly<Record<string, readonly Measurement[]>>;
}

/** Options of {@link compare}. */
export interface CompareOptions {
  readonly rounds: number;
  /** Default all four. */
  readonly modes?: readonly Mode[];
  /** Told before each measurement. */
  readonly progress?: (text: string) => void;
}

/** The middle value; of an even number the mean of the two middle ones. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
  return (upper + lower) / 2;
}

/**
 * Measures the subjects side by side, mode by mode and round by round, every second round in the other order
 * (A, B, B, A ...), so that a machine that slows down slows down all of them; each is compared with the baseline
 * of its own round.
 */
export async function compare(subjects: readonly Subject[], options: CompareOptions): Promise<Comparison> {
  const wanted = options.modes ?? modes;
  const measurements: Record<string, Measurement[]> = {};
  for (const { name } of subjects) measurements[name] = [];
  for (const mode of wanted) {
    for (let round = 0; round < options.rounds; round++) {
      const order = round % 2 === 0 ? subjects : [...subjects].reverse();
      for (const subject of order) {
        options.progress?.(`${mode}, round ${round + 1} of ${options.rounds}: ${subject.name}`);
        measurements[subject.name]?.push(await subject.measure(mode));
      }
    }
  }
  const baseline = subjects[0]?.name ?? "";
  const of = (name: string, mode: Mode): Measurement[] =>
    (measurements[name] ?? []).filter((measurement) => measurement.mode === mode);
  const figures = wanted.flatMap((mode) =>
    subjects.map(({ name }) => figure(name, mode, of(name, mode), of(baseline, mode))),
  );
  return { baseline, figures, measurements };
}

const p50 = (measurement: Measurement): number => measurement.latencyUs.p50;

function figure(subject: string, mode: Mode, own: Measurement[], base: Measurement[]): Figure {
  const ratios = own.map((measurement, round) => {
    const other = base[round];
    return other === undefined ? Number.NaN : rate(measurement) / rate(other);
  });
  return {
    subject,
    mode,
    rate: median(own.map(rate)),
    p50: median(own.map(p50)),
    p99: median(own.map((measurement) => measurement.latencyUs.p99)),
    ratio: median(ratios),
    ratioMin: Math.min(...ratios),
    ratioMax: Math.max(...ratios),
    bestRatio: Math.max(...own.map(rate)) / Math.max(...base.map(rate)),
    latencyRatio: Math.min(...base.map(p50)) / Math.min(...own.map(p50)),
    errors: own.reduce((sum, measurement) => sum + measurement.errors, 0),
    lost: own.reduce((sum, measurement) => sum + measurement.lost, 0),
    rounds: own.length,
  };
}

import { Counter, type Registry } from "prom-client";

export interface BoundedCounterOptions {
  readonly registry: Registry;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Label values of a key. */
  readonly texts: (key: number) => string[];
  /** Series at most; further keys are counted together as "other". */
  readonly limit: number;
}

/**
 * A Prometheus counter whose series are numbers until somebody scrapes: adding costs one map look-up, texts are made
 * once a series. The number of series is bounded; what exceeds it is counted, in one series whose labels all say
 * "other", and in axoneme_metric_series_folded_total.
 */
export class BoundedCounter {
  readonly #options: BoundedCounterOptions;
  readonly #pending = new Map<number, number>();
  readonly #series = new Map<number, Record<string, string>>();
  readonly #other: Record<string, string>;
  readonly #folded: Counter;

  constructor(options: BoundedCounterOptions) {
    this.#options = options;
    this.#other = Object.fromEntries(options.labels.map((label) => [label, "other"]));
    this.#folded = foldedCounter(options.registry);
    const flush = (counter: Counter): void => this.#flush(counter);
    new Counter({
      name: options.name,
      help: options.help,
      labelNames: [...options.labels],
      registers: [options.registry],
      collect() {
        flush(this);
      },
    });
  }

  /** Adds to the series of a key. */
  add(key: number, value: number): void {
    const known = this.#pending.get(key);
    if (known !== undefined) this.#pending.set(key, known + value);
    else if (this.#series.size < this.#options.limit || this.#series.has(key)) this.#begin(key, value);
    else this.#pending.set(-1, (this.#pending.get(-1) ?? 0) + value);
  }

  #begin(key: number, value: number): void {
    if (!this.#series.has(key)) {
      const texts = this.#options.texts(key);
      this.#series.set(
        key,
        Object.fromEntries(this.#options.labels.map((label, i) => [label, texts[i] ?? ""])),
      );
    }
    this.#pending.set(key, value);
  }

  #flush(counter: Counter): void {
    for (const [key, value] of this.#pending) {
      if (value === 0) continue;
      counter.inc(this.#series.get(key) ?? this.#other, value);
      if (key === -1) this.#folded.inc({ metric: this.#options.name }, value);
      // Zeroed, not removed: the key stays a single look-up.
      this.#pending.set(key, 0);
    }
  }
}

const foldedName = "axoneme_metric_series_folded_total";

function foldedCounter(registry: Registry): Counter {
  const existing = registry.getSingleMetric(foldedName);
  if (existing instanceof Counter) return existing;
  return new Counter({
    name: foldedName,
    help: "Increments that went to the series 'other' because a metric had reached its limit of series",
    labelNames: ["metric"],
    registers: [registry],
  });
}

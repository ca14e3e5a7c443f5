import { Counter, type Registry } from "prom-client";

export interface SeriesOptions {
  readonly registry: Registry;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Label values of a series. */
  readonly texts: (base: number, source: number, destination: number) => readonly string[];
  /** Series at most; what comes later is counted together as "other". */
  readonly limit: number;
  /** Called before a scrape. */
  readonly beforeCollect?: () => void;
}

/**
 * A Prometheus counter whose series are three 31-bit numbers until somebody scrapes: counting is a look-up in typed
 * arrays and allocates nothing. The number of series is bounded: what exceeds it is counted in one series whose labels
 * all say "other", and in axoneme_metric_series_folded_total.
 */
export class SeriesCounter {
  readonly #options: SeriesOptions;
  readonly #mask: number;
  readonly #base: Int32Array;
  /** -1: an empty place. */
  readonly #source: Int32Array;
  readonly #destination: Int32Array;
  readonly #counts: Float64Array;
  #size = 0;
  #other = 0;

  constructor(options: SeriesOptions) {
    this.#options = options;
    const places = 2 ** Math.ceil(Math.log2(Math.max(8, options.limit * 2)));
    this.#mask = places - 1;
    this.#base = new Int32Array(places);
    this.#source = new Int32Array(places).fill(-1);
    this.#destination = new Int32Array(places);
    this.#counts = new Float64Array(places);
    const folded = foldedCounter(options.registry);
    const collect = (counter: Counter): void => this.#collect(counter, folded);
    new Counter({
      name: options.name,
      help: options.help,
      labelNames: [...options.labels],
      registers: [options.registry],
      collect() {
        collect(this);
      },
    });
  }

  /** The metric is not counted any more: scrapes do not show it. */
  dispose(): void {
    this.#options.registry.removeSingleMetric(this.#options.name);
  }

  /** Series now, without "other". */
  get size(): number {
    return this.#size;
  }

  /** Adds to a series; a negative number stands for what has no number of its own. */
  add(base: number, source: number, destination: number, value: number): void {
    if (base < 0 || source < 0 || destination < 0) {
      this.#other += value;
      return;
    }
    let place = this.#home(base, source, destination);
    while (this.#source[place] !== -1) {
      if (
        this.#base[place] === base &&
        this.#source[place] === source &&
        this.#destination[place] === destination
      ) {
        this.#counts[place] = (this.#counts[place] ?? 0) + value;
        return;
      }
      place = (place + 1) & this.#mask;
    }
    if (this.#size >= this.#options.limit) {
      this.#other += value;
      return;
    }
    this.#put(place, base, source, destination, value);
    this.#size++;
  }

  /** Removes series; what they had counted goes with them. */
  remove(isGone: (source: number, destination: number) => boolean): void {
    const old = [...this.#rows()];
    this.#source.fill(-1);
    this.#size = 0;
    for (const [base, source, destination, count] of old) {
      if (!isGone(source, destination)) this.add(base, source, destination, count);
    }
  }

  #put(place: number, base: number, source: number, destination: number, count: number): void {
    this.#base[place] = base;
    this.#source[place] = source;
    this.#destination[place] = destination;
    this.#counts[place] = count;
  }

  #home(base: number, source: number, destination: number): number {
    let hash = Math.imul(base, 0x9e37_79b1) ^ Math.imul(source, 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ Math.imul(destination, 0xc2b2_ae35), 0x27d4_eb2f);
    return (hash ^ (hash >>> 13)) & this.#mask;
  }

  *#rows(): Generator<[base: number, source: number, destination: number, count: number]> {
    for (const [place, source] of this.#source.entries()) {
      if (source === -1) continue;
      yield [this.#base[place] ?? 0, source, this.#destination[place] ?? 0, this.#counts[place] ?? 0];
    }
  }

  #collect(counter: Counter, folded: Counter): void {
    this.#options.beforeCollect?.();
    const { labels, name } = this.#options;
    counter.reset();
    for (const [base, source, destination, count] of this.#rows()) {
      const texts = this.#options.texts(base, source, destination);
      counter.inc(Object.fromEntries(labels.map((label, i) => [label, texts[i] ?? ""])), count);
    }
    if (this.#other === 0) return;
    counter.inc(Object.fromEntries(labels.map((label) => [label, "other"])), this.#other);
    folded.remove({ metric: name });
    folded.inc({ metric: name }, this.#other);
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

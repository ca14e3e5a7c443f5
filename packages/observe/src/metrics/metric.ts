import type { Registry } from "prom-client";
import { directionTexts } from "./context.ts";
import type { PeerTable } from "./peers.ts";
import type { RawFlow } from "./raw-flow.ts";
import { SeriesCounter } from "./series.ts";
import { SideValuesOf } from "./side-values.ts";
import type { ContextSpec } from "./spec.ts";

/** What metrics of one registry share. */
export interface MetricSetting {
  readonly registry: Registry;
  /** Series of one metric at most. */
  readonly limit: number;
  readonly onPod: (pod: string) => void;
  readonly beforeCollect: () => void;
}

export interface MetricShape {
  readonly metric: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly texts: (base: number) => readonly string[];
}

/** One counter with its labels about the two sides. */
export class ContextMetric {
  readonly source: SideValuesOf;
  readonly destination: SideValuesOf;
  readonly #series: SeriesCounter;
  readonly #hasSource: boolean;
  readonly #hasDestination: boolean;
  /** Whether the direction is a label, and whether it is asked for at all. */
  readonly #hasDirection: boolean;
  readonly #directed: boolean;

  constructor(shape: MetricShape, context: ContextSpec, setting: MetricSetting) {
    this.source = new SideValuesOf("source", context, setting.limit, setting.onPod);
    this.destination = new SideValuesOf("destination", context, setting.limit, setting.onPod);
    this.#hasSource = this.source.labels.names.length > 0;
    this.#hasDestination = this.destination.labels.names.length > 0;
    this.#hasDirection = context.labels.includes("traffic_direction");
    this.#directed = this.#hasDirection || this.source.labels.directed || this.destination.labels.directed;
    const direction = this.#hasDirection ? ["traffic_direction"] : [];
    this.#series = new SeriesCounter({
      registry: setting.registry,
      name: shape.metric,
      help: shape.help,
      labels: [...shape.labels, ...this.source.labels.names, ...this.destination.labels.names, ...direction],
      limit: setting.limit,
      beforeCollect: setting.beforeCollect,
      texts: (base, source, destination) => [
        ...shape.texts(base >> 2),
        ...this.source.textsOf(source),
        ...this.destination.textsOf(destination),
        ...(this.#hasDirection ? [directionTexts[base & 3] ?? "unknown"] : []),
      ],
    });
  }

  /** Counts a raw flow in a series. The places are those of the two sides in the peer table. */
  count(base: number, flow: RawFlow, peers: PeerTable, source: number, destination: number): void {
    const direction = this.#directed ? flow.direction : 0;
    const from = this.#hasSource ? this.source.idOf(peers, source, direction) : 0;
    const to = this.#hasDestination ? this.destination.idOf(peers, destination, direction) : 0;
    this.add(base, direction, from, to, 1);
  }

  /** Adds to a series whose numbers are known. */
  add(base: number, direction: number, source: number, destination: number, value: number): void {
    this.#series.add(
      base < 0 ? -1 : (base << 2) | (this.#hasDirection ? direction : 0),
      source,
      destination,
      value,
    );
  }

  /** The metric is not counted any more. */
  dispose(): void {
    this.#series.dispose();
  }

  /** Removes the series of pods that are gone. */
  drop(pods: ReadonlySet<string>): void {
    const sources = this.source.drop(pods);
    const destinations = this.destination.drop(pods);
    if (sources.size + destinations.size === 0) return;
    this.#series.remove((source, destination) => sources.has(source) || destinations.has(destination));
  }
}

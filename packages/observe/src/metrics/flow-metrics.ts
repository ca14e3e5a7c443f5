import { type Flow, type FlowMatcher, type FlowResolver, partsOf, recordSize, toFlows } from "@axoneme/flow";
import type { Registry } from "prom-client";
import { definitionOf, type MetricDefinition } from "./definitions.ts";
import { DnsMetrics } from "./dns.ts";
import { ContextMetric, type MetricSetting } from "./metric.ts";
import { PeerTable } from "./peers.ts";
import { PodEnds } from "./pod-ends.ts";
import { aboutSets, RawFlow } from "./raw-flow.ts";
import { SeriesCounter } from "./series.ts";
import type { MetricSpec } from "./spec.ts";

/** How long names and rules are believed before they are looked up again. */
const epochMs = 1000;
const lostSources = ["perf_event_ring_buffer", "observer_events_queue", "hubble_ring_buffer"] as const;

export interface FlowMetricsOptions {
  readonly registry: Registry;
  /** Names the peers and rules of flows. */
  readonly resolver: FlowResolver;
  /** What is counted (see parseMetricSpecs). */
  readonly specs: readonly MetricSpec[];
  /** Series of one metric at most; what comes later is folded into one with the value "other" (default 4096). */
  readonly seriesLimit?: number;
  /** Milliseconds that only go up; default performance.now. */
  readonly now?: () => number;
}

interface Counted {
  readonly spec: MetricSpec;
  readonly definition: MetricDefinition;
  readonly metric: ContextMetric;
}

/**
 * The field's hubble_* counters, counted on the raw bytes of every record: what an event costs here it costs a million
 * times a second. Who the sides are is looked up once a peer and second, and nothing is allocated for a record
 * whose peers are known.
 */
export class FlowMetrics {
  readonly #resolver: FlowResolver;
  readonly #setting: MetricSetting;
  #counted: readonly Counted[] = [];
  /** By what a flow is about: who counts it. */
  #countedBy: readonly (readonly Counted[])[] = [];
  #dns: { readonly spec: MetricSpec; readonly metrics: DnsMetrics } | undefined;
  readonly #lost: SeriesCounter;
  readonly #flow: RawFlow;
  #peers: PeerTable;
  readonly #ends: PodEnds;
  readonly #now: () => number;
  #needsSource = false;
  #needsDestination = false;
  #epochEnds = 0;
  /** The record that is counted, and its flows as objects if a filter wants to see them. */
  readonly #record: { view: DataView; bytes: Uint8Array; offset: number } = {
    view: new DataView(new ArrayBuffer(0)),
    bytes: new Uint8Array(0),
    offset: 0,
  };
  #flows: readonly Flow[] | undefined;

  constructor(options: FlowMetricsOptions) {
    const { registry, resolver, specs } = options;
    this.#now = options.now ?? (() => performance.now());
    this.#resolver = resolver;
    this.#flow = new RawFlow(resolver);
    this.#ends = new PodEnds(this.#now);
    this.#setting = {
      registry,
      limit: options.seriesLimit ?? 4096,
      onPod: (pod) => this.#ends.used(pod),
      beforeCollect: () => this.#dropEnded(),
    };
    this.#peers = new PeerTable({ resolver, needsIp: false, needsNames: false });
    this.apply(specs);
    this.#lost = lostCounter(registry);
    // There from the start: of a series that begins with the first loss, no rate is known.
    for (const source of lostSources) this.countLoss(source, 0);
  }

  /** Counts other metrics from now on. Those that are as before keep their series; what is changed begins anew. */
  apply(specs: readonly MetricSpec[]): void {
    const keys = new Set(specs.map(keyOf));
    const stays = ({ spec }: { spec: MetricSpec }): boolean => keys.has(keyOf(spec));
    for (const counted of this.#counted) if (!stays(counted)) counted.metric.dispose();
    const kept = new Map(this.#counted.filter(stays).map((counted) => [counted.spec.name, counted]));
    this.#counted = specs.flatMap((spec) => kept.get(spec.name) ?? this.#create(spec) ?? []);
    this.#countedBy = Array.from({ length: aboutSets }, (_, bits) =>
      this.#counted.filter(({ definition }) => (definition.of & bits) !== 0),
    );
    this.#applyDns(specs.find(({ name }) => name === "dns"));
    const sides = this.#counted.flatMap(({ metric }) => [metric.source, metric.destination]);
    this.#peers = new PeerTable({
      resolver: this.#resolver,
      needsIp: sides.some(({ labels }) => labels.needsIp),
      needsNames: sides.some(({ labels }) => labels.needsNames),
    });
    const needs = (of: "source" | "destination"): boolean =>
      sides.some(({ side, labels }) => side === of && labels.names.length > 0);
    this.#needsSource = needs("source");
    this.#needsDestination = needs("destination");
  }

  #create(spec: MetricSpec): Counted | undefined {
    const definition = definitionOf(spec);
    if (definition === undefined) return undefined;
    return { spec, definition, metric: new ContextMetric(definition, spec.context, this.#setting) };
  }

  #applyDns(spec: MetricSpec | undefined): void {
    if (this.#dns !== undefined && spec !== undefined && keyOf(this.#dns.spec) === keyOf(spec)) return;
    this.#dns?.metrics.dispose();
    this.#dns = spec && { spec, metrics: new DnsMetrics(spec, this.#setting) };
  }

  /** Counts `count` records that stand in `source` from `offset` on, `stride` bytes apart. */
  count(source: Uint8Array, count: number, offset = 0, stride = recordSize): void {
    this.#turnEpoch();
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    this.#record.view = view;
    this.#record.bytes = source;
    for (let i = 0; i < count; i++) this.#one(view, offset + i * stride);
  }

  /** Whether flows of layer 7 are counted as objects. */
  get wantsLayer7(): boolean {
    return this.#dns !== undefined;
  }

  /** Counts a flow of layer 7: these are objects from the start. */
  countLayer7(flow: Flow): void {
    if (this.#dns === undefined) return;
    const matcher = this.#dns.spec.filter?.matcher;
    if (matcher === undefined || matcher.matches(flow)) this.#dns.metrics.count(flow);
  }

  /** Counts losses: in the kernel's ring buffer, or of readers that were too slow for the store. */
  countLoss(source: (typeof lostSources)[number], count: number): void {
    this.#lost.add(lostSources.indexOf(source), 0, 0, count);
  }

  /** A pod came: its series stay. */
  podBegan(namespace: string, name: string): void {
    this.#ends.begin(`${namespace}/${name}`);
  }

  /** A pod is gone: series that name it go a minute later. */
  podEnded(namespace: string, name: string): void {
    this.#ends.end(`${namespace}/${name}`);
  }

  #one(view: DataView, o: number): void {
    const flow = this.#flow;
    this.#record.offset = o;
    this.#flows = undefined;
    flow.read(view, o);
    const parts = partsOf(flow.type, flow.subtype, flow.flags);
    if (parts.length === 0) return;
    const source = this.#needsSource ? this.#peers.find(view, o, "source") : 0;
    const destination = this.#needsDestination ? this.#peers.find(view, o, "destination", source) : 0;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (part === undefined) continue;
      flow.choose(part);
      this.#choice(i, source, destination);
    }
  }

  /** @param part the flow, among those of the record */
  #choice(part: number, source: number, destination: number): void {
    const flow = this.#flow;
    const concerned = this.#countedBy[flow.about] ?? [];
    for (let i = 0; i < concerned.length; i++) {
      const counted = concerned[i];
      if (counted === undefined) continue;
      const { filter } = counted.spec;
      if (filter !== undefined && !this.#passes(filter.matcher, part)) continue;
      const base = counted.definition.base(flow);
      if (base >= 0) counted.metric.count(base, flow, this.#peers, source, destination);
    }
  }

  /** Only metrics with filters cost an object, and only for records that may pass. */
  #passes(matcher: FlowMatcher, part: number): boolean {
    if (!matcher.mayMatch(this.#record)) return false;
    this.#flows ??= toFlows(this.#record, this.#resolver, () => "");
    const flow = this.#flows[part];
    return flow !== undefined && matcher.matches(flow);
  }

  #turnEpoch(): void {
    const now = this.#now();
    if (now < this.#epochEnds) return;
    this.#epochEnds = now + epochMs;
    this.#peers.nextEpoch();
    this.#flow.forget();
    this.#dropEnded();
  }

  #dropEnded(): void {
    const pods = this.#ends.take();
    if (pods.size === 0) return;
    for (const { metric } of this.#counted) metric.drop(pods);
    this.#dns?.metrics.drop(pods);
  }
}

/** Two specs with one key are the same. */
function keyOf({ name, context, options, filter }: MetricSpec): string {
  return JSON.stringify([name, context, [...options].sort(), filter?.include ?? [], filter?.exclude ?? []]);
}

function lostCounter(registry: Registry): SeriesCounter {
  return new SeriesCounter({
    registry,
    name: "hubble_lost_events_total",
    help: "Events that were lost before anybody saw them",
    labels: ["source"],
    texts: (source) => [lostSources[source] ?? "unknown"],
    limit: lostSources.length,
  });
}

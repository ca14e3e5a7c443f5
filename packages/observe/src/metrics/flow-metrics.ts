import { type Flow, type FlowResolver, partsOf, recordSize } from "@axoneme/flow";
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
  readonly definition: MetricDefinition;
  readonly metric: ContextMetric;
}

/**
 * The field's hubble_* counters, counted on the raw bytes of every record: what an event costs here it costs a million
 * times a second. Who the sides are is looked up once a peer and second, and nothing is allocated for a record
 * whose peers are known.
 */
export class FlowMetrics {
  readonly #counted: readonly Counted[];
  /** By what a flow is about: who counts it. */
  readonly #countedBy: readonly (readonly Counted[])[];
  readonly #dns: DnsMetrics | undefined;
  readonly #lost: SeriesCounter;
  readonly #flow: RawFlow;
  readonly #peers: PeerTable;
  readonly #ends: PodEnds;
  readonly #now: () => number;
  readonly #needsSource: boolean;
  readonly #needsDestination: boolean;
  #epochEnds = 0;

  constructor(options: FlowMetricsOptions) {
    const { registry, resolver, specs } = options;
    this.#now = options.now ?? (() => performance.now());
    this.#flow = new RawFlow(resolver);
    this.#ends = new PodEnds(this.#now);
    const setting: MetricSetting = {
      registry,
      limit: options.seriesLimit ?? 4096,
      onPod: (pod) => this.#ends.used(pod),
      beforeCollect: () => this.#dropEnded(),
    };
    const counted: Counted[] = [];
    for (const spec of specs) {
      const definition = definitionOf(spec);
      if (definition === undefined) continue;
      const metric = new ContextMetric(definition, spec.context, setting);
      counted.push({ definition, metric });
    }
    this.#counted = counted;
    this.#countedBy = Array.from({ length: aboutSets }, (_, bits) =>
      counted.filter(({ definition }) => (definition.of & bits) !== 0),
    );
    const dns = specs.find(({ name }) => name === "dns");
    this.#dns = dns && new DnsMetrics(dns, setting);
    const sides = counted.flatMap(({ metric }) => [metric.source, metric.destination]);
    this.#peers = new PeerTable({
      resolver,
      needsIp: sides.some(({ labels }) => labels.needsIp),
      needsNames: sides.some(({ labels }) => labels.needsNames),
    });
    this.#needsSource = sides.some(({ side, labels }) => side === "source" && labels.names.length > 0);
    this.#needsDestination = sides.some(
      ({ side, labels }) => side === "destination" && labels.names.length > 0,
    );
    this.#lost = lostCounter(registry);
    // There from the start: of a series that begins with the first loss, no rate is known.
    for (const source of lostSources) this.countLoss(source, 0);
  }

  /** Counts `count` records that stand in `source` from `offset` on, `stride` bytes apart. */
  count(source: Uint8Array, count: number, offset = 0, stride = recordSize): void {
    this.#turnEpoch();
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    for (let i = 0; i < count; i++) this.#one(view, offset + i * stride);
  }

  /** Whether flows of layer 7 are counted as objects. */
  get wantsLayer7(): boolean {
    return this.#dns !== undefined;
  }

  /** Counts a flow of layer 7: these are objects from the start. */
  countLayer7(flow: Flow): void {
    this.#dns?.count(flow);
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
    flow.read(view, o);
    const parts = partsOf(flow.type, flow.subtype, flow.flags);
    if (parts.length === 0) return;
    const source = this.#needsSource ? this.#peers.find(view, o, "source") : 0;
    const destination = this.#needsDestination ? this.#peers.find(view, o, "destination", source) : 0;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      if (part === undefined) continue;
      flow.choose(part);
      this.#choice(source, destination);
    }
  }

  #choice(source: number, destination: number): void {
    const flow = this.#flow;
    const concerned = this.#countedBy[flow.about] ?? [];
    for (let i = 0; i < concerned.length; i++) {
      const counted = concerned[i];
      if (counted === undefined) continue;
      const base = counted.definition.base(flow);
      if (base >= 0) counted.metric.count(base, flow, this.#peers, source, destination);
    }
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
    this.#dns?.drop(pods);
  }
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

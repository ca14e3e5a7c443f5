import type { Logger } from "@axoneme/base";
import type { ClientOptions } from "@axoneme/grpc";
import { everything, type Filter, type FlowRow, type Health, matches } from "../shared/model.ts";
import { FlowSource, type Span } from "./flow-source.ts";
import { type LiveMessage, LiveView, mostEdges } from "./live.ts";
import { RecentFlows } from "./recent.ts";
import { rowOf } from "./rows.ts";
import { ServiceMap } from "./service-map.ts";

const tickMs = 1000;
/** Seconds without a flow after which an edge leaves the live map. */
const forgetAfter = 300;
const recentRows = 20_000;
/** Flows of one look at the past. */
export const mostPast = 20_000;

/** A connection of a page: gets messages until it unsubscribes. */
export interface Page {
  send(message: LiveMessage): void;
}

/** All flows of all sources, added up once and shown to any number of pages. */
export class FlowHub {
  readonly #map = new ServiceMap(forgetAfter);
  readonly #recent = new RecentFlows(recentRows);
  readonly #sources: FlowSource[];
  readonly #pages = new Map<Page, LiveView>();
  #timer: NodeJS.Timeout | undefined;
  #counted = 0;
  #rate = 0;

  constructor(sources: readonly { readonly name: string; readonly options: ClientOptions }[], log: Logger) {
    this.#sources = sources.map(
      ({ name, options }) => new FlowSource(name, options, (flow) => this.#take(rowOf(flow)), log),
    );
  }

  start(): void {
    for (const source of this.#sources) source.start();
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#sources.map((source) => source.stop()));
  }

  health(): Health {
    return { sources: this.#sources.map(({ state }) => state), rate: this.#rate };
  }

  /** Shows a page what happens from now on; the first message comes at once. */
  subscribe(page: Page, filter: Filter): () => void {
    const view = new LiveView(this.#map, this.#recent, filter);
    this.#pages.set(page, view);
    page.send(view.next(this.health()));
    return () => this.#pages.delete(page);
  }

  /** What happened in a span of time, from the sources' stores. */
  async past(span: Span, filter: Filter): Promise<LiveMessage> {
    const map = new ServiceMap(Number.POSITIVE_INFINITY);
    const rows: FlowRow[] = [];
    let skipped = 0;
    const asked = await Promise.allSettled(
      this.#sources.map((source) =>
        source.past({ ...span, limit: Math.min(span.limit, mostPast) }, (flow) => {
          const row = rowOf(flow);
          if (!matches(row, filter)) return;
          map.add(row);
          rows.push(row);
        }),
      ),
    );
    // Who does not answer is told in the health; nobody at all is an error.
    const failed = asked.filter((one) => one.status === "rejected");
    if (failed.length === asked.length) throw failed[0]?.reason;
    map.next();
    rows.sort((a, b) => a.time - b.time);
    if (rows.length > mostPast) skipped = rows.splice(0, rows.length - mostPast).length;
    const delta = map.delta(everything, 0, new Set(), mostEdges);
    return {
      map: { ...delta, reset: true },
      flows: { rows, skipped },
      health: this.health(),
      namespaces: map.namespaces(),
    };
  }

  #take(row: FlowRow): void {
    this.#counted++;
    this.#recent.add(row);
    this.#map.add(row);
  }

  #tick(): void {
    this.#rate = Math.round((this.#counted * 1000) / tickMs);
    this.#counted = 0;
    this.#map.next();
    const health = this.health();
    for (const [page, view] of this.#pages) page.send(view.next(health));
  }
}

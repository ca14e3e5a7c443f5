import { isDeepStrictEqual } from "node:util";
import type { Logger } from "@axoneme/base";
import type { ClientOptions } from "@axoneme/grpc";
import {
  everything,
  type Filter,
  type FlowRow,
  type Health,
  matches,
  type NodeHealth,
} from "../shared/model.ts";
import { FlowSource, type Span } from "./flow-source.ts";
import { Intake } from "./intake.ts";
import { type LiveMessage, LiveView, mostEdges } from "./live.ts";
import { MessageRows, rowOfMessage } from "./message-rows.ts";
import { mergedNodes } from "./node-health.ts";
import { RecentFlows } from "./recent.ts";
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
  readonly #intake = new Intake(this.#map);
  readonly #recent = new RecentFlows(recentRows, new MessageRows());
  readonly #sources: FlowSource[];
  readonly #pages = new Map<Page, LiveView>();
  readonly #agents: () => readonly NodeHealth[];
  #nodes: readonly NodeHealth[] = [];
  #timer: NodeJS.Timeout | undefined;
  #counted = 0;
  #rate = 0;
  #last = { counted: 0, at: performance.now() };

  /** @param agents what agents tell of their nodes; without them there is what relays tell */
  constructor(
    sources: readonly { readonly name: string; readonly options: ClientOptions }[],
    log: Logger,
    agents: () => readonly NodeHealth[] = () => [],
  ) {
    this.#agents = agents;
    this.#sources = sources.map(
      ({ name, options }) => new FlowSource(name, options, (message) => this.#take(message), log),
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
    return { sources: this.#sources.map(({ state }) => state), rate: this.#rate, counted: this.#counted };
  }

  /** The nodes, by name: the same list until something about one of them changes. */
  get nodes(): readonly NodeHealth[] {
    return this.#nodes;
  }

  /** Shows a page what happens from now on; the first message comes at once. */
  subscribe(page: Page, filter: Filter): () => void {
    const view = new LiveView(this.#map, this.#recent, filter);
    this.#pages.set(page, view);
    page.send(view.next(this.health(), this.#nodes));
    return () => this.#pages.delete(page);
  }

  /** What happened in a span of time, from the sources' stores. */
  async past(span: Span, filter: Filter): Promise<LiveMessage> {
    const map = new ServiceMap(Number.POSITIVE_INFINITY);
    const rows: FlowRow[] = [];
    let skipped = 0;
    const asked = await Promise.allSettled(
      this.#sources.map((source) =>
        source.past({ ...span, limit: Math.min(span.limit, mostPast) }, (message) => {
          const row = rowOfMessage(message);
          if (row === undefined || !matches(row, filter)) return;
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

  #take(message: Uint8Array): number {
    const { isFlow, lost } = this.#intake.take(message);
    if (isFlow) {
      this.#counted++;
      this.#recent.add(message);
    }
    return lost;
  }

  #tick(): void {
    const now = performance.now();
    // A tick may come late; what it is of is not a second then.
    this.#rate = Math.round(((this.#counted - this.#last.counted) * 1000) / (now - this.#last.at));
    this.#last = { counted: this.#counted, at: now };
    this.#map.next();
    const nodes = mergedNodes(
      this.#agents(),
      this.#sources.flatMap((source) => source.nodes),
    );
    if (!isDeepStrictEqual(nodes, this.#nodes)) this.#nodes = nodes;
    const health = this.health();
    for (const [page, view] of this.#pages) page.send(view.next(health, this.#nodes));
  }
}

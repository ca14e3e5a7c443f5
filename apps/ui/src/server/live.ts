import type { Filter, FlowBatch, Health, MapDelta, NodeHealth } from "../shared/model.ts";
import type { RecentFlows } from "./recent.ts";
import type { ServiceMap } from "./service-map.ts";

/** Edges of one picture. */
export const mostEdges = 3000;
/** Rows a second that one page is sent, and those that it begins with. */
const mostRows = 250;
const firstRows = 500;

/** What a page is sent each second. */
export interface LiveMessage {
  readonly map: MapDelta;
  readonly flows: FlowBatch;
  readonly health: Health;
  readonly namespaces: readonly string[];
  /** Absent when nothing changed since the last message. */
  readonly nodes?: readonly NodeHealth[];
}

/** One page that looks at what happens now: knows what it has been sent. */
export class LiveView {
  readonly #map: ServiceMap;
  readonly #recent: RecentFlows;
  readonly #filter: Filter;
  readonly #known = new Set<string>();
  #since = 0;
  #place = 0;
  #isFirst = true;
  #nodes: readonly NodeHealth[] | undefined;

  constructor(map: ServiceMap, recent: RecentFlows, filter: Filter) {
    this.#map = map;
    this.#recent = recent;
    this.#filter = filter;
  }

  /** What is new since the last message. */
  next(health: Health, nodes: readonly NodeHealth[]): LiveMessage {
    const delta = this.#map.delta(this.#filter, this.#since, this.#known, mostEdges);
    for (const id of delta.removedEdges) this.#known.delete(id);
    for (const { id } of delta.edges) this.#known.add(id);
    this.#since = this.#map.tick - 1;
    const flows = this.#recent.since(this.#place, this.#filter, this.#isFirst ? firstRows : mostRows);
    this.#place = this.#recent.count;
    const reset = this.#isFirst;
    this.#isFirst = false;
    // What was before the page came is no loss.
    const skipped = reset ? 0 : flows.skipped;
    const isSame = this.#nodes === nodes;
    this.#nodes = nodes;
    return {
      map: { ...delta, reset },
      flows: { rows: flows.rows, skipped },
      health,
      namespaces: this.#map.namespaces(),
      ...(isSame ? {} : { nodes }),
    };
  }
}

import type { Filter, FlowRow, MapDelta, MapEdge, MapNode, Verdict } from "../shared/model.ts";
import { mapNode } from "./rows.ts";

/** Ports of one edge that are told apart. */
const portsKept = 16;
/** Ports that a message names. */
const portsTold = 5;
/** Edges kept at most: beyond, the one that was used the longest ago goes. */
const edgesKept = 20_000;
/** Weight of the last second in a rate. */
const smoothing = 0.3;
/** Below this a rate is none. */
const stillRate = 0.01;

interface PortCount {
  forwarded: number;
  dropped: number;
}

interface Edge {
  readonly id: string;
  readonly source: MapNode;
  readonly target: MapNode;
  /** Counts of the second that runs, by verdict: forwarded, dropped, audited. */
  readonly now: [number, number, number];
  readonly rates: [number, number, number];
  readonly totals: [number, number, number];
  readonly ports: Map<string, PortCount>;
  lastDrop: string;
  /** The tick in which something that is shown changed. */
  version: number;
  lastUsed: number;
}

const slots = { forwarded: 0, dropped: 1, error: 1, audit: 2 } as const;

/**
 * Flows added up to edges between workloads, the world, names and nodes. Memory is bounded; a tick costs in proportion
 * to the edges that are in use. Answers count for who asked: of a connection, both directions are one edge.
 */
export class ServiceMap {
  /** In the order of last use: the first to go is the first here. */
  readonly #edges = new Map<string, Edge>();
  readonly #active = new Set<Edge>();
  /** The busiest first, as of the last tick: once for all readers. */
  #sorted: Edge[] | undefined;
  readonly #forgetAfter: number;
  #tick = 1;

  /** `forgetAfter`: ticks after which an edge that nobody uses goes; Infinity for a look at the past. */
  constructor(forgetAfter: number) {
    this.#forgetAfter = forgetAfter;
  }

  get size(): number {
    return this.#edges.size;
  }

  /** The tick that runs: what a reader has seen so far is {@link delta}'s `since`. */
  get tick(): number {
    return this.#tick;
  }

  /** Counts a flow. Answers are not counted: the request was. */
  add({ isReply, source, destination, verdict, protocol, id }: FlowRow): void {
    if (isReply) return;
    const port = destination.port === 0 ? protocol : `${protocol}/${destination.port}`;
    const edge = `${source.group}>${destination.group}`;
    this.count(edge, mapNode(source.group), mapNode(destination.group), verdict, port, id);
  }

  /** Counts a flow of the edge `source>target`; `flow`: its identifier, of those that were dropped. No object for each: there are many. */
  count(id: string, source: MapNode, target: MapNode, verdict: Verdict, port: string, flow: string): void {
    const edge = this.#edges.get(id) ?? this.#create(id, source, target);
    const slot = slots[verdict];
    edge.now[slot]++;
    edge.totals[slot]++;
    if (slot === 1) edge.lastDrop = flow;
    countPort(edge.ports, port, slot === 1);
    this.#use(edge);
  }

  /** A second is over: rates follow, and what is not used any more goes. */
  next(): void {
    for (const edge of this.#active) {
      const moved = smooth(edge);
      if (moved) edge.version = this.#tick;
      if (!edge.rates.some((rate) => rate > 0)) this.#active.delete(edge);
    }
    for (const edge of this.#edges.values()) {
      if (this.#tick - edge.lastUsed <= this.#forgetAfter) break;
      this.#forget(edge);
    }
    this.#tick++;
    this.#sorted = undefined;
  }

  /** What changed after tick `since` and matches, at most `limit` edges, the busiest first. `known`: what the reader has. */
  delta(filter: Filter, since: number, known: ReadonlySet<string>, limit: number): MapDelta {
    const wanted = this.#byWeight().filter((edge) => edgeMatches(edge, filter));
    const shown = wanted.slice(0, limit);
    const ids = new Set(shown.map(({ id }) => id));
    const changed = shown.filter(({ id, version }) => version > since || !known.has(id));
    const nodes = new Map(
      changed.flatMap(({ source, target }) => [source, target]).map((node) => [node.id, node]),
    );
    return {
      reset: false,
      nodes: [...nodes.values()],
      edges: changed.map(told),
      removedEdges: [...known].filter((id) => !ids.has(id)),
      hidden: wanted.length - shown.length,
    };
  }

  /** Namespaces that the map has, sorted. */
  namespaces(): string[] {
    const all = new Set<string>();
    for (const { source, target } of this.#edges.values()) {
      if (source.namespace !== "") all.add(source.namespace);
      if (target.namespace !== "") all.add(target.namespace);
    }
    return [...all].sort();
  }

  #byWeight(): Edge[] {
    this.#sorted ??= [...this.#edges.values()].sort((a, b) => weight(b) - weight(a));
    return this.#sorted;
  }

  #create(id: string, source: MapNode, target: MapNode): Edge {
    const [oldest] = this.#edges.values();
    if (this.#edges.size >= edgesKept && oldest) this.#forget(oldest);
    const edge: Edge = {
      id,
      source,
      target,
      now: [0, 0, 0],
      rates: [0, 0, 0],
      totals: [0, 0, 0],
      ports: new Map(),
      lastDrop: "",
      version: this.#tick,
      lastUsed: this.#tick,
    };
    this.#edges.set(id, edge);
    this.#sorted = undefined;
    return edge;
  }

  /** Moves an edge to the end of the order of use, once a tick. */
  #use(edge: Edge): void {
    if (edge.lastUsed !== this.#tick) {
      edge.lastUsed = this.#tick;
      this.#edges.delete(edge.id);
      this.#edges.set(edge.id, edge);
    }
    this.#active.add(edge);
  }

  #forget(edge: Edge): void {
    this.#sorted = undefined;
    this.#edges.delete(edge.id);
    this.#active.delete(edge);
  }
}

/** True when a person would see the difference. */
function smooth(edge: Edge): boolean {
  let moved = false;
  for (const slot of [0, 1, 2] as const) {
    const before = edge.rates[slot];
    const after = before + (edge.now[slot] - before) * smoothing;
    edge.rates[slot] = after < stillRate ? 0 : after;
    moved ||= edge.now[slot] > 0 || Math.abs(edge.rates[slot] - before) > before * 0.05;
    edge.now[slot] = 0;
  }
  return moved;
}

function countPort(ports: Map<string, PortCount>, name: string, isDrop: boolean): void {
  let count = ports.get(name);
  if (count === undefined) {
    const key = ports.size < portsKept ? name : "other";
    count = ports.get(key) ?? { forwarded: 0, dropped: 0 };
    ports.set(key, count);
  }
  if (isDrop) count.dropped++;
  else count.forwarded++;
}

const weight = ({ totals }: Edge): number => totals[0] + totals[1] * 1000 + totals[2] * 100;

function told({ id, source, target, rates, totals, ports, lastDrop }: Edge): MapEdge {
  const busiest = [...ports].sort(([, a], [, b]) => b.forwarded + b.dropped - a.forwarded - a.dropped);
  const round = (rate: number): number => Math.round(rate * 100) / 100;
  return {
    id,
    source: source.id,
    target: target.id,
    forwarded: round(rates[0]),
    dropped: round(rates[1]),
    audited: round(rates[2]),
    totals: { forwarded: totals[0], dropped: totals[1], audited: totals[2] },
    ports: busiest.slice(0, portsTold).map(([name]) => name),
    droppedPorts: busiest
      .filter(([, { dropped }]) => dropped > 0)
      .slice(0, portsTold)
      .map(([name]) => name),
    lastDrop,
  };
}

function edgeMatches({ source, target, totals, ports }: Edge, filter: Filter): boolean {
  if (
    filter.namespace !== "" &&
    source.namespace !== filter.namespace &&
    target.namespace !== filter.namespace
  )
    return false;
  if (filter.verdict !== "" && totals[slots[filter.verdict]] === 0) return false;
  if (
    filter.protocol !== "" &&
    ![...ports.keys()].some((name) => name.toUpperCase().startsWith(filter.protocol))
  )
    return false;
  if (filter.port !== "" && ![...ports.keys()].some((name) => name.endsWith(`/${filter.port}`))) return false;
  if (filter.group !== "" && !isGroup(source, filter.group) && !isGroup(target, filter.group)) return false;
  return filter.text === "" || source.id.includes(filter.text) || target.id.includes(filter.text);
}

function isGroup(node: MapNode, group: string): boolean {
  return node.id === group || (group.startsWith("ns:") && node.namespace === group.slice(3));
}

import type { MapDelta, MapEdge, MapNode } from "../src/shared/model.ts";

/** The map as far as it is known. Replaced, never changed: what is equal is drawn once. */
export interface Graph {
  readonly nodes: ReadonlyMap<string, MapNode>;
  readonly edges: ReadonlyMap<string, MapEdge>;
  readonly hidden: number;
}

/** What one node of the picture is; auto: workloads as long as they can be told apart. */
export type Grouping = "auto" | "workload" | "namespace";

export const emptyGraph: Graph = { nodes: new Map(), edges: new Map(), hidden: 0 };

/** The graph after a message. Nodes without an edge go. */
export function applyDelta(graph: Graph, delta: MapDelta): Graph {
  const before = delta.reset ? emptyGraph : graph;
  if (delta.edges.length === 0 && delta.removedEdges.length === 0 && !delta.reset) {
    return before.hidden === delta.hidden ? before : { ...before, hidden: delta.hidden };
  }
  const edges = new Map(before.edges);
  for (const id of delta.removedEdges) edges.delete(id);
  for (const edge of delta.edges) edges.set(edge.id, edge);
  const known = new Map(before.nodes);
  for (const node of delta.nodes) if (!known.has(node.id)) known.set(node.id, node);
  const used = new Set([...edges.values()].flatMap(({ source, target }) => [source, target]));
  const isSame = used.size === before.nodes.size && [...used].every((id) => before.nodes.has(id));
  const nodes = isSame ? before.nodes : new Map([...known].filter(([id]) => used.has(id)));
  return { nodes, edges, hidden: delta.hidden };
}

/** Workloads of a namespace as one node, except those of `opened` ones. Edges between the same two nodes are one. */
export function byNamespace(graph: Graph, opened: ReadonlySet<string>): Graph {
  const nodes = new Map<string, MapNode>();
  const place = (id: string): string => {
    const node = graph.nodes.get(id);
    if (node?.kind !== "workload" || opened.has(node.namespace)) {
      if (node) nodes.set(id, node);
      return id;
    }
    const { namespace } = node;
    const grouped = `ns:${namespace}`;
    nodes.set(grouped, { id: grouped, kind: "namespace", namespace, name: namespace });
    return grouped;
  };
  const edges = new Map<string, MapEdge>();
  for (const edge of graph.edges.values()) {
    const [source, target] = [place(edge.source), place(edge.target)];
    const id = `${source}>${target}`;
    const other = edges.get(id);
    edges.set(id, other === undefined ? { ...edge, id, source, target } : joined(other, edge));
  }
  return { nodes, edges, hidden: graph.hidden };
}

function joined(a: MapEdge, b: MapEdge): MapEdge {
  const five = (all: readonly string[]): string[] => [...new Set(all)].slice(0, 5);
  return {
    ...a,
    forwarded: a.forwarded + b.forwarded,
    dropped: a.dropped + b.dropped,
    audited: a.audited + b.audited,
    totals: {
      forwarded: a.totals.forwarded + b.totals.forwarded,
      dropped: a.totals.dropped + b.totals.dropped,
      audited: a.totals.audited + b.totals.audited,
    },
    ports: five([...a.ports, ...b.ports]),
    droppedPorts: five([...a.droppedPorts, ...b.droppedPorts]),
    lastDrop: a.lastDrop || b.lastDrop,
  };
}

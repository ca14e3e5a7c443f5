import fc from "fast-check";
import { expect, test } from "vitest";
import { applyDelta, byNamespace, emptyGraph } from "../web/graph.ts";
import { box, layout } from "../web/layout.ts";

const node = (id: string) => ({ id, group: "" });

test("those who ask stand left of those who answer", () => {
  const positions = layout({
    nodes: ["db", "api", "web", "world"].map(node),
    edges: [
      { source: "world", target: "web" },
      { source: "web", target: "api" },
      { source: "api", target: "db" },
      { source: "web", target: "db" },
    ],
  });
  const xs = ["world", "web", "api", "db"].map((id) => positions.get(id)?.x ?? Number.NaN);
  expect(xs).toEqual([...xs].sort((a, b) => a - b));
  expect(new Set(xs).size).toBe(4);
});

test("any graph, circles too: every node has a place of its own", () => {
  const graph = fc.integer({ min: 1, max: 60 }).chain((count) => {
    const index = fc.integer({ min: 0, max: count - 1 });
    return fc.record({
      count: fc.constant(count),
      edges: fc.array(fc.record({ source: index, target: index }), { maxLength: 200 }),
    });
  });
  fc.assert(
    fc.property(graph, ({ count, edges }) => {
      const nodes = Array.from({ length: count }, (_, i) => node(`n${i}`));
      const named = edges.map(({ source, target }) => ({ source: `n${source}`, target: `n${target}` }));
      const positions = [...layout({ nodes, edges: named }).values()];
      expect(positions).toHaveLength(count);
      for (const [i, a] of positions.entries()) {
        for (const b of positions.slice(i + 1)) {
          const apart = Math.abs(a.x - b.x) >= box.width || Math.abs(a.y - b.y) >= box.height;
          expect(apart, `${JSON.stringify(a)} ${JSON.stringify(b)}`).toBe(true);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("where everybody asks everybody there is still a picture", () => {
  const nodes = Array.from({ length: 500 }, (_, i) => node(`n${i}`));
  const edges = Array.from({ length: 1500 }, (_, i) => ({
    source: `n${i % 500}`,
    target: `n${((i % 500) * 7 + 1 + (i % 3) * 11) % 500}`,
  }));
  const all = [...layout({ nodes, edges }).values()];
  const width = Math.max(...all.map(({ x }) => x)) + box.width;
  const height = Math.max(...all.map(({ y }) => y)) + box.height;
  expect(width / height).toBeLessThan(5);
});

test("the same graph gives the same picture, in whatever order it came", () => {
  const nodes = Array.from({ length: 40 }, (_, i) => node(`n${i}`));
  const edges = Array.from({ length: 80 }, (_, i) => ({
    source: `n${i % 40}`,
    target: `n${(i * 7 + 3) % 40}`,
  }));
  const one = layout({ nodes, edges });
  const other = layout({ nodes: [...nodes].reverse(), edges: [...edges].reverse() });
  expect(new Map(other)).toEqual(new Map(one));
});

const edge = (source: string, target: string, forwarded: number) => ({
  id: `${source}>${target}`,
  source,
  target,
  forwarded,
  dropped: 0,
  audited: 0,
  totals: { forwarded, dropped: 0, audited: 0 },
  ports: ["TCP/80"],
  droppedPorts: [],
  lastDrop: "",
});
const workload = (namespace: string, name: string) =>
  ({ id: `w:${namespace}/${name}`, kind: "workload", namespace, name }) as const;

test("workloads of a namespace become one node, unless it is opened", () => {
  const graph = applyDelta(emptyGraph, {
    reset: true,
    nodes: [workload("a", "x"), workload("a", "y"), workload("b", "z")],
    edges: [edge("w:a/x", "w:b/z", 1), edge("w:a/y", "w:b/z", 2)],
    removedEdges: [],
    hidden: 0,
  });
  const grouped = byNamespace(graph, new Set());
  expect([...grouped.nodes.keys()].sort()).toEqual(["ns:a", "ns:b"]);
  expect(grouped.edges.get("ns:a>ns:b")).toMatchObject({ forwarded: 3, totals: { forwarded: 3 } });
  expect([...byNamespace(graph, new Set(["a"])).nodes.keys()].sort()).toEqual(["ns:b", "w:a/x", "w:a/y"]);
});

test("an edge that goes takes its nodes with it", () => {
  const base = { reset: false, removedEdges: [], hidden: 0 };
  const nodes = [workload("a", "x"), workload("b", "z")];
  const graph = applyDelta(emptyGraph, { ...base, reset: true, nodes, edges: [edge("w:a/x", "w:b/z", 1)] });
  const after = applyDelta(graph, { ...base, nodes: [], edges: [], removedEdges: ["w:a/x>w:b/z"] });
  expect([after.nodes.size, after.edges.size]).toEqual([0, 0]);
});

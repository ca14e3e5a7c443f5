import { useEffect, useMemo, useRef, useState } from "react";
import type { Graph } from "./graph.ts";
import type { Positions } from "./layout.ts";

type Answer = { readonly turn: number; readonly positions: [string, { x: number; y: number }][] };

/** Positions of a graph's nodes, made in a worker whenever another node or edge is there. Rates move nothing. */
export function useLayout(graph: Graph): Positions {
  const [positions, setPositions] = useState<Positions>(new Map());
  const worker = useRef<Worker | undefined>(undefined);
  const turn = useRef(0);

  useEffect(() => {
    const started = new Worker(new URL("./layout.worker.ts", import.meta.url), { type: "module" });
    worker.current = started;
    started.onmessage = ({ data }: MessageEvent<Answer>) => {
      if (data.turn === turn.current) setPositions(new Map(data.positions));
    };
    return () => started.terminate();
  }, []);

  const shape = useMemo(
    () => [...graph.nodes.keys()].sort().join("\n") + [...graph.edges.keys()].sort().join("\n"),
    [graph.nodes, graph.edges],
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: the shape says when the graph is another one
  useEffect(() => {
    turn.current++;
    worker.current?.postMessage({
      turn: turn.current,
      input: {
        nodes: [...graph.nodes.values()].map(({ id, namespace }) => ({ id, group: namespace })),
        edges: [...graph.edges.values()].map(({ source, target }) => ({ source, target })),
      },
    });
  }, [shape]);

  return positions;
}

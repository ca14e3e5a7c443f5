import {
  Background,
  Controls,
  type Edge,
  type EdgeChange,
  Handle,
  MarkerType,
  MiniMap,
  type Node,
  type NodeChange,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
} from "@xyflow/react";
import { memo, useEffect, useMemo, useRef } from "react";
import type { MapEdge, MapNode } from "../src/shared/model.ts";
import type { Graph } from "./graph.ts";
import { box } from "./layout.ts";
import { useLayout } from "./use-layout.ts";

interface Props {
  readonly graph: Graph;
  readonly selected: string | undefined;
  readonly onEdge: (id: string) => void;
  readonly onNode: (node: MapNode) => void;
}

type Box = Node<{ readonly node: MapNode }>;

const kinds: Readonly<Record<MapNode["kind"], string>> = {
  workload: "workload",
  namespace: "namespace",
  world: "outside",
  name: "outside, by name",
  host: "node",
  "remote-node": "other nodes",
  apiserver: "API server",
  other: "identity",
};

const Card = memo(function Card({ data }: NodeProps<Box>) {
  const { kind, name, namespace } = data.node;
  return (
    <div className={`card ${kind}`}>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <strong>{name}</strong>
      <small>{kind === "workload" ? namespace : kinds[kind]}</small>
      <Handle type="source" position={Position.Right} isConnectable={false} />
    </div>
  );
});

const nodeTypes = { card: Card };
const hidesAttribution = { hideAttribution: false } as const;

/** What is wrong with an edge, worst first. */
function stateOf({ totals }: MapEdge): "dropped" | "audited" | "forwarded" {
  if (totals.dropped > 0) return "dropped";
  return totals.audited > 0 ? "audited" : "forwarded";
}

/** What was selected just now, if anything. */
function chosen(changes: readonly (NodeChange<Box> | EdgeChange)[]): string | undefined {
  for (const change of changes) if (change.type === "select" && change.selected) return change.id;
  return undefined;
}

function spoken(edge: MapEdge): string {
  const bare = (id: string): string => id.slice(id.indexOf(":") + 1);
  const dropped = edge.totals.dropped > 0 ? `, dropped on ${edge.droppedPorts.join(", ")}` : "";
  return `${bare(edge.source)} to ${bare(edge.target)}, ${edge.ports.join(", ")}${dropped}`;
}

/** Drawn thicker by the power of ten, so that a rate that wavers draws nothing anew. */
function widthOf({ forwarded, dropped, audited }: MapEdge): number {
  return 1 + Math.min(5, Math.round(Math.log10(1 + forwarded + dropped + audited) * 2));
}

function edgeOf(edge: MapEdge, isSelected: boolean): Edge {
  const state = stateOf(edge);
  const isBusy = edge.forwarded + edge.dropped + edge.audited > 0;
  return {
    id: edge.id,
    source: edge.source,
    target: edge.target,
    className: `${state}${isBusy ? " busy" : ""}${isSelected ? " chosen" : ""}`,
    ariaLabel: spoken(edge),
    style: { strokeWidth: widthOf(edge) },
    markerEnd: { type: MarkerType.ArrowClosed, color: `var(--${state})` },
    ...(isSelected || state === "dropped"
      ? { label: state === "dropped" ? edge.droppedPorts.join(" ") || "dropped" : edge.ports.join(" ") }
      : {}),
  };
}

/** Edges as the library takes them; what looks as before is the object from before, and is not drawn again. */
function useEdges(graph: Graph, selected: string | undefined): Edge[] {
  const drawn = useRef(new Map<string, { look: string; edge: Edge }>());
  return useMemo(() => {
    const now = new Map<string, { look: string; edge: Edge }>();
    for (const one of graph.edges.values()) {
      const edge = edgeOf(one, one.id === selected);
      const look = `${edge.className} ${edge.ariaLabel} ${widthOf(one)}`;
      const before = drawn.current.get(one.id);
      now.set(one.id, before?.look === look ? before : { look, edge });
    }
    drawn.current = now;
    return [...now.values()].map(({ edge }) => edge);
  }, [graph.edges, selected]);
}

/** The service map: drawn by keyboard and pointer alike; edges tell what they are to screen readers. */
export function MapView(props: Props) {
  return (
    <ReactFlowProvider>
      <Drawing {...props} />
    </ReactFlowProvider>
  );
}

function Drawing({ graph, selected, onEdge, onNode }: Props) {
  const positions = useLayout(graph);
  const { fitView } = useReactFlow();
  const drawn = useRef(0);
  const nodes = useMemo(
    () =>
      [...graph.nodes.values()].flatMap((node): Box[] => {
        const position = positions.get(node.id);
        if (position === undefined) return [];
        const ariaLabel = `${kinds[node.kind]} ${node.namespace} ${node.name}`;
        return [
          {
            id: node.id,
            type: "card",
            position: { ...position },
            data: { node },
            width: box.width,
            height: box.height,
            ariaLabel,
          },
        ];
      }),
    [graph.nodes, positions],
  );
  const edges = useEdges(graph, selected);
  const count = nodes.length;
  useEffect(() => {
    // The first picture, and one that has become much larger or smaller, is shown whole; otherwise nothing jumps.
    if (count === 0 || Math.abs(count - drawn.current) <= drawn.current * 0.3) return;
    drawn.current = count;
    void fitView({ padding: 0.1, maxZoom: 1.1 });
  }, [count, fitView]);
  return (
    <ReactFlow
      nodes={nodes}
      edges={edges}
      nodeTypes={nodeTypes}
      onlyRenderVisibleElements
      nodesDraggable={false}
      nodesConnectable={false}
      edgesFocusable
      minZoom={0.05}
      // Enter and a click alike: what is selected is the page's business, the library only tells.
      onNodesChange={(changes) => {
        const node = graph.nodes.get(chosen(changes) ?? "");
        if (node !== undefined) onNode(node);
      }}
      onEdgesChange={(changes) => {
        const id = chosen(changes);
        if (id !== undefined) onEdge(id);
      }}
      colorMode="system"
      proOptions={hidesAttribution}
    >
      <Background />
      <Controls showInteractive={false} />
      {count > 40 && <MiniMap pannable zoomable ariaLabel="Overview" />}
    </ReactFlow>
  );
}

import type { GroupKind, MapEdge, MapNode, NodeHealth } from "../../src/shared/model.ts";
import type { Graph } from "../graph.ts";
import { box, type Positions } from "../layout.ts";
import type { Rect } from "./view.ts";

/** What is wrong with an edge, worst first. */
export type EdgeState = "dropped" | "audited" | "forwarded";

/** A node as it is drawn. */
export interface Card {
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly kind: GroupKind;
  readonly name: string;
  readonly note: string;
  /** Something is wrong there, as the note says. */
  readonly isAlarmed: boolean;
}

/** An edge as it is drawn. */
export interface Line {
  readonly id: string;
  readonly source: string;
  readonly target: string;
  readonly state: EdgeState;
  readonly isBusy: boolean;
  readonly width: number;
  /** Drawn beside it where something is dropped, and when it is looked at. */
  readonly label: string;
}

/** The whole map, as it is drawn: plain data, for another thread. */
export interface Scene {
  readonly cards: readonly Card[];
  readonly lines: readonly Line[];
}

/** What of it a person looks at: identifiers; none is empty. */
export interface Marks {
  /** The edge whose details are shown. */
  readonly chosen: string;
  /** Under the pointer, or where the keyboard is: an edge or a node. */
  readonly pointed: string;
  /** The node that the filter names. */
  readonly group: string;
}

/** What a node is, in a word. */
export const kindWords: Readonly<Record<GroupKind, string>> = {
  workload: "workload",
  namespace: "namespace",
  world: "outside",
  name: "outside, by name",
  host: "node",
  "remote-node": "other nodes",
  apiserver: "API server",
  other: "identity",
};

export function stateOf({ totals }: MapEdge): EdgeState {
  if (totals.dropped > 0) return "dropped";
  return totals.audited > 0 ? "audited" : "forwarded";
}

const bare = (id: string): string => id.slice(id.indexOf(":") + 1);

/** An edge, for those who hear it. */
export function spokenEdge(edge: MapEdge): string {
  const dropped = edge.totals.dropped > 0 ? `, dropped on ${edge.droppedPorts.join(", ")}` : "";
  return `${bare(edge.source)} to ${bare(edge.target)}, ${edge.ports.join(", ")}${dropped}`;
}

/** A node, for those who hear it. */
export function spokenCard({ kind, name, note, isAlarmed }: Card): string {
  const words = kind === "workload" ? [note, name] : isAlarmed ? [name, note] : [name];
  return [kindWords[kind], ...words].join(" ");
}

/** Thicker by the power of ten, so that a rate that wavers draws nothing anew. */
function widthOf({ forwarded, dropped, audited }: MapEdge): number {
  return 1 + Math.min(5, Math.round(Math.log10(1 + forwarded + dropped + audited) * 2));
}

function lineOf(edge: MapEdge): Line {
  const state = stateOf(edge);
  return {
    id: edge.id,
    source: edge.source,
    target: edge.target,
    state,
    isBusy: edge.forwarded + edge.dropped + edge.audited > 0,
    width: widthOf(edge),
    label: state === "dropped" ? edge.droppedPorts.join(" ") || "dropped" : edge.ports.join(" "),
  };
}

const looksAlike = (a: Line, b: Line): boolean =>
  a.state === b.state && a.isBusy === b.isBusy && a.width === b.width && a.label === b.label;

/** What is drawn of a graph; the lines of before when all look as they did, so that nothing is drawn for nothing. */
export function linesOf(graph: Graph, before: readonly Line[]): readonly Line[] {
  const lines = [...graph.edges.values()].map(lineOf);
  const isSame =
    lines.length === before.length &&
    lines.every((line, i) => {
      const other = before[i];
      return other !== undefined && other.id === line.id && looksAlike(line, other);
    });
  return isSame ? before : lines;
}

/** Nodes that have a place. */
export function cardsOf(
  nodes: ReadonlyMap<string, MapNode>,
  positions: Positions,
  troubled: readonly NodeHealth[],
): Card[] {
  return [...nodes.values()].flatMap((node): Card[] => {
    const place = positions.get(node.id);
    if (place === undefined) return [];
    const { id, kind, name } = node;
    // All of the cluster's nodes are these two.
    const isAlarmed = troubled.length > 0 && (kind === "host" || kind === "remote-node");
    const note = isAlarmed
      ? `in trouble: ${troubled.map((one) => one.name).join(", ")}`
      : kind === "workload"
        ? node.namespace
        : kindWords[kind];
    return [{ id, x: place.x, y: place.y, kind, name, note, isAlarmed }];
  });
}

/** The piece of the world that has something in it. */
export function worldOf(cards: readonly Card[]): Rect {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y } of cards) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + box.width);
    bottom = Math.max(bottom, y + box.height);
  }
  if (cards.length === 0) return { x: 0, y: 0, width: box.width, height: box.height };
  return { x: left, y: top, width: right - left, height: bottom - top };
}

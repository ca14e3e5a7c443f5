import { type KeyboardEvent, memo, useMemo, useRef, useState } from "react";
import type { MapEdge } from "../../src/shared/model.ts";
import type { Graph } from "../graph.ts";
import { type EdgeState, spokenEdge, stateOf } from "./scene.ts";

interface Props {
  readonly edges: Graph["edges"];
  readonly choose: (id: string) => void;
  /** The keyboard is at this edge, or has left. */
  readonly focused: (id: string | undefined) => void;
}

/** Edges that are listed: those of one node are fewer, and choosing it shows them all. */
const mostListed = 200;
const order: Readonly<Record<EdgeState, number>> = { dropped: 0, audited: 1, forwarded: 2 };

function listed(edges: Graph["edges"]): MapEdge[] {
  const sorted = [...edges.values()].sort(
    (a, b) => order[stateOf(a)] - order[stateOf(b)] || (a.id < b.id ? -1 : 1),
  );
  return sorted.slice(0, mostListed);
}

const jumps: Readonly<Record<string, (at: number, last: number) => number>> = {
  ArrowDown: (at, last) => Math.min(last, at + 1),
  ArrowUp: (at) => Math.max(0, at - 1),
  Home: () => 0,
  End: (_, last) => last,
};

/**
 * The edges as a list that is heard, and seen while the keyboard is in it: what is dropped comes first. One is a stop of
 * the Tab key, arrow keys go on from there.
 */
export const EdgeList = memo(function EdgeList({ edges, choose, focused }: Props) {
  const list = useRef<HTMLUListElement>(null);
  const [stop, setStop] = useState("");
  const all = useMemo(() => listed(edges), [edges]);
  const at = Math.max(
    0,
    all.findIndex(({ id }) => id === stop),
  );

  const step = (event: KeyboardEvent): void => {
    const to = jumps[event.key]?.(at, all.length - 1);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    list.current?.querySelectorAll("button")[to]?.focus({ preventScroll: true });
  };
  const rest = edges.size - all.length;
  return (
    <ul
      className="edges"
      aria-label={`${edges.size} connections, dropped ones first${rest > 0 ? `; ${rest} are not listed: choose a workload` : ""}`}
      ref={list}
      onKeyDown={step}
      onBlur={() => focused(undefined)}
    >
      {all.map((edge, index) => (
        <li key={edge.id}>
          <button
            type="button"
            className={`edge ${stateOf(edge)}`}
            tabIndex={index === at ? 0 : -1}
            onClick={() => choose(edge.id)}
            onFocus={() => {
              setStop(edge.id);
              focused(edge.id);
            }}
          >
            {spokenEdge(edge)}
          </button>
        </li>
      ))}
    </ul>
  );
});

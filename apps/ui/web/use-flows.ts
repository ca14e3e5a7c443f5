import { useEffect, useReducer } from "react";
import {
  type FlowRow,
  type Health,
  type MapDelta,
  type NodeHealth,
  writeFilter,
} from "../src/shared/model.ts";
import type { Look } from "./address.ts";
import { applyDelta, emptyGraph, type Graph } from "./graph.ts";

/** Rows that the table holds. */
const mostRows = 2000;

/** What the server sends each second. */
interface Message {
  readonly map: MapDelta;
  readonly flows: { readonly rows: readonly FlowRow[]; readonly skipped: number };
  readonly health: Health;
  readonly namespaces: readonly string[];
  readonly nodes?: readonly NodeHealth[];
}

/** All that the page shows. */
export interface Shown {
  readonly connection: "connecting" | "live" | "lost" | "past";
  readonly error: string;
  readonly graph: Graph;
  /** Newest first. */
  readonly rows: readonly FlowRow[];
  readonly skipped: number;
  readonly health: Health | undefined;
  readonly namespaces: readonly string[];
  readonly nodes: readonly NodeHealth[];
}

type Step =
  | { readonly kind: "begin"; readonly connection: "connecting" }
  | { readonly kind: "lost" }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "message"; readonly message: Message; readonly connection: "live" | "past" };

const nothing: Shown = {
  connection: "connecting",
  error: "",
  graph: emptyGraph,
  rows: [],
  skipped: 0,
  health: undefined,
  namespaces: [],
  nodes: [],
};

function reduce(shown: Shown, step: Step): Shown {
  switch (step.kind) {
    case "begin":
      return { ...nothing, health: shown.health, namespaces: shown.namespaces, nodes: shown.nodes };
    case "lost":
      return { ...shown, connection: "lost" };
    case "failed":
      return { ...shown, connection: "lost", error: step.error };
    case "message": {
      const { map, flows, health, namespaces, nodes = shown.nodes } = step.message;
      const before = map.reset ? [] : shown.rows;
      return {
        connection: step.connection,
        error: "",
        graph: applyDelta(shown.graph, map),
        rows: flows.rows.length === 0 ? before : [...flows.rows].reverse().concat(before).slice(0, mostRows),
        skipped: (map.reset ? 0 : shown.skipped) + flows.skipped,
        health,
        namespaces,
        nodes,
      };
    }
  }
}

/** Follows the server, or asks it for the past. A connection that breaks is made again by the browser. */
export function useFlows({ filter, past }: Look, isPaused: boolean): Shown {
  const [shown, dispatch] = useReducer(reduce, nothing);
  const query = writeFilter(filter).toString();
  const span = past === undefined ? "" : `since=${past.since}&until=${past.until}`;

  useEffect(() => {
    if (isPaused) return;
    dispatch({ kind: "begin", connection: "connecting" });
    if (span !== "") {
      const abort = new AbortController();
      fetchPast(`api/past?${span}&${query}`, abort.signal).then(
        (message) => dispatch({ kind: "message", message, connection: "past" }),
        (error: unknown) => {
          if (!abort.signal.aborted) dispatch({ kind: "failed", error: String(error) });
        },
      );
      return () => abort.abort();
    }
    const events = new EventSource(`api/live?${query}`);
    events.onmessage = ({ data }: MessageEvent<string>) =>
      dispatch({ kind: "message", message: JSON.parse(data) as Message, connection: "live" });
    events.onerror = () => dispatch({ kind: "lost" });
    return () => events.close();
  }, [query, span, isPaused]);

  return shown;
}

async function fetchPast(url: string, signal: AbortSignal): Promise<Message> {
  const response = await fetch(url, { signal });
  const body = (await response.json()) as Message & { message?: string };
  if (!response.ok) throw new Error(body.message ?? response.statusText);
  return body;
}

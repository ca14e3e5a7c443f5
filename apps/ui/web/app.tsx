import { useCallback, useMemo, useState } from "react";
import { everything, type FlowRow, type MapNode } from "../src/shared/model.ts";
import { useLook } from "./address.ts";
import { Details, type Selection } from "./details.tsx";
import { Filters } from "./filters.tsx";
import { FlowTable } from "./flow-table.tsx";
import { byNamespace, type Grouping } from "./graph.ts";
import { HealthBar } from "./health-bar.tsx";
import { MapView } from "./map/map-view.tsx";
import { useFlows } from "./use-flows.ts";

/** Workloads that one picture takes before they are put together by namespace. */
const readable = 150;

/** The page. */
export function App() {
  const [look, change] = useLook();
  const [isPaused, setPaused] = useState(false);
  const [grouping, setGrouping] = useState<Grouping>("auto");
  const [selection, setSelection] = useState<Selection | undefined>();
  const shown = useFlows(look, isPaused);
  const isGrouped = grouping === "namespace" || (grouping === "auto" && shown.graph.nodes.size > readable);
  const graph = useMemo(() => {
    const opened = new Set(look.filter.namespace === "" ? [] : [look.filter.namespace]);
    return isGrouped ? byNamespace(shown.graph, opened) : shown.graph;
  }, [shown.graph, isGrouped, look.filter.namespace]);
  const edge = selection?.kind === "edge" ? graph.edges.get(selection.id) : undefined;
  const selectFlow = (row: FlowRow): void => setSelection({ kind: "flow", row });
  const selectEdge = useCallback((id: string) => setSelection({ kind: "edge", id }), []);
  const { filter } = look;
  const selectNode = useCallback(
    ({ kind, id, namespace }: MapNode) =>
      kind === "namespace"
        ? change({ filter: { ...filter, namespace } })
        : change({ filter: { ...filter, group: filter.group === id ? "" : id } }),
    [filter, change],
  );

  return (
    <div className="page">
      <a className="skip" href="#flows">
        Skip to the flows
      </a>
      <header>
        <h1>Axoneme</h1>
        <Filters
          look={look}
          change={change}
          namespaces={shown.namespaces}
          grouping={grouping}
          setGrouping={setGrouping}
        />
        <HealthBar shown={shown} isPaused={isPaused} setPaused={setPaused} />
      </header>
      <main>
        <section className="map" aria-label="Service map">
          <MapView
            graph={graph}
            selected={edge?.id}
            group={filter.group}
            onEdge={selectEdge}
            onNode={selectNode}
          />
          {graph.hidden > 0 && (
            <p className="note">{graph.hidden} quieter connections are not drawn: choose a namespace.</p>
          )}
          {graph.nodes.size === 0 && (
            <Empty connection={shown.connection} clear={() => change({ filter: everything })} />
          )}
        </section>
        {selection !== undefined && (
          <Details
            selection={selection}
            edge={edge}
            rows={shown.rows}
            close={() => setSelection(undefined)}
            narrow={(filter) => change({ filter: { ...look.filter, ...filter } })}
          />
        )}
        <FlowTable rows={shown.rows} skipped={shown.skipped} select={selectFlow} />
      </main>
    </div>
  );
}

function Empty({ connection, clear }: { connection: string; clear: () => void }) {
  return (
    <div className="empty" role="status">
      {connection === "connecting" ? (
        "Waiting for flows…"
      ) : (
        <>
          No flow matches.{" "}
          <button type="button" onClick={clear}>
            Show everything
          </button>
        </>
      )}
    </div>
  );
}

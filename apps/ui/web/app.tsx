import { useCallback, useMemo, useState } from "react";
import { everything, type FlowRow, type MapNode } from "../src/shared/model.ts";
import { useLook } from "./address.ts";
import { Details, type Selection } from "./details.tsx";
import { Filters } from "./filters.tsx";
import { FlowTable } from "./flow-table.tsx";
import { byNamespace, type Grouping } from "./graph.ts";
import { HealthBar } from "./health-bar.tsx";
import { MapView } from "./map/map-view.tsx";
import { inTrouble } from "./nodes.ts";
import { NodesPanel } from "./nodes-panel.tsx";
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
  const [showsNodes, setShowsNodes] = useState(false);
  const troubled = useMemo(() => inTrouble(shown.nodes), [shown.nodes]);
  const edge = selection?.kind === "edge" ? graph.edges.get(selection.id) : undefined;
  // One panel at a time beside the map.
  const select = useCallback((what: Selection | undefined) => {
    setSelection(what);
    setShowsNodes(false);
  }, []);
  const selectFlow = (row: FlowRow): void => select({ kind: "flow", row });
  const selectEdge = useCallback((id: string) => select({ kind: "edge", id }), [select]);
  const showNodes = (): void => {
    select(undefined);
    setShowsNodes(true);
  };
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
        <HealthBar shown={shown} isPaused={isPaused} setPaused={setPaused} showNodes={showNodes} />
      </header>
      <main>
        <section className="map" aria-label="Service map">
          <MapView
            graph={graph}
            selected={edge?.id}
            group={filter.group}
            troubled={troubled}
            onEdge={selectEdge}
            onNode={selectNode}
          />
          {troubled.length > 0 && (
            <button type="button" className="alarm bad" onClick={showNodes}>
              {troubled
                .slice(0, 3)
                .map(({ name }) => name)
                .join(", ")}
              {troubled.length > 3 && ` and ${troubled.length - 3} more nodes`} in trouble
            </button>
          )}
          {graph.hidden > 0 && (
            <p className="note">{graph.hidden} quieter connections are not drawn: choose a namespace.</p>
          )}
          {graph.nodes.size === 0 && (
            <Empty
              connection={shown.connection}
              hasRows={shown.rows.length > 0}
              clear={() => change({ filter: everything })}
            />
          )}
        </section>
        {showsNodes && <NodesPanel nodes={shown.nodes} close={() => setShowsNodes(false)} />}
        {selection !== undefined && (
          <Details
            selection={selection}
            edge={edge}
            rows={shown.rows}
            close={() => select(undefined)}
            narrow={(filter) => change({ filter: { ...look.filter, ...filter } })}
          />
        )}
        <FlowTable rows={shown.rows} skipped={shown.skipped} select={selectFlow} />
      </main>
    </div>
  );
}

interface EmptyProps {
  readonly connection: string;
  readonly hasRows: boolean;
  readonly clear: () => void;
}

function Empty({ connection, hasRows, clear }: EmptyProps) {
  return (
    <div className="empty" role="status">
      {connection === "connecting" ? (
        "Waiting for flows…"
      ) : (
        <>
          {/* The map adds flows up: of pods, labels, addresses and programs it knows nothing. */}
          {hasRows ? "No workload and no name is called so; flows below match." : "No flow matches."}{" "}
          <button type="button" onClick={clear}>
            Show everything
          </button>
        </>
      )}
    </div>
  );
}

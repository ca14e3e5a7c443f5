import { useEffect, useMemo, useRef } from "react";
import type { End, Filter, FlowRow, MapEdge, Program } from "../src/shared/model.ts";
import { nameOf } from "./flow-table.tsx";
import { Why } from "./why.tsx";

export type Selection =
  | { readonly kind: "edge"; readonly id: string }
  | { readonly kind: "flow"; readonly row: FlowRow };

interface Props {
  readonly selection: Selection;
  readonly edge: MapEdge | undefined;
  readonly rows: readonly FlowRow[];
  readonly close: () => void;
  readonly narrow: (filter: Partial<Filter>) => void;
}

/** What is known of an edge or a flow. */
export function Details({ selection, edge, rows, close, narrow }: Props) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.focus(), []);
  // One drop of the edge, the same for as long as it is looked at: newer ones come all the time.
  const about = selection.kind === "flow" ? selection.row.id : selection.id;
  const hasDrop = (edge?.totals.dropped ?? 0) > 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const drop = useMemo(
    () =>
      selection.kind === "flow"
        ? selection.row
        : rows.find(
            (row) => row.verdict === "dropped" && `${row.source.group}>${row.destination.group}` === about,
          ),
    [about, hasDrop],
  );
  return (
    <aside
      className="details"
      aria-label="Details"
      tabIndex={-1}
      ref={panel}
      onKeyDown={({ key }) => key === "Escape" && close()}
    >
      <button type="button" className="close" onClick={close} aria-label="Close the details">
        ✕
      </button>
      {edge !== undefined && <EdgeFacts edge={edge} narrow={narrow} />}
      {selection.kind === "flow" && <FlowFacts row={selection.row} />}
      {drop?.verdict === "dropped" && <Why key={drop.id} row={drop} rows={rows} />}
    </aside>
  );
}

function EdgeFacts({ edge, narrow }: { edge: MapEdge; narrow: (filter: Partial<Filter>) => void }) {
  const { totals } = edge;
  return (
    <>
      <h2>
        {bare(edge.source)} → {bare(edge.target)}
      </h2>
      <dl>
        <dt>Ports</dt>
        <dd>{edge.ports.join(", ") || "–"}</dd>
        <dt>Forwarded</dt>
        <dd>
          {totals.forwarded} ({edge.forwarded}/s)
        </dd>
        <dt>Dropped</dt>
        <dd className={totals.dropped > 0 ? "bad" : ""}>
          {totals.dropped} ({edge.dropped}/s) {edge.droppedPorts.join(", ")}
        </dd>
        <dt>Audited</dt>
        <dd>
          {totals.audited} ({edge.audited}/s)
        </dd>
      </dl>
      <p>
        <button type="button" onClick={() => narrow({ group: edge.source })}>
          Only flows of {bare(edge.source)}
        </button>{" "}
        <button type="button" onClick={() => narrow({ group: edge.target })}>
          Only flows of {bare(edge.target)}
        </button>
      </p>
    </>
  );
}

const bare = (group: string): string => group.slice(group.indexOf(":") + 1);

function FlowFacts({ row }: { row: FlowRow }) {
  return (
    <>
      <h2>
        {nameOf(row.source)} → {nameOf(row.destination)}
      </h2>
      <dl>
        <dt>Time</dt>
        <dd>{new Date(row.time).toISOString()}</dd>
        <dt>Verdict</dt>
        <dd className={row.verdict === "dropped" ? "bad" : ""}>
          {row.verdict} {row.dropReason}
        </dd>
        <dt>What</dt>
        <dd>
          {row.protocol} {row.summary} {row.direction}
        </dd>
        <dt>Node</dt>
        <dd>{row.node}</dd>
        <dt>Policies</dt>
        <dd>{row.policies.join(", ") || "–"}</dd>
        <EndFacts name="From" end={row.source} />
        <EndFacts name="To" end={row.destination} />
      </dl>
    </>
  );
}

function ProgramFacts({ program }: { program: Program }) {
  const { binary, pid, uid, container, started } = program;
  const since = started === 0 ? "" : `, since ${new Date(started).toISOString()}`;
  return (
    <p className="program">
      <code>
        {binary} {program.arguments}
      </code>
      <small>
        process {pid} of user {uid}
        {container !== "" && ` in ${container.slice(0, 12)}`}
        {since}
      </small>
    </p>
  );
}

function EndFacts({ name, end }: { name: string; end: End }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>
        {end.ip}
        {end.port > 0 && `:${end.port}`} identity {end.identity}
        {end.program && <ProgramFacts program={end.program} />}
        <ul className="labels">
          {end.labels.map((label) => (
            <li key={label}>{label}</li>
          ))}
        </ul>
      </dd>
    </>
  );
}

import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import type { End, FlowRow } from "../src/shared/model.ts";

interface Props {
  readonly rows: readonly FlowRow[];
  readonly skipped: number;
  readonly select: (row: FlowRow) => void;
}

const rowHeight = 30;

/** One side of a flow, in a word or two. */
export function nameOf({ namespace, pod, names, ip, group }: End): string {
  if (pod !== "") return `${namespace}/${pod}`;
  const [name] = names;
  if (name !== undefined) return name;
  return `${group.slice(group.indexOf(":") + 1)} ${ip}`;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});

/** The flows, newest first. Only rows in sight are there, however many there are. */
export function FlowTable({ rows, skipped, select }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  return (
    <section className="flows" id="flows" aria-label="Flows">
      <div className="head row" aria-hidden="true">
        <span>Time</span>
        <span>Verdict</span>
        <span>From</span>
        <span>To</span>
        <span>Port</span>
        <span>Policy</span>
      </div>
      <div className="scroller" ref={scroller}>
        <ul aria-label={`${rows.length} flows, newest first`} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start, key }) => {
            const row = rows[index];
            return row && <Row key={key} row={row} top={start} select={select} />;
          })}
        </ul>
      </div>
      {skipped > 0 && (
        <p className="note">{skipped} more flows came too fast to be listed: filter, or look at the map.</p>
      )}
    </section>
  );
}

function Row({ row, top, select }: { row: FlowRow; top: number; select: (row: FlowRow) => void }) {
  const port = row.destination.port === 0 ? row.protocol : `${row.protocol}/${row.destination.port}`;
  const verdict = row.verdict === "dropped" ? row.dropReason.toLowerCase().replaceAll("_", " ") : row.verdict;
  return (
    <li className="line" style={{ transform: `translateY(${top}px)`, height: rowHeight }}>
      <button type="button" className={`row ${row.verdict}`} onClick={() => select(row)}>
        <time dateTime={new Date(row.time).toISOString()}>{clock.format(row.time)}</time>
        <span className="verdict">{verdict}</span>
        <span>{nameOf(row.source)}</span>
        <span>
          {row.isReply && <i>answer to </i>}
          {nameOf(row.destination)}
        </span>
        <span>{port}</span>
        <span>{row.policies.join(", ")}</span>
      </button>
    </li>
  );
}

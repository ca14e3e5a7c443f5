import { type Preview, previewChange } from "@axoneme/policy";
import { loadAll } from "js-yaml";
import { useMemo } from "react";
import type { FlowRow } from "../src/shared/model.ts";
import type { PolicyBook } from "../src/shared/policy-book.ts";
import { podsOf, queriesOf, type RowQuery } from "../src/shared/questions.ts";
import { nameOf } from "./flow-table.tsx";

interface Props {
  readonly text: string;
  readonly setText: (text: string | undefined) => void;
  /** Policies as they are. */
  readonly today: PolicyBook;
  readonly rows: readonly FlowRow[];
}

/** Connections that are listed. */
const mostLines = 20;

/** A policy that is written, and what it would do to the flows that the page has: by the agent's engine, here. */
export function PolicyEditor({ text, setText, today, rows }: Props) {
  // The flows at the moment of opening: a preview that moves cannot be read.
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const seen = useMemo(() => ({ pods: podsOf(rows), flows: queriesOf(rows) }), []);
  const result = useMemo((): Preview<RowQuery> | string => {
    try {
      const objects = (loadAll(text) as unknown[]).filter(
        (object) => typeof object === "object" && object !== null,
      );
      return previewChange(today.objects, { objects, isDeletion: false }, seen, today);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }, [text, today, seen]);
  return (
    <>
      <h3>Preview</h3>
      <label>
        Policy
        <textarea
          className="editor"
          spellCheck={false}
          rows={18}
          value={text}
          onChange={({ target }) => setText(target.value)}
        />
      </label>
      <div role="status" aria-label="What it would do">
        {typeof result === "string" ? (
          <p className="bad">{result}</p>
        ) : (
          <Outcome preview={result} seen={seen.flows.length} />
        )}
      </div>
      <button type="button" onClick={() => void navigator.clipboard.writeText(text)}>
        Copy
      </button>{" "}
      <button type="button" onClick={() => setText(undefined)}>
        Close
      </button>
    </>
  );
}

function Outcome({ preview, seen }: { preview: Preview<RowQuery>; seen: number }) {
  const { pods, flows, nowAllowed, nowDenied, problems } = preview;
  return (
    <>
      {problems.map((problem) => (
        <p key={problem} className="warn">
          {problem}
        </p>
      ))}
      <p>
        Of {seen} different connections: <strong>{nowAllowed} newly allowed</strong>,{" "}
        <strong className={nowDenied > 0 ? "bad" : ""}>{nowDenied} newly denied</strong>. It selects{" "}
        {pods.length} pods seen here.
      </p>
      <ul>
        {flows.slice(0, mostLines).map(({ flow, after }) => (
          <li key={flow.row.id} className={after.isAllowed ? "" : "bad"}>
            {after.isAllowed ? "+" : "−"} {nameOf(flow.row.source)} → {nameOf(flow.row.destination)}{" "}
            {flow.row.protocol}
            {flow.port > 0 && `/${flow.port}`}
          </li>
        ))}
      </ul>
    </>
  );
}

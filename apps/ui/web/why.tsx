import { type Judged, PolicySandbox, type SideJudgement, suggestPolicies } from "@axoneme/policy";
import { dump } from "js-yaml";
import { useMemo, useState } from "react";
import type { FlowRow } from "../src/shared/model.ts";
import { queryOf } from "../src/shared/questions.ts";
import { nameOf } from "./flow-table.tsx";
import { PolicyEditor } from "./policy-editor.tsx";
import { usePolicies } from "./use-policies.ts";

interface Props {
  readonly row: FlowRow;
  /** For previews: what else was seen. */
  readonly rows: readonly FlowRow[];
}

const isDenied = (side: SideJudgement | undefined): boolean =>
  side?.verdict === "deny" || side?.verdict === "default-deny";

/** Why a flow was dropped: as its record says, and as the engine explains it over the policies there are now. */
export function Why({ row, rows }: Props) {
  const { book, error } = usePolicies(row.id);
  const query = useMemo(() => queryOf(row), [row]);
  const sandbox = useMemo(() => book && new PolicySandbox(book.objects, book), [book]);
  const judged = useMemo(() => query && sandbox?.judge(query), [query, sandbox]);
  const suggestion = useMemo(() => {
    if (query === undefined || judged === undefined || judged.isAllowed) return undefined;
    const subject = isDenied(judged.egress) ? query.source : query.destination;
    return suggestPolicies([query], (side) => side === subject)[0];
  }, [query, judged]);
  const [text, setText] = useState<string | undefined>();

  return (
    <section className="why" aria-label="Why it was dropped">
      <h3>Why</h3>
      <Recorded row={row} />
      {error !== "" && <p className="warn">{error}</p>}
      {judged !== undefined && book !== undefined && (
        <Explained judged={judged} row={row} objects={book.objects} />
      )}
      {suggestion !== undefined && text === undefined && (
        <>
          <h3>What would allow it</h3>
          <pre>{dump(suggestion, { noRefs: true })}</pre>
          <button type="button" onClick={() => setText(dump(suggestion, { noRefs: true }))}>
            Edit and preview
          </button>
        </>
      )}
      {text !== undefined && book !== undefined && (
        <PolicyEditor text={text} setText={setText} today={book} rows={rows} />
      )}
    </section>
  );
}

/** What the record itself says. */
function Recorded({ row }: { row: FlowRow }) {
  const isIngress = row.direction === "ingress";
  const side = nameOf(isIngress ? row.destination : row.source);
  if (!row.dropReason.startsWith("POLICY"))
    return <p>{row.dropReason.toLowerCase().replaceAll("_", " ")}: not a policy's decision.</p>;
  return (
    <p>
      {isIngress ? "Ingress to" : "Egress from"} {side} was denied
      {row.policies.length > 0 ? (
        <>
          {" "}
          by <strong>{row.policies.join(", ")}</strong>
        </>
      ) : (
        ": no rule allowed it"
      )}
      .
    </p>
  );
}

function Explained({ judged, row, objects }: { judged: Judged; row: FlowRow; objects: readonly unknown[] }) {
  const sides = [
    { side: judged.egress, what: `egress of ${nameOf(row.source)}` },
    { side: judged.ingress, what: `ingress of ${nameOf(row.destination)}` },
  ];
  return (
    <ul className="sides">
      {sides.map(
        ({ side, what }) =>
          side !== undefined && (
            <li key={what} className={isDenied(side) ? "bad" : ""}>
              <strong>{side.verdict}</strong>: {what}
              {side.rule !== undefined && (
                <details>
                  <summary>
                    {side.rule.policy.kind} {side.rule.policy.name}, {side.rule.path}
                  </summary>
                  <pre>{policyText(objects, side.rule.policy)}</pre>
                </details>
              )}
            </li>
          ),
      )}
    </ul>
  );
}

interface Named {
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly managedFields?: unknown;
  };
}

function policyText(
  objects: readonly unknown[],
  ref: { kind: string; namespace?: string; name: string },
): string {
  const found = (objects as readonly Named[]).find(
    ({ kind, metadata }) =>
      kind === ref.kind && metadata?.name === ref.name && metadata.namespace === ref.namespace,
  );
  return found === undefined ? "made by the agent itself" : dump(found, { noRefs: true });
}

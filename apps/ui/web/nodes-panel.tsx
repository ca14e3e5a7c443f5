import { useEffect, useRef } from "react";
import type { NodeHealth } from "../src/shared/model.ts";
import { inTrouble, lasted } from "./nodes.ts";

interface Props {
  readonly nodes: readonly NodeHealth[];
  readonly close: () => void;
}

/** What is told of each node; a dash where nobody tells. */
const columns: readonly { readonly name: string; readonly of: (node: NodeHealth) => string | undefined }[] = [
  { name: "Agent", of: ({ version }) => version },
  { name: "Up", of: ({ uptimeSeconds: up }) => (up === undefined ? undefined : lasted(up)) },
  { name: "Flows/s", of: ({ flowsPerSecond: rate }) => rate?.toString() },
  { name: "Lost", of: ({ lost }) => lost?.toString() },
  {
    name: "Fullest map",
    of: ({ fullest }) =>
      fullest && `${fullest.map} ${(fullest.share * 100).toFixed(fullest.share < 0.1 ? 1 : 0)} %`,
  },
  { name: "Endpoints ready", of: ({ endpoints: all }) => all && `${all.ready} of ${all.total}` },
  { name: "Programs", of: ({ programs }) => programs?.join(", ") },
  { name: "DNS proxy", of: ({ dnsProxy }) => dnsProxy },
];

const words: Readonly<Record<NodeHealth["state"], string>> = {
  ok: "well",
  degraded: "degraded",
  failed: "failed",
  silent: "no answer",
};

/** Nodes and their agents: those in trouble first. */
export function NodesPanel({ nodes, close }: Props) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.focus(), []);
  const sorted = [...inTrouble(nodes), ...nodes.filter(({ state }) => state === "ok")];
  const isBlind = nodes.every(({ toldBy }) => toldBy === "relay");
  return (
    <aside
      className="details nodes"
      aria-label="Nodes"
      tabIndex={-1}
      ref={panel}
      onKeyDown={({ key }) => key === "Escape" && close()}
    >
      <button type="button" className="close" onClick={close} aria-label="Close the nodes">
        ✕
      </button>
      <h2>Nodes</h2>
      {nodes.length === 0 ? (
        <p>Nobody tells of nodes: neither an agent (--agent) nor a relay.</p>
      ) : (
        <NodeTable nodes={sorted} />
      )}
      {nodes.length > 0 && isBlind && (
        <p className="quiet">
          Told by a relay, which knows no more of nodes. Endpoints, maps, programs and DNS proxy are told by
          agents (--agent).
        </p>
      )}
    </aside>
  );
}

function NodeTable({ nodes }: { nodes: readonly NodeHealth[] }) {
  return (
    <div className="wide-table">
      <table>
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">State</th>
            {columns.map(({ name }) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {nodes.map((node) => (
            <NodeRows key={node.name} node={node} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function NodeRows({ node }: { node: NodeHealth }) {
  const { name, state, problems } = node;
  return (
    <>
      <tr>
        <th scope="row">{name}</th>
        <td className={state === "ok" ? "good" : state === "degraded" ? "warn" : "bad"}>{words[state]}</td>
        {columns.map((column) => (
          <td key={column.name}>{column.of(node) ?? "–"}</td>
        ))}
      </tr>
      {problems.length > 0 && (
        <tr className="problems">
          <td colSpan={columns.length + 2}>
            <ul aria-label={`Problems of ${name}`}>
              {problems.slice(0, 10).map((problem) => (
                <li key={problem}>{problem}</li>
              ))}
            </ul>
          </td>
        </tr>
      )}
    </>
  );
}

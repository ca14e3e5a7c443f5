import { parseLabelLines } from "@axoneme/identity";
import type { NamedPod, SandboxQuery, SandboxSide } from "@axoneme/policy";
import type { End, FlowRow } from "./model.ts";

const numbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132, ICMPv4: 1, ICMPv6: 58 };

/** A row, as policies are asked about it. */
export interface RowQuery extends SandboxQuery {
  readonly row: FlowRow;
}

/** A relay of others may tell labels that are none; one of them is no reason to show nothing. */
const hasKey = (label: string): boolean => !/^([a-z0-9]+:)?(=|$)/.test(label);

function sideOf({ pod, labels, ip, names }: End): SandboxSide {
  return { isPod: pod !== "", labels: parseLabelLines(labels.filter(hasKey)), ip, names };
}

/** The question that a flow stands for; undefined for answers and for protocols that policies do not know. */
export function queryOf(row: FlowRow): RowQuery | undefined {
  const proto = numbers[row.protocol];
  if (proto === undefined || row.isReply || row.source.labels.length === 0) return undefined;
  return {
    row,
    source: sideOf(row.source),
    destination: sideOf(row.destination),
    proto,
    port: row.destination.port,
  };
}

/** Questions of rows, each once. */
export function queriesOf(rows: readonly FlowRow[]): RowQuery[] {
  const found = new Map<string, RowQuery>();
  for (const row of rows) {
    const query = queryOf(row);
    if (query)
      found.set(
        `${row.source.group} ${row.destination.group} ${row.protocol} ${query.port} ${row.verdict}`,
        query,
      );
  }
  return [...found.values()];
}

/** Pods that rows are about. */
export function podsOf(rows: readonly FlowRow[]): NamedPod[] {
  const pods = new Map<string, NamedPod>();
  for (const end of rows.flatMap(({ source, destination }) => [source, destination])) {
    if (end.pod === "") continue;
    const name = `${end.namespace}/${end.pod}`;
    if (!pods.has(name)) pods.set(name, { name, side: sideOf(end) });
  }
  return [...pods.values()];
}

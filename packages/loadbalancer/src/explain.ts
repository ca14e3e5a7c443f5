import { formatIp, formatPrefix, type Ip, prefixContains } from "@axoneme/base";
import { isWildcard } from "./addresses.ts";
import { addressText, type FrontendRecord, type FrontendTable, wildcardText } from "./frontends.ts";
import { type FrontendKey, frontendText, Scope, ServiceFlag } from "./rows.ts";
import { type FrontendView, frontendView, scopeText } from "./views.ts";

/** A question: who is reached by this client under this key? */
export interface FrontendQuery {
  /** undefined = not known; source ranges and skips are then not judged. */
  readonly client: Ip | undefined;
  /** Scope is ignored: the client starts at the external one. */
  readonly key: Omit<FrontendKey, "scope">;
  /** The client is a socket of this node or one of its pods. */
  readonly inside: boolean;
  /** The address is one of this node's NodePort addresses (or, inside, a loopback one). */
  readonly nodePortAddress: boolean;
}

/** The answer, with each step of the look-up for people. */
export interface Explanation {
  readonly outcome: "no-service" | "refused" | "not-translated" | "chosen";
  /** How the row was found. */
  readonly match: "exact" | "wildcard" | undefined;
  /** The row that decides; its `backends` are the candidates. */
  readonly frontend: FrontendView | undefined;
  readonly steps: readonly string[];
}

/** Follows the look-up the datapath makes. */
export function explainFrontend(table: FrontendTable, query: FrontendQuery): Explanation {
  const { key, client, inside } = query;
  const steps: string[] = [];
  const found = firstRow(table, query, steps);
  if (found === undefined) return { outcome: "no-service", match: undefined, frontend: undefined, steps };
  const { match } = found;
  let { record } = found;
  let flags = record.row?.flags ?? 0;
  const answer = (outcome: Explanation["outcome"]): Explanation => ({
    outcome,
    match,
    frontend: frontendView(record),
    steps,
  });
  const next = (scope: number): boolean => {
    const other = table.get(frontendText({ ...record.key, scope }));
    if (other?.row === undefined) return false;
    record = other;
    flags = other.row.flags;
    steps.push(`${scopeText(scope)} row of ${addressText(key.port ? record.key : key0(key))}`);
    return true;
  };
  if (flags & ServiceFlag.loopbackOnly && !inside) {
    steps.push("bound to a loopback address: from outside it is not served");
    return answer("not-translated");
  }
  if (flags & ServiceFlag.twoScopes && inside) {
    steps.push("the client is inside the cluster: it has a row of its own");
    next(Scope.internal);
  }
  if (flags & ServiceFlag.skip && client !== undefined && record.holder?.unit.skips(client)) {
    steps.push(`${formatIp(client)} is a backend of the redirect itself: it is not redirected`);
    if (!next(Scope.original)) return answer("not-translated");
  }
  if (flags & ServiceFlag.sourceRanges && client !== undefined && !admitted(record, client, steps))
    return answer("refused");
  return conclude(record, steps, answer);
}

function key0(key: Omit<FrontendKey, "scope">): FrontendKey {
  return { ...key, scope: Scope.external };
}

function firstRow(
  table: FrontendTable,
  { key, nodePortAddress }: FrontendQuery,
  steps: string[],
): { record: FrontendRecord; match: "exact" | "wildcard" } | undefined {
  const text = addressText(key0(key));
  const exact = table.get(frontendText(key0(key)));
  if (exact?.row !== undefined && !isWildcard(key.addr)) {
    steps.push(`exact row for ${text}`);
    return { record: exact, match: "exact" };
  }
  const wild = table.get(wildcardText(key0(key)));
  steps.push(`no exact row for ${text}`);
  if (wild?.row === undefined) return undefined;
  if (!nodePortAddress) {
    steps.push(
      `port ${key.port} is served on node addresses, and ${formatIp(key.addr)} is none of this node's`,
    );
    return undefined;
  }
  steps.push(`row for port ${key.port} on every node address`);
  return { record: wild, match: "wildcard" };
}

function admitted(record: FrontendRecord, client: Ip, steps: string[]): boolean {
  const ranges = record.holder?.unit.ranges ?? [];
  const range = ranges.find((prefix) => prefixContains(prefix, client));
  if (range !== undefined) steps.push(`source range ${formatPrefix(range)} admits ${formatIp(client)}`);
  else steps.push(`no source range admits ${formatIp(client)} (${ranges.map(formatPrefix).join(", ")})`);
  return range !== undefined;
}

function conclude(
  record: FrontendRecord,
  steps: string[],
  answer: (outcome: Explanation["outcome"]) => Explanation,
): Explanation {
  const { holder, list, row } = record;
  if (holder === undefined || list === undefined || row === undefined) {
    steps.push("the row is a former agent's; its object is not known yet");
    return answer("chosen");
  }
  steps.push(`${holder.owner.text}: ${holder.locality.text}`);
  if (list.ids.length === 0) {
    steps.push("nothing to choose from: connections are refused");
    return answer("refused");
  }
  const how = row.algorithm === 1 ? `Maglev table of ${row.slots}` : "random";
  const affinity = row.affinityTimeoutS > 0 ? `, kept per client for ${row.affinityTimeoutS} s` : "";
  steps.push(`${list.ids.length} candidates (${how}${affinity})`);
  return answer("chosen");
}

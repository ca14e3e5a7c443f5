import type { Flow, FlowFilter, FlowInterface } from "../flow.ts";
import { at, type RecordRef } from "../record.ts";
import { anyOf, type Clause, type RawTest } from "./clause.ts";
import { dropReasonClause, eventTypeClause, verdictClause } from "./event.ts";
import { layer7Clauses } from "./layer7.ts";
import { addressClause, ipVersionClause, protocolClause, tcpFlagsClause } from "./packet.ts";
import { compileNodeName, invalid, type RegexCompiler } from "./pattern.ts";
import { peerClauses } from "./peer.ts";
import { compileSelector } from "./selector.ts";

/** A compiled request: tests on flows, and a cheap test on raw records. */
export interface FlowMatcher {
  /** (no whitelist, or one of it matches) and none of the blacklist matches. */
  matches(flow: Flow): boolean;
  /** False only if no flow of the record can match: it need not be expanded. */
  mayMatch(record: RecordRef): boolean;
  /** True when every flow matches. */
  readonly matchesAll: boolean;
  /** True when a flow takes tens of microseconds: others need their turn sooner. */
  readonly isCostly: boolean;
}

/**
 * Compiles a CEL expression to a test.
 * @throws AxonError `flow.filter_invalid`
 */
export type ExpressionCompiler = (expression: string) => (flow: Flow) => boolean;

/** What a filter may need that is too large to be always there. */
export interface FilterEngines {
  readonly expression?: ExpressionCompiler;
  /** Of regular expressions, in a time that grows with the text only; absent: JavaScript's own, for filters of one's own. */
  readonly regex?: RegexCompiler;
}

/** Expressions of one filter at most. */
const maxExpressions = 8;

/** The last and dearest of the clauses. */
function expressionClauses(filter: FlowFilter, compiler: ExpressionCompiler | undefined): Clause[] {
  const expressions = filter.experimental?.cel_expression ?? [];
  if (expressions.length === 0) return [];
  const field = "cel_expression";
  if (compiler === undefined) throw invalid(field, expressions[0] ?? "", "is not evaluated here");
  if (expressions.length > maxExpressions)
    throw invalid(
      field,
      expressions[0] ?? "",
      `is one of ${expressions.length}; ${maxExpressions} are the most`,
    );
  return [anyOf(expressions, compiler)];
}

function setClause<T>(values: readonly T[], of: (flow: Flow) => T | undefined): Clause {
  const wanted = new Set(values);
  return {
    match: (flow) => {
      const value = of(flow);
      return value !== undefined && wanted.has(value);
    },
  };
}

function interfaceClause(values: readonly FlowInterface[]): Clause {
  const onlyIndexes = values.every((value) => (value.index ?? 0) !== 0);
  const indexes = new Set(values.map((value) => value.index));
  const clause = anyOf(values, (wanted) => ({ interface: device }) => {
    if (device === undefined) return false;
    if ((wanted.index ?? 0) !== 0 && wanted.index !== device.index) return false;
    return (wanted.name ?? "") === "" || wanted.name === device.name;
  });
  if (!onlyIndexes) return clause;
  return { ...clause, raw: (view, _, o) => indexes.has(view.getUint32(o + at.ifindex, true)) };
}

/** A drop is never a reply; of other flows without the answer nothing is known, and they do not match. */
function replyClause(values: readonly boolean[]): Clause {
  return {
    match: (flow) => {
      const reply = flow.is_reply ?? (flow.verdict === "DROPPED" ? false : undefined);
      return reply !== undefined && values.includes(reply);
    },
  };
}

function clausesOf(filter: FlowFilter, engines: FilterEngines): Clause[] {
  const clauses: Clause[] = [];
  const add = <K extends Exclude<keyof FlowFilter, "experimental">>(
    field: K,
    make: (values: NonNullable<FlowFilter[K]>) => Clause,
  ): void => {
    const values = filter[field];
    if (values !== undefined && values.length > 0) clauses.push(make(values));
  };
  // The cheap and selective ones first.
  add("verdict", verdictClause);
  add("event_type", eventTypeClause);
  add("drop_reason_desc", dropReasonClause);
  add("protocol", protocolClause);
  add("ip_version", ipVersionClause);
  add("tcp_flags", tcpFlagsClause);
  add("interface", interfaceClause);
  clauses.push(...peerClauses(filter, "source"), ...peerClauses(filter, "destination"));
  add("traffic_direction", (values) => {
    const wanted = new Set<string>(values);
    return { match: (flow) => wanted.has(flow.traffic_direction ?? "TRAFFIC_DIRECTION_UNKNOWN") };
  });
  add("reply", replyClause);
  add("uuid", (values) => setClause(values, (flow) => flow.uuid));
  add("source_ip_xlated", (values) =>
    addressClause("source_ip_xlated", values, (flow) => flow.IP?.source_xlated, undefined),
  );
  add("encrypted", (values) => ({ match: (flow) => values.includes(flow.IP?.encrypted ?? false) }));
  add("trace_id", (values) => setClause(values, (flow) => flow.trace_context?.parent?.trace_id));
  add("ip_trace_id", (values) => setClause(values.map(String), (flow) => flow.ip_trace_id?.trace_id));
  add("node_name", (values) =>
    anyOf(values, (value) => {
      const test = compileNodeName("node_name", value);
      return (flow) => test(flow.node_name ?? "");
    }),
  );
  add("node_labels", (values) =>
    anyOf(values, (value) => {
      const test = compileSelector(value);
      return (flow) => test(flow.node_labels ?? []);
    }),
  );
  clauses.push(...layer7Clauses(filter, engines.regex), ...expressionClauses(filter, engines.expression));
  return clauses;
}

interface CompiledFilter {
  match(flow: Flow): boolean;
  raws: readonly RawTest[];
}

function compileOne(filter: FlowFilter, engines: FilterEngines): CompiledFilter {
  const clauses = clausesOf(filter, engines);
  return {
    match: (flow) => clauses.every((clause) => clause.match(flow)),
    raws: clauses.flatMap((clause) => (clause.raw === undefined ? [] : [clause.raw])),
  };
}

/**
 * Compiles the white and black list of a request. Without a compiler of expressions those with one are refused.
 * @throws AxonError `flow.filter_invalid`, `flow.selector_invalid` naming the field and the value
 */
export function compileFilter(
  white: readonly FlowFilter[] = [],
  black: readonly FlowFilter[] = [],
  engines: FilterEngines = {},
): FlowMatcher {
  const allow = white.map((filter) => compileOne(filter, engines));
  const deny = black.map((filter) => compileOne(filter, engines));
  return {
    isCostly: [...white, ...black].some(({ experimental }) => experimental?.cel_expression?.length),
    matchesAll: allow.length === 0 && deny.length === 0,
    matches: (flow) =>
      (allow.length === 0 || allow.some((filter) => filter.match(flow))) &&
      !deny.some((filter) => filter.match(flow)),
    mayMatch: (record) => allow.length === 0 || anyPasses(allow, record),
  };
}

/** Plain loops: this runs for every record that a reader scans. */
function anyPasses(filters: readonly CompiledFilter[], { view, bytes, offset }: RecordRef): boolean {
  for (const { raws } of filters) {
    let passes = true;
    for (let i = 0; passes && i < raws.length; i++) passes = raws[i]?.(view, bytes, offset) === true;
    if (passes) return true;
  }
  return false;
}

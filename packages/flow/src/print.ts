import { dropReasonText } from "./drop-reason.ts";
import type { Flow, FlowEndpoint, FlowPolicy, FlowService, GetFlowsResponse } from "./flow.ts";
import { eventType, reservedIdentityName, sockPointText, tracePointText } from "./names.ts";
import { summaryOf } from "./summary.ts";

/** What a piece of text is, for colouring. */
export type Paint = (
  kind: "host" | "port" | "identity" | "forwarded" | "dropped" | "audit" | "policy",
  text: string,
) => string;

export interface PrintOptions {
  /** Show the node of each flow. */
  readonly nodeName?: boolean;
  /** Addresses instead of pod, Service and DNS names. */
  readonly numeric?: boolean;
  /** Append the names of the policies that decided (default true). */
  readonly policyNames?: boolean;
  /** Append the processes that own the sockets (default false). */
  readonly processes?: boolean;
  readonly paint?: Paint;
  /** Default StampMilli. */
  readonly timeFormat?: TimeFormat;
}

const plain: Paint = (_, text) => text;
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Time formats beside `StampMilli`, the usual one: the field's names of them. */
export const timeFormats = ["StampMilli", "RFC3339", "RFC3339Milli", "RFC3339Micro", "RFC3339Nano"] as const;
export type TimeFormat = (typeof timeFormats)[number];

const fractionDigits: Record<TimeFormat, number> = {
  StampMilli: 3,
  RFC3339: 0,
  RFC3339Milli: 3,
  RFC3339Micro: 6,
  RFC3339Nano: 9,
};

/** `Nov 20 12:00:00.000` in local time, or RFC 3339 in UTC with so many digits. */
export function timeText(timestamp: string, format: TimeFormat = "StampMilli"): string {
  if (format !== "StampMilli") {
    const [second = "", fraction = ""] = timestamp.replace("Z", "").split(".");
    const digits = fraction.padEnd(9, "0").slice(0, fractionDigits[format]);
    return digits === "" ? `${second}Z` : `${second}.${digits}Z`;
  }
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) return "N/A";
  const two = (n: number): string => `${n}`.padStart(2, "0");
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const ms = `${date.getMilliseconds()}`.padStart(3, "0");
  return `${months[date.getMonth()]} ${`${date.getDate()}`.padStart(2)} ${clock}.${ms}`;
}

/** The event in words: `to-endpoint`, `Policy denied`, `policy-verdict:L3-L4 INGRESS`, `dns-request proxy`, ... */
export function typeText(flow: Flow): string {
  const type = flow.event_type?.type ?? 0;
  const subtype = flow.event_type?.sub_type ?? 0;
  if (flow.l7 !== undefined) return layer7Type(flow);
  switch (type) {
    case eventType.drop:
      return dropReasonText(subtype);
    case eventType.trace:
      return tracePointText(subtype);
    case eventType.traceSock:
      return sockPointText(subtype);
    case eventType.policyVerdict:
      return `policy-verdict:${matchNames[flow.policy_match_type ?? 0] ?? "none"} ${flow.traffic_direction ?? ""}`.trim();
    default:
      return `${type}`;
  }
}

const matchNames = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];

function layer7Type(flow: Flow): string {
  const kind = flow.l7?.type === "RESPONSE" ? "response" : "request";
  if (flow.l7?.http !== undefined) return `http-${kind}`;
  const source = flow.l7?.dns?.observation_source ?? "";
  return flow.l7?.dns === undefined ? kind : `dns-${kind} ${source}`.trimEnd();
}

/** Verdict in words; of a policy verdict ALLOWED, DENIED, AUDITED. */
export function verdictText(flow: Flow): string {
  if (flow.event_type?.type !== eventType.policyVerdict) return flow.verdict ?? "VERDICT_UNKNOWN";
  if (flow.verdict === "FORWARDED") return "ALLOWED";
  if (flow.verdict === "DROPPED") return "DENIED";
  return flow.verdict === "AUDIT" ? "AUDITED" : (flow.verdict ?? "VERDICT_UNKNOWN");
}

function paintedVerdict(flow: Flow, paint: Paint): string {
  const text = verdictText(flow);
  if (flow.verdict === "DROPPED" || flow.verdict === "ERROR") return paint("dropped", text);
  return paint(flow.verdict === "AUDIT" ? "audit" : "forwarded", text);
}

/** `namespace/name` of the policies that decided, each once. */
export function policyNames(flow: Flow): string[] {
  const of = (policies: readonly FlowPolicy[] | undefined): string[] =>
    (policies ?? []).map(({ namespace, name }) =>
      namespace === undefined || namespace === "" ? (name ?? "") : `${namespace}/${name ?? ""}`,
    );
  const names = [
    ...of(flow.egress_allowed_by),
    ...of(flow.ingress_allowed_by),
    ...of(flow.egress_denied_by),
    ...of(flow.ingress_denied_by),
  ];
  return [...new Set(names)];
}

interface Side {
  readonly host: string;
  readonly identity: string;
}

function hostName(
  ip: string,
  endpoint: FlowEndpoint | undefined,
  service: FlowService | undefined,
  names: readonly string[] | undefined,
  numeric: boolean,
): string {
  if (numeric) return ip;
  const join = (namespace: string | undefined, name: string): string =>
    namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
  if (endpoint?.pod_name !== undefined) return join(endpoint.namespace, endpoint.pod_name);
  if (service?.name !== undefined) return join(service.namespace, service.name);
  return names === undefined || names.length === 0 ? ip : names.join(",");
}

function withPort(host: string, port: number | undefined, paint: Paint): string {
  const shown = paint("host", host.includes(":") && port !== undefined ? `[${host}]` : host);
  return port === undefined ? shown : `${shown}:${paint("port", `${port}`)}`;
}

function identityText(endpoint: FlowEndpoint | undefined, paint: Paint): string {
  const identity = endpoint?.identity;
  if (identity === undefined) return "";
  const reserved = reservedIdentityName(identity);
  return paint("identity", reserved === undefined ? `(ID:${identity})` : `(${reserved})`);
}

function sides(flow: Flow, options: PrintOptions): { source: Side; destination: Side } {
  const paint = options.paint ?? plain;
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  const numeric = options.numeric === true;
  const source = hostName(
    flow.IP?.source ?? "",
    flow.source,
    flow.source_service,
    flow.source_names,
    numeric,
  );
  const destination = hostName(
    flow.IP?.destination ?? "",
    flow.destination,
    flow.destination_service,
    flow.destination_names,
    numeric,
  );
  return {
    source: {
      host: withPort(source, ports && (ports.source_port ?? 0), paint),
      identity: identityText(flow.source, paint),
    },
    destination: {
      host: withPort(destination, ports && (ports.destination_port ?? 0), paint),
      identity: identityText(flow.destination, paint),
    },
  };
}

function policySuffix(flow: Flow, options: PrintOptions): string {
  if (options.policyNames === false) return "";
  const names = policyNames(flow);
  return names.length === 0 ? "" : ` by ${(options.paint ?? plain)("policy", names.join(", "))}`;
}

/** `curl[4711] -> nginx[815]`: what is known of the processes of both sides, by the last name of their path. */
export function processText({ source, destination }: Flow): string {
  const of = ({ process }: FlowEndpoint = {}): string =>
    process === undefined
      ? ""
      : `${process.binary?.slice(process.binary.lastIndexOf("/") + 1) ?? "?"}[${process.pid ?? 0}]`;
  const [from, to] = [of(source), of(destination)];
  return from === "" && to === "" ? "" : `${from || "?"} -> ${to || "?"}`;
}

function processSuffix(flow: Flow, options: PrintOptions): string {
  const text = options.processes === true ? processText(flow) : "";
  return text === "" ? "" : ` process ${text}`;
}

function lostText(response: GetFlowsResponse): string {
  const status = response.node_status;
  if (status !== undefined) {
    const why = status.message === undefined ? "" : `: ${status.message}`;
    return `${status.state_change ?? "UNKNOWN_NODE_STATE"} ${(status.node_names ?? []).join(", ")}${why}`;
  }
  const lost = response.lost_events;
  return `EVENTS LOST: ${lost?.source ?? "UNKNOWN_LOST_EVENT_SOURCE"} ${lost?.num_events_lost ?? "0"}`;
}

/** One line, as the field's CLI prints it, the deciding policies appended: what most people read. */
export function formatCompact(response: GetFlowsResponse, options: PrintOptions = {}): string {
  const { flow } = response;
  const time = timeText(response.time ?? flow?.time ?? "", options.timeFormat);
  const node =
    options.nodeName === true && response.node_name !== undefined ? ` [${response.node_name}]` : "";
  if (flow === undefined) return `${time}${node}: ${lostText(response)}`;
  const { source, destination } = sides(flow, options);
  const reply = flow.is_reply;
  const arrow = reply === undefined ? "<>" : reply ? "<-" : "->";
  const [left, right] = reply === true ? [destination, source] : [source, destination];
  const words = [left.host, left.identity, arrow, right.host, right.identity, typeText(flow)];
  words.push(paintedVerdict(flow, options.paint ?? plain));
  const summary = flow.Summary ?? summaryOf(flow);
  if (summary !== "") words.push(`(${summary})`);
  return `${time}${node}: ${words.filter((word) => word !== "").join(" ")}${policySuffix(flow, options)}${processSuffix(flow, options)}`;
}

/** Columns of the table and of `dict`, NODE first among them when asked for. */
export function flowColumns(options: PrintOptions = {}): string[] {
  const columns = ["TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];
  if (options.nodeName === true) columns.splice(1, 0, "NODE");
  if (options.policyNames !== false) columns.push("POLICY");
  if (options.processes === true) columns.push("PROCESS");
  return columns;
}

/** The cells of one flow under `flowColumns`. */
export function flowCells(response: GetFlowsResponse, options: PrintOptions = {}): string[] {
  const { flow } = response;
  const cells = [timeText(response.time ?? flow?.time ?? "", options.timeFormat)];
  if (options.nodeName === true) cells.push(response.node_name ?? "");
  if (flow === undefined) {
    cells.push("", "", "EVENTS LOST", "", lostText(response));
  } else {
    const { source, destination } = sides(flow, options);
    cells.push(
      `${source.host} ${source.identity}`.trim(),
      `${destination.host} ${destination.identity}`.trim(),
    );
    cells.push(typeText(flow), paintedVerdict(flow, options.paint ?? plain), flow.Summary ?? summaryOf(flow));
  }
  if (options.policyNames !== false) cells.push(flow === undefined ? "" : policyNames(flow).join(", "));
  if (options.processes === true) cells.push(flow === undefined ? "" : processText(flow));
  return cells;
}

/** A block of `NAME: value` lines, without empty values. */
export function formatDict(response: GetFlowsResponse, options: PrintOptions = {}): string {
  const columns = flowColumns(options);
  const width = Math.max(...columns.map((column) => column.length));
  const cells = flowCells(response, options);
  const lines = columns.flatMap((column, i) => {
    const cell = cells[i] ?? "";
    return cell === "" ? [] : [`${column.padStart(width)}: ${cell}`];
  });
  return lines.join("\n");
}

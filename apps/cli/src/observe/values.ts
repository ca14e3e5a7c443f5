/** Values of the observe flags: what people type, and what a FlowFilter wants. */
import {
  dropReasonNames,
  dropReasonNumber,
  type EventTypeFilter,
  eventType,
  type FlowFilter,
  type FlowTcpFlags,
  type FlowWorkload,
  reservedIdentityName,
  sockPointNumber,
  tracePointNumber,
  tracePointTexts,
} from "@axoneme/flow";
import { InvalidArgumentError } from "commander";

/** Comma-separated values, upper-cased, each one of the known. */
export function oneOf(known: readonly string[], text: string): string[] {
  return text.split(",").map((part) => {
    const value = part.trim().toUpperCase();
    if (!known.includes(value)) throw new InvalidArgumentError(`Allowed: ${known.join(", ").toLowerCase()}.`);
    return value;
  });
}

export const verdicts = ["FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED"];

/** `policy_denied` or `POLICY_DENIED`. */
export function parseDropReason(text: string): string {
  const name = text.toUpperCase().replaceAll("-", "_");
  if (dropReasonNumber(name) !== undefined) return name;
  const near = dropReasonNames().filter((reason) => reason.includes(name.split("_")[0] ?? "?"));
  throw new InvalidArgumentError(
    near.length === 0
      ? "It is no drop reason (as POLICY_DENIED)."
      : `Did you mean ${near.slice(0, 4).join(", ")}?`,
  );
}

const types: Record<string, number> = {
  drop: eventType.drop,
  trace: eventType.trace,
  "policy-verdict": eventType.policyVerdict,
  "trace-sock": eventType.traceSock,
  l7: eventType.l7,
};

/** Names for --type, for help and completion. */
export const typeNames = Object.keys(types);

/** `drop`, `trace:to-endpoint`, `trace-sock:pre-xlate-fwd`, `drop:133`, `4:0`. */
export function parseEventType(text: string): EventTypeFilter {
  const [name = "", subtype, ...more] = text.split(":");
  const type = types[name] ?? (/^\d{1,3}$/.test(name) ? Number(name) : undefined);
  if (type === undefined || more.length > 0)
    throw new InvalidArgumentError(`Allowed: ${typeNames.join(", ")}.`);
  if (subtype === undefined) return { type };
  return { type, match_sub_type: true, sub_type: parseSubtype(type, subtype) };
}

function parseSubtype(type: number, text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  const named =
    type === eventType.trace
      ? tracePointNumber(text)
      : type === eventType.traceSock
        ? sockPointNumber(text)
        : dropReasonNumber(text.toUpperCase().replaceAll("-", "_"));
  if (named !== undefined) return named;
  const known =
    type === eventType.trace ? tracePointTexts().join(", ") : "a drop reason (POLICY_DENIED) or its number";
  throw new InvalidArgumentError(`Unknown sub-type: ${known}.`);
}

/** A number, or the name of a reserved identity (`host`, `world`, `reserved:world`). */
export function parseIdentity(text: string): number {
  if (/^\d+$/.test(text) && Number(text) <= 0xffff_ffff) return Number(text);
  const name = text.replace(/^reserved:/, "");
  for (let identity = 0; identity < 16; identity++)
    if (reservedIdentityName(identity) === name) return identity;
  throw new InvalidArgumentError("It must be a number or a reserved name (host, world, remote-node, ...).");
}

/** `name` or `Kind/name`. */
export function parseWorkload(text: string): FlowWorkload {
  const [first = "", second, ...more] = text.split("/");
  if (more.length > 0 || text === "") throw new InvalidArgumentError("It must be name or kind/name.");
  if (second === undefined) return { name: first };
  const kind = first === "" ? {} : { kind: first };
  return second === "" ? kind : { ...kind, name: second };
}

const flagNames: readonly (keyof FlowTcpFlags)[] = [
  "FIN",
  "SYN",
  "RST",
  "PSH",
  "ACK",
  "URG",
  "ECE",
  "CWR",
  "NS",
];

/** `SYN,ACK`: all of these set. */
export function parseTcpFlags(text: string): FlowTcpFlags {
  const flags: FlowTcpFlags = {};
  for (const name of oneOf(flagNames as readonly string[], text)) flags[name as keyof FlowTcpFlags] = true;
  return flags;
}

/** A port number. */
export function parsePort(text: string): string {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535)
    throw new InvalidArgumentError("It must be a port (0..65535).");
  return `${Number(text)}`;
}

/** `eth0` or its index. */
export function parseInterface(text: string): { index: number } | { name: string } {
  return /^\d+$/.test(text) ? { index: Number(text) } : { name: text };
}

/** `key:value`. */
export function parseHeader(text: string): { key: string; value: string } {
  const colon = text.indexOf(":");
  if (colon < 1) throw new InvalidArgumentError("It must be key:value.");
  return { key: text.slice(0, colon), value: text.slice(colon + 1).trim() };
}

/** A FlowFilter as JSON. */
export function parseRawFilter(text: string): FlowFilter {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('It must be a FlowFilter as JSON, like {"source_pod":["default/web"]}.');
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError("It must be a JSON object.");
  }
  return value as FlowFilter;
}

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of `90s`, `5m`, `1h30m`; undefined when it is no duration. */
function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (unitMs[unit ?? ""] ?? 0);
  }
  return total;
}

/** An RFC 3339 time, or a duration before `now`; as RFC 3339. */
export function parseTime(text: string, now: number): string {
  const before = parseDuration(text);
  if (before !== undefined) return new Date(now - before).toISOString();
  const time = Date.parse(text);
  if (Number.isNaN(time) || !/^\d{4}-\d\d-\d\d/.test(text)) {
    throw new InvalidArgumentError(
      "It must be a duration (5m, 1h30m) or an RFC 3339 time (2026-11-20T12:00:00Z).",
    );
  }
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text)
    ? text
    : new Date(time).toISOString();
}

/** A number of flows. */
export function parseNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("It must be a number.");
  return Number(text);
}

import { AxonError } from "@axoneme/base";
import type { Timestamp } from "./flow.ts";

/** RFC 3339 UTC with 0, 3, 6 or 9 fractional digits of a wall time in nanoseconds, as protojson writes it. */
export function formatTimestamp(ns: bigint): Timestamp {
  const seconds = ns / 1_000_000_000n;
  return formatSeconds(Number(seconds), Number(ns - seconds * 1_000_000_000n));
}

let cachedSecond = Number.NaN;
let cachedText = "";

/** As formatTimestamp, of seconds and the nanoseconds within; the text of the second is kept, since flows come in order. */
function formatSeconds(seconds: number, nanos: number): Timestamp {
  if (seconds !== cachedSecond) {
    cachedText = new Date(seconds * 1000).toISOString().slice(0, 19);
    cachedSecond = seconds;
  }
  if (nanos === 0) return `${cachedText}Z`;
  const digits = nanos.toString().padStart(9, "0");
  if (digits.endsWith("000000")) return `${cachedText}.${digits.slice(0, 3)}Z`;
  return digits.endsWith("000") ? `${cachedText}.${digits.slice(0, 6)}Z` : `${cachedText}.${digits}Z`;
}

const rfc3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/**
 * Wall time in nanoseconds of an RFC 3339 text.
 * @throws AxonError `flow.time_invalid`
 */
export function parseTimestamp(text: Timestamp): bigint {
  const match = rfc3339.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}${match[3]}`);
  if (match === null || Number.isNaN(ms)) {
    throw new AxonError("flow.time_invalid", `time "${text}" is not RFC 3339 (as 2026-11-20T12:00:00Z)`);
  }
  return BigInt(ms) * 1_000_000n + BigInt((match[2] ?? "0").padEnd(9, "0"));
}

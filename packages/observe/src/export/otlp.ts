import { setTimeout as delay } from "node:timers/promises";
import { AxonError, errorText } from "@axoneme/base";
import type { Flow, GetFlowsResponse } from "@axoneme/flow";
import { parseTimestamp } from "@axoneme/flow";
import type { LineSink, Written } from "./rotating-file.ts";

/**
 * Flows as log records of OpenTelemetry, over OTLP/HTTP in JSON (opentelemetry-proto, logs/v1): one record a flow, the
 * flow as its body, what people filter by as attributes under the names of the semantic conventions.
 */

const prefix = "otlp+";
const requestMs = 10_000;
/** Tries of one batch, and the pause before the second; a collector that says Retry-After is obeyed up to the limit. */
const tries = 4;
const pauseMs = 250;
const longestPauseMs = 5000;
/** How long a request may still take once the log is stopped. */
const graceMs = 1000;
/** SeverityNumber of logs/v1. */
const severity = { INFO: 9, WARN: 13 } as const;

/** A value as OTLP spells it (common/v1, AnyValue). */
type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: string }
  | { readonly doubleValue: number }
  | { readonly arrayValue: { readonly values: readonly AnyValue[] } }
  | { readonly kvlistValue: { readonly values: readonly KeyValue[] } };

interface KeyValue {
  readonly key: string;
  readonly value: AnyValue;
}

/**
 * The collector's address in a log's path: `otlp+http://host:4318/v1/logs`, `otlp+https://...`. Undefined for a file.
 * @throws AxonError `observe.otlp_address` for what looks like one and is none
 */
export function otlpAddress(path: string): URL | undefined {
  if (!path.startsWith(prefix)) return undefined;
  const text = path.slice(prefix.length);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "")
    throw new AxonError(
      "observe.otlp_address",
      `"${path}" is no collector: write otlp+https://host:4318/v1/logs, without a user`,
    );
  return url;
}

/** Sends flows to a collector. What it does not take, after some tries, is counted as failed; nothing piles up here. */
export class OtlpSink implements LineSink {
  readonly #url: URL;
  readonly #stop: AbortSignal;
  /** Cuts what is under way off, a moment after the stop. */
  readonly #cut = new AbortController();

  constructor(url: URL, stop: AbortSignal) {
    this.#url = url;
    this.#stop = stop;
    stop.addEventListener("abort", () => setTimeout(() => this.#cut.abort(), graceMs).unref(), {
      once: true,
    });
  }

  async write(lines: readonly string[]): Promise<Written> {
    const responses = lines.map((line) => JSON.parse(line) as GetFlowsResponse);
    try {
      await this.#send(JSON.stringify(exportRequest(responses)));
      return { written: lines.length, error: undefined };
    } catch (error) {
      return { written: 0, error };
    }
  }

  async close(): Promise<void> {
    this.#cut.abort();
  }

  async #send(body: string): Promise<void> {
    let last: unknown;
    for (let attempt = 0; attempt < tries; attempt++) {
      if (attempt > 0) await pause(Math.min(longestPauseMs, pauseMs * 2 ** (attempt - 1)), this.#stop);
      if (attempt > 0 && this.#stop.aborted) break;
      const answer = await this.#post(body).catch((error: unknown) => {
        last = error;
        return undefined;
      });
      if (answer === undefined) continue;
      if (answer.status === 200) return checkTaken(await answer.json());
      last = new AxonError(
        "observe.otlp",
        `${this.#url.host} answers ${answer.status} ${await answer.text()}`.slice(0, 300),
      );
      // Only these may be different the next time (OTLP, "Failures").
      if (![429, 502, 503, 504].includes(answer.status)) break;
    }
    throw new AxonError(
      "observe.otlp",
      `the collector ${this.#url.host} takes no flows: ${errorText(last)}`,
      { cause: last },
    );
  }

  #post(body: string): Promise<Response> {
    return fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.any([this.#cut.signal, AbortSignal.timeout(requestMs)]),
    });
  }
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  // Only a stop ends it early.
  return delay(ms, undefined, { signal: stop }).catch(() => undefined);
}

/** A collector may take a part only, and says so in an answer of 200. */
function checkTaken(answer: unknown): void {
  const { partialSuccess } = answer as {
    partialSuccess?: { rejectedLogRecords?: string | number; errorMessage?: string };
  };
  const rejected = Number(partialSuccess?.rejectedLogRecords ?? 0);
  if (rejected > 0)
    throw new AxonError(
      "observe.otlp",
      `${rejected} flows were rejected: ${partialSuccess?.errorMessage ?? ""}`,
    );
}

/** ExportLogsServiceRequest. */
function exportRequest(responses: readonly GetFlowsResponse[]): object {
  const byNode = new Map<string, GetFlowsResponse[]>();
  for (const response of responses) {
    const node = response.node_name ?? response.flow?.node_name ?? "";
    byNode.set(node, [...(byNode.get(node) ?? []), response]);
  }
  return {
    resourceLogs: [...byNode].map(([node, all]) => ({
      resource: { attributes: [text("service.name", "axoneme"), text("k8s.node.name", node)] },
      scopeLogs: [{ scope: { name: "axoneme.hubble" }, logRecords: all.map(logRecord) }],
    })),
  };
}

function logRecord(response: GetFlowsResponse): object {
  const { flow, time } = response;
  const level =
    flow === undefined || flow.verdict === "DROPPED" || flow.verdict === "ERROR" ? "WARN" : "INFO";
  const at = flow?.time ?? time;
  return {
    ...(at === undefined ? {} : { timeUnixNano: parseTimestamp(at).toString() }),
    severityNumber: severity[level],
    severityText: level,
    body: anyValue(flow ?? response),
    attributes: flow === undefined ? [text("event.name", "hubble.lost_events")] : attributesOf(flow),
  };
}

function attributesOf(flow: Flow): KeyValue[] {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  const protocol = Object.keys(flow.l4 ?? {})[0]?.toLowerCase();
  const all: readonly (readonly [string, string | number | undefined])[] = [
    ["event.name", "hubble.flow"],
    ["hubble.verdict", flow.verdict],
    ["hubble.drop_reason", flow.drop_reason_desc],
    [
      "network.io.direction",
      flow.traffic_direction === "INGRESS" ? "receive" : flow.traffic_direction && "transmit",
    ],
    ["network.transport", protocol],
    ["source.address", flow.IP?.source],
    ["source.port", ports?.source_port],
    ["source.k8s.namespace.name", flow.source?.namespace],
    ["source.k8s.pod.name", flow.source?.pod_name],
    ["source.process.executable.path", flow.source?.process?.binary],
    ["source.process.pid", flow.source?.process?.pid],
    ["destination.address", flow.IP?.destination],
    ["destination.port", ports?.destination_port],
    ["destination.k8s.namespace.name", flow.destination?.namespace],
    ["destination.k8s.pod.name", flow.destination?.pod_name],
    ["destination.process.executable.path", flow.destination?.process?.binary],
    ["destination.process.pid", flow.destination?.process?.pid],
  ];
  return all.flatMap(([key, value]) =>
    value === undefined || value === "" ? [] : [{ key, value: anyValue(value) }],
  );
}

const text = (key: string, value: string): KeyValue => ({ key, value: { stringValue: value } });

function anyValue(value: unknown): AnyValue {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number")
    return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } };
  const entries = Object.entries((value ?? {}) as object).filter(
    ([, one]) => one !== undefined && one !== null,
  );
  return { kvlistValue: { values: entries.map(([key, one]) => ({ key, value: anyValue(one) })) } };
}

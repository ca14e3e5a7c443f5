import { isAbsolute, normalize } from "node:path";
import { AxonError, errorText } from "@axoneme/base";
import { compileFilter, type FlowFilter, formatTimestamp, parseTimestamp } from "@axoneme/flow";
import { FlowSchema, fieldTree } from "@axoneme/proto";
import { load } from "js-yaml";
import { filterEngines } from "../expression/engines.ts";
import { readFilters } from "../read-filters.ts";
import { otlpAddress } from "./otlp.ts";

/** One log of flows: what goes into which file. */
export interface FlowLogConfig {
  readonly name: string;
  /** Absolute path, `stdout`, or a collector of OpenTelemetry: `otlp+https://host:4318/v1/logs`. */
  readonly filePath: string;
  /** Paths of flow.Flow; empty: everything. */
  readonly fieldMask: readonly string[];
  readonly includeFilters: readonly FlowFilter[];
  readonly excludeFilters: readonly FlowFilter[];
  readonly fileMaxSizeMb: number;
  /** Rotated files kept; 0: none. */
  readonly fileMaxBackups: number;
  readonly fileCompress: boolean;
  /** RFC 3339; later flows are not written. */
  readonly end?: string;
}

const known = new Set([
  "name",
  "filePath",
  "fieldMask",
  "includeFilters",
  "excludeFilters",
  "fileMaxSizeMb",
  "fileMaxBackups",
  "fileCompress",
  "end",
]);
/** Of the field, and not served: refused unless empty, since a log that is not aggregated is another log. */
const notServed = new Set(["fieldAggregate", "aggregationInterval"]);

/**
 * Reads the field's flow log configuration: YAML or JSON, `flowLogs: [{name, filePath, fieldMask, includeFilters,
 * excludeFilters, fileMaxSizeMb, fileMaxBackups, fileCompress, end}]`.
 * @throws AxonError `observe.flow_logs_invalid` naming the log, what of it is wrong, and what would be right
 */
export function parseFlowLogs(text: string): FlowLogConfig[] {
  const raw = readYaml(text);
  if (raw === undefined) return [];
  if (isObject(raw) && "flowLogs" in raw && raw["flowLogs"] === null) return [];
  const list = isObject(raw) ? raw["flowLogs"] : undefined;
  if (!Array.isArray(list)) throw bad("the file", 'has no list "flowLogs"');
  const logs = list.map((item: unknown, i) => parseFlowLog(item, `flowLogs[${i}]`));
  unique(logs, "name");
  unique(logs, "filePath");
  return logs;
}

/** Undefined for a file in which nothing is said: comments at most. */
function readYaml(text: string): unknown {
  if (text.split("\n").every((line) => /^\s*(#.*)?$/.test(line))) return undefined;
  try {
    return load(text);
  } catch (error) {
    throw bad("the file", `is not YAML: ${errorText(error)}`, error);
  }
}

/**
 * One log out of an object of the configuration file.
 * @throws AxonError `observe.flow_logs_invalid`
 */
export function parseFlowLog(raw: unknown, where: string): FlowLogConfig {
  if (!isObject(raw)) throw bad(where, "is not a mapping");
  const name = text(where, raw, "name");
  const log = `log "${name}"`;
  for (const [key, value] of Object.entries(raw)) {
    if (notServed.has(key)) {
      if (Array.isArray(value) ? value.length > 0 : Boolean(value) && value !== "0s")
        throw bad(log, `${key} is not supported; leave it out`);
    } else if (!known.has(key)) throw bad(log, `"${key}" is unknown (known: ${[...known].join(", ")})`);
  }
  const filePath = text(log, raw, "filePath");
  if (!isElsewhere(log, filePath) && !isAbsolute(filePath))
    throw bad(log, `filePath "${filePath}" is not absolute`);
  const end = endOf(log, raw["end"]);
  const config: FlowLogConfig = {
    name,
    filePath: isElsewhere(log, filePath) ? filePath : normalize(filePath),
    fieldMask: texts(log, raw, "fieldMask"),
    includeFilters: filters(log, raw, "includeFilters"),
    excludeFilters: filters(log, raw, "excludeFilters"),
    fileMaxSizeMb: whole(log, raw, "fileMaxSizeMb", 10, 1),
    fileMaxBackups: whole(log, raw, "fileMaxBackups", 5, 0),
    fileCompress: flag(log, raw, "fileCompress"),
    ...(end === undefined ? {} : { end }),
  };
  try {
    compileFilter(config.includeFilters, config.excludeFilters, filterEngines);
    fieldTree(FlowSchema, config.fieldMask);
  } catch (error) {
    throw bad(log, errorText(error), error);
  }
  return config;
}

/** No file: standard output, or a collector. */
function isElsewhere(log: string, filePath: string): boolean {
  try {
    return filePath === "stdout" || otlpAddress(filePath) !== undefined;
  } catch (error) {
    throw bad(log, errorText(error), error);
  }
}

type Raw = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function text(where: string, raw: Raw, key: string): string {
  const value = raw[key];
  if (typeof value !== "string" || value === "") throw bad(where, `needs a ${key}`);
  return value;
}

function texts(where: string, raw: Raw, key: string): string[] {
  const value = raw[key] ?? [];
  if (!Array.isArray(value) || !value.every((item): item is string => typeof item === "string"))
    throw bad(where, `${key} is not a list of texts`);
  return value;
}

function whole(where: string, raw: Raw, key: string, fallback: number, least: number): number {
  const value = raw[key] ?? fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > 1_000_000)
    throw bad(where, `${key} is not a whole number from ${least} to 1000000`);
  return value;
}

function flag(where: string, raw: Raw, key: string): boolean {
  const value = raw[key] ?? false;
  if (typeof value !== "boolean") throw bad(where, `${key} is not true or false`);
  return value;
}

/** YAML knows times: without quotes one is no text. */
function endOf(where: string, value: unknown): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const time = value instanceof Date ? value.toISOString() : value;
  if (typeof time !== "string") throw bad(where, "end is not a time");
  try {
    return formatTimestamp(parseTimestamp(time));
  } catch (error) {
    throw bad(where, `end: ${errorText(error)}`, error);
  }
}

function filters(where: string, raw: Raw, key: string): FlowFilter[] {
  return readFilters(raw[key], (why, cause) => bad(where, `${key}${why}`, cause));
}

function unique(logs: readonly FlowLogConfig[], key: "name" | "filePath"): void {
  const seen = new Set<string>();
  for (const log of logs) {
    if (seen.has(log[key])) throw bad("the file", `two logs have the ${key} "${log[key]}"`);
    seen.add(log[key]);
  }
}

function bad(where: string, why: string, cause?: unknown): AxonError {
  return new AxonError("observe.flow_logs_invalid", `flow logs: ${where} ${why}`, { cause });
}

import { at, type KubeObject } from "../object.ts";
import type { ResourceVersion } from "../resources/resource.ts";
import { evaluate, parseJsonPath } from "./jsonpath.ts";

/** A column of a table and how to fill it. */
export interface Column {
  name: string;
  type: string;
  format?: string;
  description?: string;
  /** 0: always; higher: only with `-o wide`. */
  priority?: number;
  cell(object: KubeObject, now: number): unknown;
}

/** A duration as kubectl shows ages: two units at most. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return withRest(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return withRest(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return withRest(days, "d", hours % 24, "h");
  if (days < 365 * 2) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? withRest(years, "y", days % 365, "d") : `${years}y`;
}

function withRest(count: number, unit: string, rest: number, restUnit: string): string {
  return rest === 0 ? `${count}${unit}` : `${count}${unit}${rest}${restUnit}`;
}

export function age(time: unknown, now: number): string {
  return typeof time === "string" ? humanDuration(now - Date.parse(time)) : "<unknown>";
}

export const nameColumn: Column = { name: "Name", type: "string", cell: (object) => object.metadata.name };

export const ageColumn: Column = {
  name: "Age",
  type: "string",
  cell: (object, now) => age(object.metadata.creationTimestamp, now),
};

/** A column that shows the value at a path. */
export function pathColumn(
  name: string,
  path: string,
  priority = 0,
  type = "string",
  fallback: unknown = "<none>",
): Column {
  const steps = path.split(".");
  return { name, type, priority, cell: (object) => at(object, ...steps) ?? fallback };
}

function printerCell(path: string, type: string): Column["cell"] {
  const parsed = parseJsonPath(path);
  return (object, now) => {
    const values = parsed === undefined ? [] : evaluate(parsed, object);
    const value = values[0];
    if (value === undefined || value === null) return type === "string" ? "" : null;
    if (type === "date")
      return typeof value === "string" && !Number.isNaN(Date.parse(value)) ? age(value, now) : "<invalid>";
    if (type === "integer" || type === "number") return typeof value === "number" ? value : null;
    if (type === "boolean") return value;
    if (values.length > 1) return values.map(String).join(",");
    return typeof value === "string" ? value : JSON.stringify(value);
  };
}

const cache = new WeakMap<ResourceVersion, Column[]>();

/** The columns of a CRD version: the name, then what the definition lists, or the age. */
export function crdColumns(version: ResourceVersion): Column[] {
  const known = cache.get(version);
  if (known !== undefined) return known;
  const own = version.columns.map((column) => ({
    ...column,
    cell: printerCell(column.jsonPath, column.type),
  }));
  const columns = [nameColumn, ...(own.length > 0 ? own : [ageColumn])];
  cache.set(version, columns);
  return columns;
}

import { Option } from "commander";
import { dump } from "js-yaml";
import picocolors from "picocolors";
import type { Context } from "./context.ts";
import { formatTable } from "./table.ts";

export type Format = "table" | "json" | "yaml";

export interface OutputOptions {
  output: Format;
}

/** `-o table|json|yaml`, the same on every command that prints objects. */
export function outputOption(): Option {
  return new Option("-o, --output <format>", "output format")
    .choices(["table", "json", "yaml"])
    .default("table");
}

/** A table of objects: what the columns are called and what stands in them. */
export interface TableView<T> {
  readonly header: readonly string[];
  readonly row: (item: T) => readonly string[];
  /** Said instead of an empty table. */
  readonly empty: string;
}

/** Prints `data` in the wanted format; the table is made only when it is the format. */
export async function print<T>(
  context: Context,
  options: OutputOptions,
  items: readonly T[],
  view: TableView<T>,
): Promise<void> {
  if (options.output !== "table") await printData(context, options.output, items);
  else if (items.length === 0) await context.stderr.write(`${view.empty}\n`);
  else await context.stdout.write(formatTable(view.header, items.map(view.row)));
}

/** Prints any value as JSON or YAML. */
export async function printData(context: Context, format: Format, data: unknown): Promise<void> {
  const text =
    format === "json"
      ? `${JSON.stringify(data, undefined, 2)}\n`
      : dump(data, { noRefs: true, lineWidth: 120 });
  await context.stdout.write(text);
}

export type Colors = ReturnType<typeof picocolors.createColors>;

/** Colours on a terminal, unless NO_COLOR says no; FORCE_COLOR says yes. */
export function colorsOf(context: Context, output: { readonly isTty: boolean } = context.stdout): Colors {
  const { env } = context;
  const forced = env["FORCE_COLOR"] !== undefined && env["FORCE_COLOR"] !== "0";
  const refused = (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  return picocolors.createColors(forced || (output.isTty && !refused));
}

/** `5s`, `3m`, `2h5m`, `4d`: how long ago an RFC 3339 time was. */
export function ageText(now: number, time: string | undefined): string {
  const at = Date.parse(time ?? "");
  if (Number.isNaN(at)) return "-";
  const seconds = Math.max(0, Math.floor((now - at) / 1000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 10) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

/** A text or `-`. */
export function orDash(text: string | number | undefined): string {
  return text === undefined || text === "" ? "-" : `${text}`;
}

/** Says on stderr what is going on, if it takes longer than a second. */
export async function withProgress<T>(context: Context, what: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => void context.stderr.write(`${what} ...\n`), 1000);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import type { Comparison, Figure } from "./rounds.ts";

/** Rows as text columns, the first row a heading: two columns of names, then figures to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

function formatRate(figure: Figure): string {
  if (figure.mode === "tcp-stream") return `${(figure.rate / 1e9).toFixed(1)} Gbit/s`;
  return `${(figure.rate / 1000).toFixed(1)}k/s`;
}

/** A stream's operation is a send into a buffer: its time says nothing of the path. */
function latency(figure: Figure, value: number, digits: number): string {
  return figure.mode === "tcp-stream" ? "-" : value.toFixed(digits);
}

/**
 * The figures of a comparison as a table: rate, latency; against the baseline the ratio with its spread, that of
 * the best rounds and that of the latencies.
 */
export function comparisonTable(comparison: Comparison): string {
  const heading = [
    "mode",
    "subject",
    "rate",
    "p50 us",
    "p99 us",
    "ratio",
    "min..max",
    "best",
    "latency",
    "lost",
  ];
  const rows = comparison.figures.map((figure) => [
    figure.mode,
    figure.subject,
    formatRate(figure),
    latency(figure, figure.p50, 1),
    latency(figure, figure.p99, 1),
    figure.ratio.toFixed(3),
    `${figure.ratioMin.toFixed(2)}..${figure.ratioMax.toFixed(2)}`,
    figure.bestRatio.toFixed(3),
    latency(figure, figure.latencyRatio, 3),
    String(figure.errors + figure.lost),
  ]);
  return formatTable([heading, ...rows]);
}

/** The machine a report was made on. */
export function machine(): Record<string, unknown> {
  return {
    date: new Date().toISOString(),
    kernel: release(),
    cpu: cpus()[0]?.model,
    cpus: cpus().length,
    load: readFileSync("/proc/loadavg", "utf8").trim(),
  };
}

/** Writes `build/bench/<name>.json` with the machine beside the content; returns the path. */
export function writeReport(root: string, name: string, content: object): string {
  const dir = join(root, "build/bench");
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `${name}.json`);
  writeFileSync(file, `${JSON.stringify({ machine: machine(), ...content }, null, 2)}\n`);
  return file;
}

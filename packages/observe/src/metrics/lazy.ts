import type { MetricsFile, MetricsFileOptions } from "./metrics-file.ts";

export type { MetricsFile } from "./metrics-file.ts";

/** Counts what a file of metrics wants, and follows it. Loaded by the first call. */
export async function followMetricsFile(options: MetricsFileOptions): Promise<MetricsFile> {
  const { MetricsFile } = await import("./metrics-file.ts");
  return MetricsFile.start(options);
}

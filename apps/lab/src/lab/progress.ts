import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

/** What the supervisor tells others about its start; status.json. */
export interface SupervisorReport {
  pid: number;
  /** starting: on the way up; running: all parts started; failed: see error. */
  state: "starting" | "running" | "failed";
  /** What it has begun last, as a sentence. */
  step: string;
  error?: string;
}

export function writeReport(path: string, report: SupervisorReport): void {
  writeFileSync(`${path}.new`, JSON.stringify(report));
  renameSync(`${path}.new`, path);
}

export function readReport(path: string): SupervisorReport | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as SupervisorReport;
  } catch {
    return undefined;
  }
}

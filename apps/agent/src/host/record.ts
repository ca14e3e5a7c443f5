import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { KubeObject } from "@axoneme/kube";

/** What of host policies outlives the agent: the API says what is wanted, this what is in force. */
export interface HostRecord {
  /** Objects in force, by policy key. */
  readonly inForce: Readonly<Record<string, KubeObject>>;
  /** Labels of the node by which they were selected; absent: of no agent yet. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Versions that were taken back, by key; empty text: the deletion was. */
  readonly rejected: Readonly<Record<string, string>>;
  /** A change is on trial: what the kernel has may be anything. */
  readonly unsettled: boolean;
}

/** Of a node that never had a host policy. */
export const emptyRecord: HostRecord = { inForce: {}, rejected: {}, unsettled: false };

/** Reads the record; one that is absent or cannot be read is empty: every policy is a change then, and judged as one. */
export function readHostRecord(path: string): HostRecord {
  try {
    const read = JSON.parse(readFileSync(path, "utf8")) as Partial<HostRecord>;
    return { ...emptyRecord, ...read };
  } catch {
    return emptyRecord;
  }
}

/** Writes the record, whole or not at all. */
export function writeHostRecord(path: string, record: HostRecord): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

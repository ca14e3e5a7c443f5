import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { attachmentKey, type EndpointRecord, parseRecord } from "./record.ts";

/** A file that has grown to this many bytes is written anew: its record has changed some thirty times. */
const compactBytes = 16 * 1024;
const appending = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;

/**
 * Endpoint records as files of one directory, one a record. Each state is a line, appended with one system call, and
 * the last whole line counts: a process that dies leaves the old or the new state. (A temporary file and a rename
 * would do the same; ext4 then writes the data out first, which is a third of what an ADD costs.) No fsync: records
 * describe kernel state, which a power cut ends as well.
 */
export class EndpointStore {
  readonly #dir: string;

  /** @param dir made when absent, mode 0700. */
  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** Writes a record, replacing what the attachment had. */
  write(record: EndpointRecord): void {
    const path = this.#path(record);
    const line = `${JSON.stringify(record)}\n`;
    const fd = openSync(path, appending, 0o600);
    let bytes: number;
    try {
      // A line that a full disk has cut must not swallow this one: lines are told apart at both ends.
      writeSync(fd, `\n${line}`);
      bytes = fstatSync(fd).size;
    } finally {
      closeSync(fd);
    }
    if (bytes < compactBytes) return;
    writeFileSync(`${path}.tmp`, line, { mode: 0o600 });
    renameSync(`${path}.tmp`, path);
  }

  /** Forgets an attachment. Forgetting what is not there is fine. */
  remove(record: Pick<EndpointRecord, "containerId" | "ifname">): void {
    try {
      unlinkSync(this.#path(record));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /**
   * All readable records, and the names of files that are none. Left-over temporary files are removed, and empty ones:
   * their process died before it did anything.
   */
  load(): { records: EndpointRecord[]; unreadable: string[] } {
    const records: EndpointRecord[] = [];
    const unreadable: string[] = [];
    for (const name of readdirSync(this.#dir)) {
      const path = join(this.#dir, name);
      const text = name.endsWith(".tmp") ? "" : readFileSync(path, "utf8");
      const record = lastRecord(text);
      if (record) records.push(record);
      else if (text.trim() === "") rmSync(path, { force: true });
      else unreadable.push(path);
    }
    return { records, unreadable };
  }

  #path(record: Pick<EndpointRecord, "containerId" | "ifname">): string {
    return join(this.#dir, `${attachmentKey(record.containerId, record.ifname)}.json`);
  }
}

function lastRecord(text: string): EndpointRecord | undefined {
  for (const line of text.split("\n").reverse()) {
    const record = line === "" ? undefined : parseRecord(line);
    if (record) return record;
  }
  return undefined;
}

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { attachmentKey, type EndpointRecord, parseRecord } from "./record.ts";

/**
 * Endpoint records as files of one directory, one a record, written to a temporary name and renamed: a reader sees
 * the old or the new record, never a part. No fsync: records describe kernel state, which a power cut ends as well.
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
    writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}.tmp`, path);
  }

  /** Forgets an attachment. Forgetting what is not there is fine. */
  remove(record: Pick<EndpointRecord, "containerId" | "ifname">): void {
    rmSync(this.#path(record), { force: true });
  }

  /** All readable records, and the names of files that are none. Left-over temporary files are removed. */
  load(): { records: EndpointRecord[]; unreadable: string[] } {
    const records: EndpointRecord[] = [];
    const unreadable: string[] = [];
    for (const name of readdirSync(this.#dir)) {
      const path = join(this.#dir, name);
      if (name.endsWith(".tmp")) {
        rmSync(path, { force: true });
        continue;
      }
      const record = parseRecord(readFileSync(path, "utf8"));
      if (record) records.push(record);
      else unreadable.push(path);
    }
    return { records, unreadable };
  }

  #path(record: Pick<EndpointRecord, "containerId" | "ifname">): string {
    return join(this.#dir, `${attachmentKey(record.containerId, record.ifname)}.json`);
  }
}

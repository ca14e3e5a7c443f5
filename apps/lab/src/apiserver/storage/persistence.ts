import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";
import { frame, Journal, readFrames } from "./journal.ts";

/** A write as the journal keeps it. `json` is absent for a deletion. */
export interface WriteRecord {
  revision: number;
  resource: string;
  key: string;
  json?: string;
}

/** What a start finds on disk. */
export interface Recovered {
  revision: number;
  /** Per resource, the revision of its last change known to have happened. */
  floors: Map<string, number>;
  /** resource -> key -> object as JSON with its revision. */
  resources: Map<string, Map<string, WriteRecord>>;
}

interface SnapshotHeader {
  format: 1;
  revision: number;
  floors: Record<string, number>;
  count: number;
}

/** A consistent state to be written as a snapshot: references only, cheap to take. */
export interface SnapshotSource {
  revision: number;
  floors: Map<string, number>;
  records: WriteRecord[];
}

function encode(record: WriteRecord): Buffer {
  const op = record.json === undefined ? "D" : "P";
  return Buffer.from(`${op}\t${record.revision}\t${record.resource}\t${record.key}\n${record.json ?? ""}`);
}

function decode(payload: Buffer): WriteRecord {
  const end = payload.indexOf(10);
  const [op, revision, resource, key] = payload.toString("utf8", 0, end).split("\t");
  const record: WriteRecord = { revision: Number(revision), resource: resource ?? "", key: key ?? "" };
  if (op === "P") record.json = payload.toString("utf8", end + 1);
  return record;
}

const chunkRecords = 500;

/**
 * The state directory: `snapshot-<n>` holds everything up to the moment journal-<n> was begun, `journal-<n>` what
 * came after. Compaction begins journal n+1, writes snapshot n+1 under another name, renames it, and removes what
 * it replaces; a crash at any point leaves a snapshot and the journals after it, which are replayed in order.
 */
export class Persistence {
  readonly #dir: string;
  readonly #fsync: boolean;
  readonly #compactBytes: number;
  #journal: Journal;
  #generation: number;
  #compacting: Promise<void> | undefined;
  #snapshotBytes = 0;
  #closed = false;

  private constructor(
    dir: string,
    fsync: boolean,
    compactBytes: number,
    journal: Journal,
    generation: number,
  ) {
    this.#dir = dir;
    this.#fsync = fsync;
    this.#compactBytes = compactBytes;
    this.#journal = journal;
    this.#generation = generation;
  }

  static open(
    dir: string,
    options: { fsync?: boolean; compactBytes?: number } = {},
  ): { persistence: Persistence; recovered: Recovered } {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const fsync = options.fsync ?? false;
    const files = generations(dir);
    for (const name of files.temporary) rmSync(join(dir, name));
    const recovered: Recovered = { revision: 0, floors: new Map(), resources: new Map() };
    const base = files.snapshots.at(-1) ?? 0;
    if (base > 0) loadSnapshot(join(dir, `snapshot-${base}`), recovered);
    const journals = files.journals.filter((n) => n >= base);
    const last = journals.at(-1) ?? Math.max(base, 1);
    for (const n of journals.slice(0, -1)) replay(join(dir, `journal-${n}`), recovered);
    const { journal, payloads } = Journal.open(join(dir, `journal-${last}`), fsync);
    for (const payload of payloads) apply(decode(payload), recovered);
    removeOlder(dir, base);
    const compactBytes = options.compactBytes ?? 32 << 20;
    return { persistence: new Persistence(dir, fsync, compactBytes, journal, last), recovered };
  }

  /** Records a write; when this returns the write survives the death of the process. */
  append(record: WriteRecord): void {
    this.#journal.append(encode(record));
  }

  /** Whether the journal has grown enough to be folded into a snapshot. */
  get wantsCompaction(): boolean {
    // A large state is folded less often, so that the cost per write stays the same.
    const threshold = Math.max(this.#compactBytes, this.#snapshotBytes);
    return this.#compacting === undefined && !this.#closed && this.#journal.bytes > threshold;
  }

  /** Folds everything so far into a snapshot. `source` must be the state right now; writes may go on meanwhile. */
  compact(source: SnapshotSource): Promise<void> {
    if (this.#compacting !== undefined || this.#closed) return this.#compacting ?? Promise.resolve();
    const generation = this.#generation + 1;
    this.#journal.close();
    this.#journal = Journal.open(join(this.#dir, `journal-${generation}`), this.#fsync).journal;
    this.#generation = generation;
    this.#compacting = this.#writeSnapshot(generation, source).finally(() => {
      this.#compacting = undefined;
    });
    return this.#compacting;
  }

  async #writeSnapshot(generation: number, source: SnapshotSource): Promise<void> {
    const temporary = join(this.#dir, `snapshot-${generation}.tmp`);
    const header: SnapshotHeader = {
      format: 1,
      revision: source.revision,
      floors: Object.fromEntries(source.floors),
      count: source.records.length,
    };
    const fd = openSync(temporary, "w", 0o600);
    try {
      writeSync(fd, frame(Buffer.from(JSON.stringify(header))));
      for (let i = 0; i < source.records.length; i += chunkRecords) {
        writeSync(fd, Buffer.concat(source.records.slice(i, i + chunkRecords).map((r) => frame(encode(r)))));
        await new Promise((resolve) => setImmediate(resolve));
      }
      this.#snapshotBytes = fstatSync(fd).size;
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(this.#dir, `snapshot-${generation}`));
    removeOlder(this.#dir, generation);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#compacting;
    this.#journal.close();
  }
}

function generations(dir: string): { snapshots: number[]; journals: number[]; temporary: string[] } {
  const found = { snapshots: [] as number[], journals: [] as number[], temporary: [] as string[] };
  for (const name of readdirSync(dir)) {
    const match = /^(snapshot|journal)-(\d+)(\.tmp)?$/.exec(name);
    if (match === null) continue;
    if (match[3] !== undefined) found.temporary.push(name);
    else (match[1] === "snapshot" ? found.snapshots : found.journals).push(Number(match[2]));
  }
  found.snapshots.sort((a, b) => a - b);
  found.journals.sort((a, b) => a - b);
  return found;
}

function removeOlder(dir: string, generation: number): void {
  const files = generations(dir);
  for (const n of files.snapshots) if (n < generation) rmSync(join(dir, `snapshot-${n}`));
  for (const n of files.journals) if (n < generation) rmSync(join(dir, `journal-${n}`));
}

function loadSnapshot(path: string, into: Recovered): void {
  const { payloads } = readFrames(readFileSync(path));
  const first = payloads[0];
  const header = first === undefined ? undefined : (JSON.parse(first.toString()) as SnapshotHeader);
  if (header === undefined || header.count !== payloads.length - 1) {
    throw new AxonError(
      "apiserver.snapshot.damaged",
      `the API server's snapshot ${path} is damaged (${payloads.length} sound records, ${header?.count ?? "no"} announced): restore it, or remove the state directory to begin empty`,
    );
  }
  for (const payload of payloads.slice(1)) apply(decode(payload), into);
  into.revision = header.revision;
  for (const [resource, revision] of Object.entries(header.floors)) into.floors.set(resource, revision);
}

function replay(path: string, into: Recovered): void {
  for (const payload of readFrames(readFileSync(path)).payloads) apply(decode(payload), into);
}

function apply(record: WriteRecord, into: Recovered): void {
  let keys = into.resources.get(record.resource);
  if (keys === undefined) {
    keys = new Map();
    into.resources.set(record.resource, keys);
  }
  if (record.json === undefined) keys.delete(record.key);
  else keys.set(record.key, record);
  into.revision = Math.max(into.revision, record.revision);
  into.floors.set(record.resource, Math.max(into.floors.get(record.resource) ?? 0, record.revision));
}

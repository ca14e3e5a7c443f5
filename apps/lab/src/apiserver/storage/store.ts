import type { KubeObject } from "../object.ts";
import { Bucket, type Change, type Entry } from "./bucket.ts";
import type { Persistence, Recovered, WriteRecord } from "./persistence.ts";

/**
 * Every object of every resource, under one revision counter. Reads are synchronous; a write is journaled, applied
 * and published to the watchers before it returns, so whoever saw its answer finds it in every later read.
 */
export class Store {
  readonly #buckets = new Map<string, Bucket>();
  readonly #persistence: Persistence | undefined;
  readonly #historySize: number;
  readonly #compactionFailed: (error: unknown) => void;
  #revision: number;

  constructor(
    options: {
      persistence?: Persistence;
      recovered?: Recovered;
      historySize?: number;
      /** Told when a snapshot could not be written; the journals stay, so nothing is lost. */
      compactionFailed?: (error: unknown) => void;
    } = {},
  ) {
    this.#compactionFailed = options.compactionFailed ?? (() => undefined);
    this.#persistence = options.persistence;
    this.#historySize = options.historySize ?? 8_192;
    // Revision 0 means "any" to clients, so counting starts at 1.
    this.#revision = Math.max(options.recovered?.revision ?? 0, 1);
    for (const [resource, records] of options.recovered?.resources ?? []) {
      this.#buckets.set(
        resource,
        this.#restore(resource, records, options.recovered?.floors.get(resource) ?? 0),
      );
    }
  }

  #restore(resource: string, records: Map<string, WriteRecord>, floor: number): Bucket {
    const bucket = new Bucket(resource, this.#historySize, floor);
    for (const record of records.values()) {
      if (record.json === undefined) continue;
      bucket.restore({
        key: record.key,
        object: JSON.parse(record.json) as KubeObject,
        revision: record.revision,
        json: record.json,
      });
    }
    bucket.restored();
    return bucket;
  }

  get revision(): number {
    return this.#revision;
  }

  /** The objects of one resource, `<group>/<plural>`; made when first asked for. */
  bucket(resource: string): Bucket {
    let bucket = this.#buckets.get(resource);
    if (bucket === undefined) {
      bucket = new Bucket(resource, this.#historySize, 0);
      this.#buckets.set(resource, bucket);
    }
    return bucket;
  }

  buckets(): Iterable<Bucket> {
    return this.#buckets.values();
  }

  /** Stores `object` (owned by the store from now on) with the next revision. */
  put(resource: string, key: string, object: KubeObject): Entry {
    const revision = this.#revision + 1;
    object.metadata.resourceVersion = String(revision);
    const entry: Entry = { key, object, revision, json: JSON.stringify(object) };
    this.#record({ revision, resource, key, json: entry.json });
    this.#revision = revision;
    this.bucket(resource).put(entry);
    return entry;
  }

  /** Removes the object and publishes its last state, which carries the revision of the deletion. */
  delete(resource: string, key: string, last?: KubeObject): Change | undefined {
    const bucket = this.bucket(resource);
    const present = bucket.get(key);
    if (present === undefined) return undefined;
    const revision = this.#revision + 1;
    const base = last ?? present.object;
    const object = { ...base, metadata: { ...base.metadata, resourceVersion: String(revision) } };
    this.#record({ revision, resource, key });
    this.#revision = revision;
    return bucket.delete({ key, object, revision, json: JSON.stringify(object) });
  }

  #record(record: WriteRecord): void {
    if (this.#persistence === undefined) return;
    this.#persistence.append(record);
    if (this.#persistence.wantsCompaction) {
      // The record just written is in the old journal, so the snapshot must contain it: taken in the next turn.
      setImmediate(() => {
        if (this.#persistence?.wantsCompaction) this.compact().catch(this.#compactionFailed);
      });
    }
  }

  /** Writes a snapshot and drops the journals it replaces. */
  async compact(): Promise<void> {
    const records: WriteRecord[] = [];
    const floors = new Map<string, number>();
    for (const [resource, bucket] of this.#buckets) {
      floors.set(resource, bucket.lastRevision);
      for (const entry of bucket.entries()) {
        records.push({ revision: entry.revision, resource, key: entry.key, json: entry.json });
      }
    }
    await this.#persistence?.compact({ revision: this.#revision, floors, records });
  }

  async close(): Promise<void> {
    for (const bucket of this.#buckets.values()) bucket.close();
    await this.#persistence?.close();
  }
}

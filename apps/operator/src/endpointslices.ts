import { createHash, randomBytes } from "node:crypto";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  type CiliumEndpointSlice,
  completeSlice,
  type KubeClient,
  ListWatch,
  packSlice,
  resources,
} from "@axoneme/kube";
import { membersOf, sliceObject } from "./members.ts";
import { type Member, Slices } from "./slices.ts";
import type { EndpointRow, Sources } from "./sources.ts";
import { WorkQueue } from "./workqueue.ts";

/** How long changes are gathered before slices are written. */
const gatherMs = 500;
/** Writes under way at a time. */
const width = 4;

export const slicesFieldManager = "axoneme-operator";

/** What is kept of a slice that the API server has: enough to tell whether it is as we wrote it. */
interface SliceRow {
  readonly name: string;
  readonly digest: string;
  /** Only until it is taken over. */
  members: readonly Member[];
  readonly namespace: string;
}

/**
 * Writes all CiliumEndpoints into CiliumEndpointSlices, many at a time: with n nodes a change of a pod reaches n agents in one
 * event together with others of its namespace. Slices that are there already, of a leader before or of another writer, are
 * taken over as they are. Once every endpoint is in a slice, {@link completeSlice} says so to the agents.
 */
export class EndpointSlices implements Module {
  readonly name = "endpoint-slices";
  readonly #client: KubeClient;
  readonly #sources: Sources;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  readonly #perSecond: number;
  readonly #slices = new Slices(newName);
  readonly #written: ListWatch<CiliumEndpointSlice, SliceRow>;
  readonly #queue: WorkQueue;
  /** Names that the queue has. */
  readonly #pending = new Set<string>();
  /** Digest of what was written last, by name; to be compared with what comes back. */
  readonly #digests = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #taken = false;
  #complete = false;
  readonly counts = { written: 0, removed: 0, failures: 0 };

  constructor(
    around: { client: KubeClient; sources: Sources; log: Logger; signal: AbortSignal },
    perSecond: number,
  ) {
    this.#client = around.client;
    this.#sources = around.sources;
    this.#log = around.log;
    this.#signal = around.signal;
    this.#perSecond = perSecond;
    this.#written = new ListWatch(this.#client, resources.ciliumendpointslices, {
      log: this.#log,
      trim: rowOf,
      // A slice can be large.
      pageSize: 50,
    });
    this.#queue = new WorkQueue(
      (name) => this.#write(name),
      (name, error) => {
        this.counts.failures++;
        this.#log.warn(
          { slice: name, err: errorText(error) },
          "a CiliumEndpointSlice was not written; trying again",
        );
      },
      width,
    );
    this.#sources.onEndpoint.on(({ row, gone }) => {
      if (this.#taken) this.#take(row, gone);
    });
  }

  /** Endpoints in slices, slices, and slices that wait to be written. */
  get figures(): { endpoints: number; slices: number; waiting: number } {
    const { size, count, dirty } = this.#slices;
    return { endpoints: size, slices: count, waiting: dirty.size + this.#pending.size };
  }

  /** Does not wait for the definition: where there is none, nothing else is held up. */
  start(health: HealthReporter): void {
    health.degraded("waiting for the slices that are there");
    const looked = (row: SliceRow): void => this.#compare(row);
    this.#written.start({
      onAdd: looked,
      onUpdate: looked,
      onDelete: ({ name }) => {
        if (name === completeSlice) this.#complete = false;
        else if (this.#taken) this.#slices.suspect(name);
        this.#soon();
      },
    });
    this.#written.synced.then(
      () => {
        this.#takeOver();
        health.ok();
      },
      () => undefined, // stopped before
    );
  }

  #takeOver(): void {
    for (const row of this.#written.store.values()) this.#adopt(row);
    for (const row of this.#sources.endpoints.store.values()) this.#take(row, false);
    const there = { has: (key: string) => this.#sources.endpoints.store.byKey(key)?.member !== undefined };
    this.#slices.retain(there);
    this.#taken = true;
    this.#soon();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await Promise.all([this.#written.stop(), this.#queue.stop()]);
  }

  #adopt(row: SliceRow): void {
    if (row.name === completeSlice) {
      this.#complete = true;
      return;
    }
    this.#slices.adopt(row.name, row.namespace, row.members);
    this.#digests.set(row.name, row.digest);
    row.members = [];
  }

  #take({ namespace, name, member }: EndpointRow, gone: boolean): void {
    if (member === undefined || gone) this.#slices.remove(namespace, name);
    else this.#slices.put(member);
    this.#soon();
  }

  /** Somebody else wrote a slice, or we did and forgot with the lead: what is not as wanted is written again. */
  #compare(row: SliceRow): void {
    if (!this.#taken) return;
    row.members = [];
    if (
      row.name === completeSlice ||
      this.#pending.has(row.name) ||
      this.#digests.get(row.name) === row.digest
    )
      return;
    // Of nobody we know: an empty one of that name goes.
    if (!this.#slices.has(row.name)) this.#slices.adopt(row.name, row.namespace, []);
    this.#slices.suspect(row.name);
    this.#soon();
  }

  /** At most so many slices at each turn; what has waited longest first. */
  #soon(): void {
    if (this.#stopped || !this.#taken || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      let room = Math.max(1, Math.round((this.#perSecond * gatherMs) / 1000));
      for (const name of this.#slices.dirty) {
        if (room === 0) break;
        if (this.#pending.has(name)) continue;
        room--;
        this.#pending.add(name);
        this.#queue.add(name);
      }
      if (this.#slices.dirty.size > 0) this.#soon();
      else if (!this.#complete && this.#pending.size === 0) this.#queue.add(completeSlice);
    }, gatherMs);
  }

  async #write(name: string): Promise<void> {
    const slices = this.#client.resource(resources.ciliumendpointslices);
    const write = { fieldManager: slicesFieldManager, force: true, signal: this.#signal };
    if (name === completeSlice) {
      await slices.apply(sliceObject(completeSlice, "", []), write);
      this.#complete = true;
      this.#log.info({ ...this.figures }, "every CiliumEndpoint is in a CiliumEndpointSlice");
      return;
    }
    const wanted = this.#slices.take(name);
    if (wanted === undefined) {
      await slices.deleteIfExists(name, { signal: this.#signal });
      this.#digests.delete(name);
      this.counts.removed++;
    } else {
      const object = sliceObject(name, wanted.namespace, wanted.members);
      this.#digests.set(name, digestOf(object));
      await slices.apply(object, write);
      this.counts.written++;
    }
    this.#pending.delete(name);
    this.#soonIfNeeded();
  }

  #soonIfNeeded(): void {
    if (this.#slices.dirty.size > 0 || !this.#complete) this.#soon();
  }
}

function rowOf(slice: CiliumEndpointSlice): SliceRow {
  const { namespace = "", metadata = {} } = slice;
  return { name: metadata.name ?? "", namespace, members: membersOf(slice), digest: digestOf(slice) };
}

/** Of what a slice says, whoever wrote it and in whatever order its fields came. */
function digestOf(slice: CiliumEndpointSlice): string {
  const { namespace = "" } = slice;
  const text = JSON.stringify([namespace, packSlice(membersOf(slice))]);
  return createHash("sha256").update(text).digest("base64");
}

function newName(): string {
  return `ces-${randomBytes(6).toString("hex")}`;
}

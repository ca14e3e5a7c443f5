import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, Emitter, systemClock } from "@axoneme/base";
import {
  at,
  encodeLayer7,
  eventType,
  type Flow,
  FlowIds,
  type FlowMatcher,
  type FlowResolver,
  formatTimestamp,
  type GetFlowsRequest,
  type GetFlowsResponse,
  Layer7Details,
  type Layer7Event,
  type LostEventSource,
  parseTimestamp,
  type RawStore,
  type RecordRef,
  type Redaction,
  recordSize,
  toFlows,
} from "@axoneme/flow";
import type { MonitorLine, MonitorQuery, ServerStatus } from "./api.ts";
import { sliceRecords, slices } from "./cursor.ts";
import { compileFlowFilter } from "./expression/lazy.ts";
import type { History } from "./history/history.ts";
import type { Chunk, Mark } from "./history/read.ts";
import { monitorLine, monitorTest } from "./monitor.ts";
import { checkFlowsQuery } from "./query.ts";
import { WallOffset } from "./wall-offset.ts";

/** Flows in one batch of a stream at most. */
const batchFlows = 512;
/** Records looked at before others get their turn, when a look takes tens of microseconds. */
const costlyRecords = 128;

export interface ObserverOptions {
  readonly store: RawStore;
  readonly resolver: FlowResolver;
  /** Of the agent, for ServerStatus. */
  readonly version: string;
  readonly clock?: Clock;
  /** Takes the secrets out of messages of layer 7 before anything sees them; default: they are shown. */
  readonly redaction?: Redaction | undefined;
  /** 8 random bytes that make the UUIDs of this run; default random. */
  readonly seed?: Uint8Array;
}

/** Number of a record from which reading goes on; kept up to date while reading, so that another reader can take over. */
export interface ReadPosition {
  seq: number;
}

/** Compiled form of a request. */
interface Plan {
  readonly request: GetFlowsRequest;
  readonly matcher: FlowMatcher;
  readonly since: bigint | undefined;
  readonly until: bigint | undefined;
  readonly limit: number;
  readonly signal: AbortSignal;
  readonly position: ReadPosition | undefined;
}

/**
 * Where reading starts, and how many matching flows from there on are too many. `past`: in the history, which goes over
 * into the ring.
 */
interface Start {
  readonly seq: number;
  readonly skip: number;
  readonly past?: { readonly mark?: Mark };
}

/** How far a stream is. */
interface Progress {
  skip: number;
  sent: number;
}

/** A record, wherever it is kept. */
interface Found {
  readonly record: RecordRef;
  readonly seq: number;
  readonly ids: FlowIds;
  readonly resolver: FlowResolver;
}

/** Answers questions about the flows of this node out of the raw store; builds flow objects for readers only. */
export class Observer {
  readonly store: RawStore;
  /** Fires with the number of records that a reader was too slow for. */
  readonly readerLost = new Emitter<number>();
  /** What the ring has overwritten, if that is kept. */
  history: History | undefined;
  /** 8 bytes that name this run of the agent in the UUIDs of its flows. */
  readonly seed: Uint8Array;
  readonly #resolver: FlowResolver;
  readonly #details = new Layer7Details();
  readonly #redaction: Redaction;
  readonly #version: string;
  readonly #clock: Clock;
  readonly #ids: FlowIds;
  readonly #wall: WallOffset;
  readonly #startedMs: number;

  constructor(options: ObserverOptions) {
    this.store = options.store;
    this.#resolver = { ...options.resolver, layer7: (number) => this.#details.get(number) };
    this.#redaction = options.redaction ?? ((detail) => detail);
    this.#version = options.version;
    this.#clock = options.clock ?? systemClock;
    this.seed = options.seed ?? crypto.getRandomValues(new Uint8Array(8));
    this.#ids = new FlowIds(this.seed);
    this.#wall = new WallOffset(this.#clock);
    this.#startedMs = this.#clock.now();
  }

  /** Names what is in the records of the store, messages of layer 7 too. */
  get resolver(): FlowResolver {
    return this.#resolver;
  }

  /** Adds records of the kernel's ring buffer (see RawStore.append), which carry CLOCK_MONOTONIC. */
  ingest(source: Uint8Array, count: number, offset?: number, stride?: number): void {
    this.store.append(source, count, this.#wall.now(), offset, stride);
  }

  /**
   * Adds messages that a proxy saw; their records, and their flows when asked for. This is the one way by which what they
   * say comes in: what redaction takes out here is in no answer, file or metric.
   */
  ingestLayer7(events: readonly Layer7Event[]): { records: Uint8Array; flows: () => Flow[] } {
    const records = new Uint8Array(events.length * recordSize);
    const view = new DataView(records.buffer);
    for (const [i, event] of events.entries()) {
      const number = this.#details.put(this.#redaction(event.detail));
      encodeLayer7(event, number, view, i * recordSize);
    }
    this.store.append(records, events.length, 0n);
    const first = this.store.nextSeq - events.length;
    const flows = (): Flow[] =>
      events.flatMap((_, i) => {
        const record = this.store.at(first + i);
        return record ? toFlows(record, this.#resolver, (part) => this.#ids.of(first + i, part)) : [];
      });
    return { records, flows };
  }

  /** Counts events that the kernel could not put into the ring buffer. */
  ingestLoss(count: number): void {
    this.store.recordLoss(count, BigInt(Math.floor(this.#clock.now())) * 1_000_000n);
  }

  /**
   * The flows that a request asks for (semantics of the field's GetFlows):
   * `since` wins over `number`/`first` for the start; `first`: from the oldest; `number`: the last N that match;
   * `follow` alone: from now on; `follow` with `number`: the last N, then live; neither: the whole store. `until` ends
   * the stream at the first later event. `number` limits the flows unless following. Losses are always told, never
   * filtered, and do not count.
   *
   * Checks the request at once (throws as `checkFlowsQuery`); the stream itself does not fail. It ends when `signal`
   * aborts or the consumer returns.
   */
  getFlows(request: GetFlowsRequest, signal?: AbortSignal): AsyncGenerator<GetFlowsResponse, void> {
    return flatten(this.getFlowBatches(request, signal));
  }

  /**
   * As getFlows, in batches: for consumers that write many lines at a time. With a `position` reading starts there, and
   * not where the request says; it is moved before a batch is given out.
   */
  getFlowBatches(
    request: GetFlowsRequest,
    signal?: AbortSignal,
    position?: ReadPosition,
  ): AsyncGenerator<GetFlowsResponse[], void> {
    checkFlowsQuery(request);
    return this.#read({
      request,
      matcher: compileFlowFilter(request.whitelist, request.blacklist),
      since: request.since === undefined ? undefined : parseTimestamp(request.since),
      until: request.until === undefined ? undefined : parseTimestamp(request.until),
      limit:
        request.follow === true || (request.number ?? 0) === 0
          ? Number.POSITIVE_INFINITY
          : (request.number ?? 0),
      signal: signal ?? new AbortController().signal,
      position,
    });
  }

  /** Records as they are, for `axon monitor`; losses as lines of their own. */
  async *events(query: MonitorQuery, signal?: AbortSignal): AsyncGenerator<MonitorLine, void> {
    const wanted = monitorTest(query);
    const last = query.last ?? (query.follow === true ? 0 : 100);
    const start = this.#rewindRecords(wanted, last);
    const stop = signal ?? new AbortController().signal;
    for await (const slice of slices(this.store, start, query.follow === true, stop)) {
      if ("lost" in slice) {
        this.readerLost.emit(slice.lost);
        yield { lost: slice.lost };
        continue;
      }
      const lines: MonitorLine[] = [];
      for (let seq = slice.from; seq < slice.to; seq++) {
        const record = this.store.at(seq);
        if (record !== undefined && wanted(record)) lines.push(monitorLine(record, seq, this.#resolver));
      }
      yield* lines;
    }
  }

  /** Figures of the store (`observer.ServerStatusResponse`). */
  status(): ServerStatus {
    const nowMs = this.#clock.now();
    const uptimeMs = Math.max(0, nowMs - this.#startedMs);
    const from = this.store.seqSince(BigInt(Math.floor(nowMs - 60_000)) * 1_000_000n);
    const seconds = Math.max(1, Math.min(60, uptimeMs / 1000));
    return {
      num_flows: `${this.store.size}`,
      max_flows: `${this.store.capacity}`,
      seen_flows: `${this.store.nextSeq}`,
      uptime_ns: `${BigInt(Math.floor(uptimeMs)) * 1_000_000n}`,
      version: this.#version,
      flows_rate: Math.round(((this.store.nextSeq - from) / seconds) * 100) / 100,
    };
  }

  async *#read(plan: Plan): AsyncGenerator<GetFlowsResponse[], void> {
    const start = await this.#start(plan);
    const progress: Progress = { skip: start.skip, sent: 0 };
    let { seq } = start;
    if (start.past !== undefined && this.history !== undefined) {
      const range = { ...start.past, sinceNs: plan.since, untilNs: plan.until };
      seq = (yield* this.#readPast(plan, progress, this.history.forward(range))) ?? seq;
    }
    if (progress.sent < plan.limit) yield* this.#readRing(plan, progress, seq);
  }

  /** Returns where the ring goes on, if that is known. */
  async *#readPast(
    plan: Plan,
    progress: Progress,
    chunks: ReturnType<History["forward"]>,
  ): AsyncGenerator<GetFlowsResponse[], number | undefined> {
    try {
      for (;;) {
        const next = await chunks.next();
        if (next.done === true) return next.value;
        yield* this.#readChunk(plan, progress, next.value);
        if (plan.signal.aborted || progress.sent >= plan.limit) return undefined;
      }
    } finally {
      await chunks.return(undefined);
    }
  }

  async *#readChunk(plan: Plan, progress: Progress, chunk: Chunk): AsyncGenerator<GetFlowsResponse[], void> {
    if (chunk.lost > 0) yield [this.#overrun(chunk.lost)];
    let batch: GetFlowsResponse[] = [];
    for (const found of recordsOf(chunk)) {
      const ns = found.record.view.getBigUint64(found.record.offset + at.timeNs, true);
      if (plan.since !== undefined && ns < plan.since) continue;
      if (plan.until !== undefined && ns > plan.until) continue;
      if (found.seq % turnOf(plan.matcher) === 0) await nextTurn();
      if (this.#take(plan, progress, found, batch)) break;
      if (batch.length < batchFlows) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  async *#readRing(plan: Plan, progress: Progress, start: number): AsyncGenerator<GetFlowsResponse[], void> {
    const position = plan.position ?? { seq: 0 };
    const follow = plan.request.follow === true;
    for await (const slice of slices(this.store, start, follow, plan.signal, turnOf(plan.matcher))) {
      if ("lost" in slice) {
        position.seq += slice.lost;
        yield [this.#overrun(slice.lost)];
        continue;
      }
      let batch: GetFlowsResponse[] = [];
      for (let seq = slice.from; seq < slice.to; seq++) {
        // The consumer may have been slow to take a batch: what it missed of this slice is a loss.
        if (seq < this.store.oldestSeq) {
          const held = Math.min(slice.to, this.store.oldestSeq);
          batch.push(this.#overrun(held - seq));
          seq = held;
          if (seq >= slice.to) break;
        }
        if (plan.until !== undefined && this.store.timeNs(seq) > plan.until) {
          if (batch.length > 0) yield batch;
          return;
        }
        if (plan.since !== undefined && this.store.timeNs(seq) < plan.since) continue;
        const found = this.#inRing(seq);
        if (found !== undefined && this.#take(plan, progress, found, batch)) {
          yield batch;
          return;
        }
        if (batch.length >= batchFlows) {
          position.seq = seq + 1;
          yield batch;
          batch = [];
        }
      }
      position.seq = slice.to;
      if (batch.length > 0) yield batch;
    }
  }

  /** Puts what a record means into a batch; true when that was all that is wanted. */
  #take(plan: Plan, progress: Progress, found: Found, batch: GetFlowsResponse[]): boolean {
    for (const response of this.#responses(found, plan.matcher)) {
      if (response.flow !== undefined && progress.skip > 0) {
        progress.skip--;
        continue;
      }
      batch.push(response);
      if (response.flow !== undefined && ++progress.sent >= plan.limit) return true;
    }
    return false;
  }

  #inRing(seq: number): Found | undefined {
    const record = this.store.at(seq);
    return record && { record, seq, ids: this.#ids, resolver: this.#resolver };
  }

  #responses(found: Found, matcher: FlowMatcher): GetFlowsResponse[] {
    const { view, offset } = found.record;
    if (view.getUint8(offset + at.type) === eventType.lost) {
      const count = view.getUint32(offset + at.len, true);
      return [this.#lost("PERF_EVENT_RING_BUFFER", count, view.getBigUint64(offset + at.timeNs, true))];
    }
    return matching(found, matcher).map((flow) => ({
      flow,
      node_name: this.#resolver.nodeName,
      time: flow.time,
    }));
  }

  #overrun(records: number): GetFlowsResponse {
    this.readerLost.emit(records);
    return this.#lost("HUBBLE_RING_BUFFER", records, undefined);
  }

  #lost(source: LostEventSource, count: number, timeNs: bigint | undefined): GetFlowsResponse {
    const time = formatTimestamp(timeNs ?? BigInt(Math.floor(this.#clock.now())) * 1_000_000n);
    return {
      lost_events: { source, num_events_lost: `${count}` },
      node_name: this.#resolver.nodeName,
      time,
    };
  }

  async #start(plan: Plan): Promise<Start> {
    const { request, since, position } = plan;
    if (position !== undefined) return { seq: position.seq, skip: 0 };
    const past = this.history === undefined ? {} : { past: {} };
    if (since !== undefined) {
      const seq = this.store.seqSince(since);
      return { seq, skip: 0, ...(this.#reachesBack(since) ? {} : past) };
    }
    const number = request.number ?? 0;
    if (request.first === true) return { seq: this.store.oldestSeq, skip: 0, ...past };
    if (number > 0) return this.#rewind(plan, number);
    if (request.follow === true) return { seq: this.store.nextSeq, skip: 0 };
    return { seq: this.store.oldestSeq, skip: 0, ...past };
  }

  /** Whether the ring has all since a time; records of different CPUs stand out of order by less than a second. */
  #reachesBack(since: bigint): boolean {
    const { size, oldestSeq } = this.store;
    return size > 0 && this.store.timeNs(oldestSeq) + 1_000_000_000n <= since;
  }

  /** Goes back from the newest record (that is not too late) until `number` matching flows lie ahead. */
  async #rewind(plan: Plan, number: number): Promise<Start> {
    let seq = plan.until === undefined ? this.store.nextSeq : this.store.seqAfter(plan.until);
    let found = 0;
    for (let looked = 1; found < number && seq > this.store.oldestSeq && !plan.signal.aborted; looked++) {
      seq--;
      const record = this.#inRing(seq);
      const late = plan.until !== undefined && this.store.timeNs(seq) > plan.until;
      if (!late && record !== undefined) found += matching(record, plan.matcher).length;
      if (looked % turnOf(plan.matcher) === 0) await nextTurn();
    }
    if (found < number && this.history !== undefined)
      return this.#rewindPast(this.history, plan, number, found, seq);
    return { seq, skip: Math.max(0, found - number) };
  }

  /** Goes further back, in the history: to the frame in which the first of the flows is. */
  async #rewindPast(
    history: History,
    plan: Plan,
    number: number,
    inRing: number,
    seq: number,
  ): Promise<Start> {
    let found = inRing;
    let mark: Mark | undefined;
    for await (const chunk of history.backward(seq, plan.until)) {
      if (plan.signal.aborted) break;
      mark = chunk.mark;
      for (const record of recordsOf(chunk)) {
        if (chunk.isThisRun && record.seq >= seq) break;
        if (record.seq % turnOf(plan.matcher) === 0) await nextTurn();
        const ns = record.record.view.getBigUint64(record.record.offset + at.timeNs, true);
        if (plan.until === undefined || ns <= plan.until) found += matching(record, plan.matcher).length;
      }
      if (found >= number) break;
      await nextTurn();
    }
    if (mark === undefined) return { seq, skip: 0 };
    return { seq, skip: Math.max(0, found - number), past: { mark } };
  }

  #rewindRecords(wanted: ReturnType<typeof monitorTest>, last: number): number {
    let seq = this.store.nextSeq;
    for (let found = 0; found < last && seq > this.store.oldestSeq; ) {
      seq--;
      const record = this.store.at(seq);
      if (record !== undefined && wanted(record)) found++;
    }
    return seq;
  }
}

async function* flatten<T>(batches: AsyncGenerator<T[], void>): AsyncGenerator<T, void> {
  for await (const batch of batches) yield* batch;
}

/** Records that are looked at in one go. */
function turnOf({ isCostly }: FlowMatcher): number {
  return isCostly ? costlyRecords : sliceRecords;
}

/** The flows of a record that match. */
function matching({ record, seq, ids, resolver }: Found, matcher: FlowMatcher): Flow[] {
  if (!matcher.mayMatch(record)) return [];
  const flows = toFlows(record, resolver, (part) => ids.of(seq, part));
  return matcher.matchesAll ? flows : flows.filter((flow) => matcher.matches(flow));
}

/** The records of a chunk: always the same object, valid until the next. */
function* recordsOf({ records, view, count, firstSeq, ids, resolver }: Chunk): Generator<Found, void> {
  const record = { view, bytes: records, offset: 0 };
  const found = { record, seq: firstSeq, ids, resolver };
  for (let i = 0; i < count; i++) {
    record.offset = i * recordSize;
    found.seq = firstSeq + i;
    yield found;
  }
}

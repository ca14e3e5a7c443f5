import { setImmediate as nextTurn } from "node:timers/promises";
import { debugCount, formatTimestamp, parseTimestamp, toDebugEvents } from "@axoneme/flow";
import { sliceRecords, slices } from "./cursor.ts";
import type { DebugEventResponse, EventsRequest } from "./grpc/client-types.ts";
import type { Observer } from "./observer.ts";
import { checkEventsQuery } from "./query.ts";

/** Events in one batch of a stream, about. */
const batchEvents = 512;

/** Compiled form of a request. */
interface Plan {
  readonly first: boolean;
  readonly follow: boolean;
  /** 0: no limit. */
  readonly number: number;
  readonly since: bigint | undefined;
  readonly until: bigint | undefined;
  readonly signal: AbortSignal;
}

/**
 * The debug events a request asks for, with the meanings of GetFlows' fields, made of the records that the store holds (not of
 * the history on disk) when they are read: nothing is kept or computed for them before. The answer has no message for losses: what a
 * reader was too slow for fires `readerLost` of the observer.
 * @throws AxonError `observe.query_invalid`, `flow.time_invalid` at once
 */
export function readDebugEvents(
  observer: Observer,
  request: EventsRequest,
  signal: AbortSignal,
): AsyncGenerator<DebugEventResponse[], void> {
  checkEventsQuery(request);
  const { first = false, follow = false, number = 0, since, until } = request;
  return read(observer, {
    ...{ first, follow, number, signal },
    since: since === undefined ? undefined : parseTimestamp(since),
    until: until === undefined ? undefined : parseTimestamp(until),
  });
}

async function* read(observer: Observer, plan: Plan): AsyncGenerator<DebugEventResponse[], void> {
  const { store } = observer;
  const { follow, number, since, until, signal } = plan;
  let left = follow || number === 0 ? Number.POSITIVE_INFINITY : number;
  let { seq, skip } = await startOf(observer, plan);
  for await (const slice of slices(store, seq, follow, signal)) {
    if ("lost" in slice) {
      observer.readerLost.emit(slice.lost);
      continue;
    }
    let batch: DebugEventResponse[] = [];
    for (seq = slice.from; seq < slice.to; seq++) {
      // The consumer may have been slow to take a batch.
      if (seq < store.oldestSeq) {
        const held = Math.min(slice.to, store.oldestSeq);
        observer.readerLost.emit(held - seq);
        seq = held;
        if (seq >= slice.to) break;
      }
      const ns = store.timeNs(seq);
      if (since !== undefined && ns < since) continue;
      if (until !== undefined && ns > until) {
        if (batch.length > 0) yield batch;
        return;
      }
      const events = responses(observer, seq).slice(skip, skip + left);
      skip = 0;
      batch.push(...events);
      left -= events.length;
      if (left <= 0) break;
      if (batch.length < batchEvents) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
    if (left <= 0) return;
  }
}

/** Where reading starts, and how many events of the record there are too many. */
async function startOf({ store }: Observer, plan: Plan): Promise<{ seq: number; skip: number }> {
  const { first, follow, number, since, until, signal } = plan;
  if (since !== undefined) return { seq: store.seqSince(since), skip: 0 };
  if (first || (number === 0 && !follow)) return { seq: store.oldestSeq, skip: 0 };
  let seq = until === undefined || number === 0 ? store.nextSeq : store.seqAfter(until);
  let found = 0;
  for (let looked = 1; found < number && seq > store.oldestSeq && !signal.aborted; looked++) {
    seq--;
    const record = store.at(seq);
    const late = until !== undefined && store.timeNs(seq) > until;
    if (!late && record !== undefined) found += debugCount(record);
    if (looked % sliceRecords === 0) await nextTurn();
  }
  return { seq, skip: Math.max(0, found - number) };
}

function responses({ store, resolver }: Observer, seq: number): DebugEventResponse[] {
  const record = store.at(seq);
  if (record === undefined) return [];
  const time = formatTimestamp(store.timeNs(seq));
  return toDebugEvents(record, resolver).map((event) => ({
    debug_event: event,
    node_name: resolver.nodeName,
    time,
  }));
}

import { setImmediate as nextTurn } from "node:timers/promises";
import { Deferred } from "@axoneme/base";
import type { RawStore } from "@axoneme/flow";

/** Records looked at before others get their turn. */
export const sliceRecords = 8192;

/** What a cursor finds: records from..to (exclusive), or how many it was too slow for. */
export type Slice = { readonly from: number; readonly to: number } | { readonly lost: number };

/**
 * Walks a store in slices of some records, giving the event loop a turn between them. Ends at the newest record, or, when following,
 * waits for more (woken by the store) until the signal aborts. The records of a slice are valid until the consumer awaits.
 */
export async function* slices(
  store: RawStore,
  start: number,
  follow: boolean,
  signal: AbortSignal,
  records = sliceRecords,
): AsyncGenerator<Slice> {
  const end = follow ? Number.POSITIVE_INFINITY : store.nextSeq;
  let seq = start;
  while (!signal.aborted && seq < end) {
    if (seq >= store.nextSeq) {
      await appended(store, seq, signal);
      continue;
    }
    if (seq < store.oldestSeq) {
      const oldest = Math.min(store.oldestSeq, end);
      yield { lost: oldest - seq };
      seq = oldest;
      continue;
    }
    const to = Math.min(seq + records, store.nextSeq, end);
    yield { from: seq, to };
    seq = to;
    if (seq < end && seq < store.nextSeq) await nextTurn();
  }
}

/** Resolves when the store holds a record after `seq`, or the signal aborts. */
async function appended(store: RawStore, seq: number, signal: AbortSignal): Promise<void> {
  const woken = new Deferred<void>();
  const off = store.onAppend.on(() => woken.resolve());
  const stop = (): void => woken.resolve();
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (store.nextSeq <= seq && !signal.aborted) await woken.promise;
  } finally {
    off();
    signal.removeEventListener("abort", stop);
  }
}

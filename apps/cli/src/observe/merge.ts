import { Deferred, MinHeap } from "@axoneme/base";
import type { GetFlowsResponse } from "@axoneme/flow";

/** A response and where it stands among the others. */
interface Entry {
  readonly response: GetFlowsResponse;
  /** RFC 3339 in a form that compares as text. */
  readonly key: string;
  readonly arrived: number;
  readonly order: number;
}

/** RFC 3339 UTC with all nine digits: compares as text. */
function sortKey(time: string | undefined): string {
  if (time === undefined) return "";
  const [seconds = "", fraction = ""] = time.replace("Z", "").split(".");
  return `${seconds}.${fraction.padEnd(9, "0")}`;
}

/** Flows one stream may be ahead; its reading pauses there. */
const pendingLimit = 1000;

/**
 * Merges streams that are each in time order into one in time order. A flow is released when every living stream has
 * shown a later one, or after `waitMs`: a silent node must not hold back the others.
 */
export async function* mergeByTime(
  streams: readonly AsyncIterable<GetFlowsResponse>[],
  waitMs: number,
): AsyncGenerator<GetFlowsResponse, void> {
  const only = streams[0];
  if (only !== undefined && streams.length === 1) {
    yield* only;
    return;
  }
  const merge = new Merge(streams);
  try {
    yield* merge.run(waitMs);
  } finally {
    merge.stop();
  }
}

class Merge {
  readonly #heap = new MinHeap<Entry & { stream: number }>((a, b) =>
    a.key === b.key ? a.order < b.order : a.key < b.key,
  );
  readonly #pending: number[];
  readonly #alive: Set<number>;
  readonly #room: (Deferred<void> | undefined)[];
  #changed = new Deferred<void>();
  #failed: { error: unknown } | undefined;
  #order = 0;
  #stopped = false;

  constructor(streams: readonly AsyncIterable<GetFlowsResponse>[]) {
    this.#pending = streams.map(() => 0);
    this.#room = streams.map(() => undefined);
    this.#alive = new Set(streams.keys());
    for (const [i, stream] of streams.entries()) void this.#pump(i, stream);
  }

  async *run(waitMs: number): AsyncGenerator<GetFlowsResponse, void> {
    for (;;) {
      if (this.#failed !== undefined) throw this.#failed.error;
      const first = this.#heap.peek();
      if (first === undefined) {
        if (this.#alive.size === 0) return;
        await this.#next(undefined);
        continue;
      }
      const silent = [...this.#alive].some((i) => (this.#pending[i] ?? 0) === 0);
      const left = first.arrived + waitMs - performance.now();
      if (silent && left > 0) {
        await this.#next(left);
        continue;
      }
      this.#heap.pop();
      this.#taken(first.stream);
      yield first.response;
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const room of this.#room) room?.resolve();
  }

  async #pump(i: number, stream: AsyncIterable<GetFlowsResponse>): Promise<void> {
    try {
      for await (const response of stream) {
        const key = sortKey(response.time ?? response.flow?.time);
        this.#heap.push({ response, key, arrived: performance.now(), order: this.#order++, stream: i });
        this.#pending[i] = (this.#pending[i] ?? 0) + 1;
        this.#wake();
        if ((this.#pending[i] ?? 0) >= pendingLimit) await this.#waitForRoom(i);
        if (this.#stopped) return;
      }
    } catch (error) {
      this.#failed = { error };
    }
    this.#alive.delete(i);
    this.#wake();
  }

  async #waitForRoom(i: number): Promise<void> {
    const room = new Deferred<void>();
    this.#room[i] = room;
    await room.promise;
  }

  #taken(i: number): void {
    this.#pending[i] = (this.#pending[i] ?? 1) - 1;
    if ((this.#pending[i] ?? 0) < pendingLimit) this.#room[i]?.resolve();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = new Deferred<void>();
  }

  /** Until something changes, or the time is up. */
  async #next(ms: number | undefined): Promise<void> {
    const changed = this.#changed;
    const timer = ms === undefined ? undefined : setTimeout(() => changed.resolve(), ms);
    try {
      await changed.promise;
    } finally {
      clearTimeout(timer);
      // The timer resolves the current one, which must not answer the next wait too.
      if (changed === this.#changed) this.#changed = new Deferred<void>();
    }
  }
}

import { isEarlier } from "./message.ts";
import type { PeerQueue } from "./queue.ts";

/**
 * Takes messages of several queues in order of time. One goes on when no live queue is empty (an empty one may yet bring
 * an earlier message), or when it has waited long enough: a node that is silent, or whose clock is wrong, holds back
 * the others for no longer.
 */
export class Merge {
  readonly #queues = new Set<PeerQueue>();
  readonly #heads = new QueueHeap();
  #emptyLive = 0;

  /** Streams from which more may come. */
  get live(): number {
    let count = 0;
    for (const queue of this.#queues) if (queue.isLive) count++;
    return count;
  }

  get isEmpty(): boolean {
    return this.#heads.first === undefined;
  }

  get queues(): ReadonlySet<PeerQueue> {
    return this.#queues;
  }

  /** Takes in a new, empty queue. */
  add(queue: PeerQueue): void {
    this.#queues.add(queue);
    this.#emptyLive++;
  }

  /** To be called after messages were pushed into a queue. */
  filled(queue: PeerQueue): void {
    if (queue.first === undefined) return;
    if (queue.place < 0 && queue.isLive) this.#emptyLive--;
    this.#heads.set(queue);
  }

  /** Nothing more comes from this queue; what waits in it still goes on. */
  ended(queue: PeerQueue): void {
    if (!queue.isLive) return;
    if (queue.place < 0) {
      this.#emptyLive--;
      this.#queues.delete(queue);
    }
    queue.end();
  }

  /**
   * The next message, if one may go on now: the earliest of all when there is nobody to wait for, else the earliest of
   * those that arrived at or before `dueMs`.
   */
  take(dueMs: number): Uint8Array | undefined {
    const earliest = this.#heads.first;
    if (earliest === undefined) return undefined;
    const mayGo = this.#emptyLive === 0 || isDue(earliest, dueMs);
    const queue = mayGo ? earliest : this.#earliestDue(dueMs);
    const item = queue?.pop();
    if (queue === undefined || item === undefined) return undefined;
    if (queue.first !== undefined) this.#heads.set(queue);
    else {
      this.#heads.remove(queue);
      if (queue.isLive) this.#emptyLive++;
      else this.#queues.delete(queue);
    }
    return item.bytes;
  }

  /** When the message that waits longest arrived; undefined when none waits. */
  get oldestArrivalMs(): number | undefined {
    let oldest: number | undefined;
    for (const { first } of this.#queues) {
      if (first !== undefined && (oldest === undefined || first.arrivedMs < oldest)) oldest = first.arrivedMs;
    }
    return oldest;
  }

  #earliestDue(dueMs: number): PeerQueue | undefined {
    let found: PeerQueue | undefined;
    for (const queue of this.#queues) {
      if (isDue(queue, dueMs) && (found === undefined || comesBefore(queue, found))) found = queue;
    }
    return found;
  }
}

function isDue({ first }: PeerQueue, dueMs: number): boolean {
  return first !== undefined && first.arrivedMs <= dueMs;
}

function comesBefore(a: PeerQueue, b: PeerQueue): boolean {
  return a.first !== undefined && b.first !== undefined && isEarlier(a.first, b.first);
}

/** Queues with messages, the one with the earliest first. Each knows its place, so that its key may change. */
class QueueHeap {
  readonly #items: PeerQueue[] = [];

  get first(): PeerQueue | undefined {
    return this.#items[0];
  }

  /** Adds a queue, or puts it where it belongs now. */
  set(queue: PeerQueue): void {
    if (queue.place < 0) queue.place = this.#items.push(queue) - 1;
    this.#down(queue, this.#up(queue, queue.place));
  }

  remove(queue: PeerQueue): void {
    const { place } = queue;
    const last = this.#items.pop();
    queue.place = -1;
    if (last === undefined || last === queue) return;
    this.#put(last, place);
    this.set(last);
  }

  #put(queue: PeerQueue, at: number): void {
    this.#items[at] = queue;
    queue.place = at;
  }

  #up(queue: PeerQueue, from: number): number {
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.#items[above];
      if (parent === undefined || !comesBefore(queue, parent)) break;
      this.#put(parent, at);
      at = above;
    }
    this.#put(queue, at);
    return at;
  }

  #down(queue: PeerQueue, from: number): void {
    let at = from;
    for (;;) {
      let below = at * 2 + 1;
      let child = this.#items[below];
      if (child === undefined) break;
      const other = this.#items[below + 1];
      if (other !== undefined && comesBefore(other, child)) {
        child = other;
        below++;
      }
      if (!comesBefore(child, queue)) break;
      this.#put(child, at);
      at = below;
    }
    this.#put(queue, at);
  }
}

import { isEarlier, type Moment, timeOf } from "./message.ts";

/** A message that waits for its turn. */
export interface Waiting extends Moment {
  readonly bytes: Uint8Array;
  /** performance.now() when it came. */
  arrivedMs: number;
}

/** Bytes that may wait of one peer; its stream is not read meanwhile, and the peer holds back. */
const limitBytes = 512 * 1024;
/** How far back a message that comes late is put among those before it. */
const lateSteps = 256;

/** What came of one peer's stream and has not gone on yet, in order of time. */
export class PeerQueue {
  readonly name: string;
  /** Place in the merge's heap; -1: not in it. */
  place = -1;
  /** False once nothing more will come. */
  isLive = true;
  /** performance.now() of the last message. */
  lastMs: number;
  /** Time of the latest message there was. */
  latest: Moment | undefined;
  readonly #items: (Waiting | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #room: (() => void) | undefined;

  constructor(name: string, nowMs: number) {
    this.name = name;
    this.lastMs = nowMs;
  }

  get first(): Waiting | undefined {
    return this.#items[this.#head];
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= limitBytes;
  }

  /** @throws AxonError `relay.message_invalid` */
  push(bytes: Uint8Array, nowMs: number): void {
    const { seconds, nanos } = timeOf(bytes);
    const item: Waiting = { seconds, nanos, bytes, arrivedMs: nowMs };
    this.lastMs = nowMs;
    this.#bytes += bytes.length;
    if (this.latest === undefined || isEarlier(this.latest, item)) this.latest = { seconds, nanos };
    const items = this.#items;
    let at = items.length;
    // CPUs of a node write records a little out of order.
    for (let steps = 0; steps < lateSteps && at > this.#head; steps++, at--) {
      const before = items[at - 1];
      if (before === undefined || !isEarlier(item, before)) break;
    }
    const after = items[at];
    if (after === undefined) items.push(item);
    else {
      // What goes before another one is as urgent.
      item.arrivedMs = after.arrivedMs;
      items.splice(at, 0, item);
    }
  }

  pop(): Waiting | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    this.#bytes -= item.bytes.length;
    if (this.#head === this.#items.length || this.#head > 4096) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    if (!this.isFull) this.#release();
    return item;
  }

  /** Resolves when there is room again, or the queue is given up. */
  room(): Promise<void> {
    if (!this.isFull || !this.isLive) return Promise.resolve();
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  /** Nothing more will be taken in. */
  end(): void {
    this.isLive = false;
    this.#release();
  }

  #release(): void {
    this.#room?.();
    this.#room = undefined;
  }
}

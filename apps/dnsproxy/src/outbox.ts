import { DATAGRAM_WORDS, datagram, sendDatagrams } from "@axoneme/netlink";
import type { Metrics } from "./metrics.ts";

/** Messages on their way out of one buffer, sent in one call. */
export class Outbox {
  private readonly metrics: Metrics;
  private readonly buffer: Uint8Array;
  private readonly words: Uint32Array;
  private count = 0;

  constructor(buffer: Uint8Array, messages: number, metrics: Metrics) {
    this.buffer = buffer;
    this.words = new Uint32Array(messages * DATAGRAM_WORDS);
    this.metrics = metrics;
  }

  /** A message that lies in the buffer. `address`: words from `at` on. `mark`: SO_MARK, 0 for none. */
  add(
    fd: number,
    port: number,
    offset: number,
    length: number,
    address: ArrayLike<number>,
    at: number,
    mark = 0,
  ): void {
    const { words } = this;
    if ((this.count + 1) * DATAGRAM_WORDS > words.length) this.flush();
    const base = this.count++ * DATAGRAM_WORDS;
    words[base + datagram.socket] = fd;
    words[base + datagram.port] = port;
    words[base + datagram.offset] = offset;
    words[base + datagram.length] = length;
    words[base + datagram.mark] = mark;
    for (let i = 0; i < 4; i++) words[base + datagram.address + i] = address[at + i] ?? 0;
  }

  flush(): void {
    if (this.count === 0) return;
    const failed = sendDatagrams(this.buffer, this.words, this.count);
    this.count = 0;
    for (let i = 0; i < failed; i++) this.metrics.lose("send");
  }
}

const LATER_BYTES = 1024 * 1024;
const LATER_MESSAGES = 256;

/** Messages whose bytes lie elsewhere: copied, and sent at the end of the turn. */
export class LaterOutbox {
  private readonly buffer = new Uint8Array(LATER_BYTES);
  private readonly outbox: Outbox;
  private used = 0;
  private waiting = false;

  constructor(metrics: Metrics) {
    this.outbox = new Outbox(this.buffer, LATER_MESSAGES, metrics);
  }

  add(fd: number, port: number, bytes: Uint8Array, address: ArrayLike<number>, mark = 0): void {
    if (this.used + bytes.length > LATER_BYTES) this.flush();
    this.buffer.set(bytes, this.used);
    this.outbox.add(fd, port, this.used, bytes.length, address, 0, mark);
    this.used += bytes.length;
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => this.flush());
  }

  private flush(): void {
    this.waiting = false;
    this.outbox.flush();
    this.used = 0;
  }
}

import { errorText } from "@axoneme/base";
import { FrameBatch, GrpcError, grpcCode, type ServerCall } from "@axoneme/grpc";
import { type GetFlowsRequest, GetFlowsRequestSchema, Observer } from "@axoneme/proto";
import { create, toBinary } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { pathOf } from "../grpc/service.ts";
import { Merge } from "./merge.ts";
import type { Moment } from "./message.ts";
import type { RelayFigures } from "./metrics.ts";
import { NodeNews } from "./news.ts";
import type { PeerLink } from "./peer-link.ts";
import type { PeerPool, PoolChange } from "./pool.ts";
import { PeerQueue } from "./queue.ts";

/** How long messages wait for those of other nodes. */
export interface MergeTimes {
  /** Live ones. */
  readonly liveMs: number;
  /** Those of the past, which nodes may have to look for. */
  readonly pastMs: number;
  /** A node that says nothing for so long, when all others have ended, is given up. */
  readonly silentMs: number;
  /** News of nodes are gathered for so long. */
  readonly newsMs: number;
}

export const mergeTimes: MergeTimes = { liveMs: 250, pastMs: 2000, silentMs: 10_000, newsMs: 1000 };

/** Bytes that go with one write. */
const writeBytes = 64 * 1024;

export interface RelayStreamOptions {
  readonly pool: PeerPool;
  readonly call: ServerCall;
  readonly request: GetFlowsRequest;
  /** The request as it came: it goes to the nodes as it is. */
  readonly bytes: Uint8Array;
  readonly nodeName: string;
  readonly times: MergeTimes;
  readonly figures: RelayFigures;
}

/** One GetFlows of a reader: streams of all nodes, merged. */
export class RelayStream {
  readonly #options: RelayStreamOptions;
  readonly #merge = new Merge();
  readonly #news: NodeNews;
  readonly #out = new FrameBatch();
  /** By node: when it last said something, to go on from there when it comes back. */
  readonly #seen = new Map<string, Moment>();
  readonly #streaming = new Set<string>();
  readonly #startedMs = performance.now();
  readonly #ended = new AbortController();
  #wake: () => void = () => undefined;
  #isWoken = false;

  constructor(options: RelayStreamOptions) {
    this.#options = options;
    this.#news = new NodeNews(options.nodeName);
  }

  /** Serves until all nodes have ended, or the reader has gone. */
  async run(): Promise<void> {
    const { pool, call, request, times } = this.#options;
    const gone = (): void => {
      this.#ended.abort();
      this.#notify();
    };
    call.signal.addEventListener("abort", gone, { once: true });
    const off = pool.changes.on((change) => this.#changed(change));
    const beat = setInterval(() => this.#notify(), times.newsMs);
    try {
      call.begin();
      for (const link of pool.connected()) this.#add(link, this.#options.bytes);
      this.#news.add("NODE_CONNECTED", this.#streaming, "");
      for (const { peer, problem } of pool.unavailable())
        this.#news.add("NODE_UNAVAILABLE", [peer.name], problem);
      await this.#serve(request.follow);
    } finally {
      clearInterval(beat);
      off();
      call.signal.removeEventListener("abort", gone);
      this.#ended.abort();
      for (const queue of this.#merge.queues) queue.end();
    }
  }

  async #serve(isLive: boolean): Promise<void> {
    const { signal } = this.#ended;
    let newsDueMs = 0;
    while (!signal.aborted) {
      this.#isWoken = false;
      const now = performance.now();
      if (now >= newsDueMs && !this.#news.isEmpty) {
        for (const message of this.#news.take(Date.now())) this.#out.add(message);
        newsDueMs = now + this.#options.times.newsMs;
      }
      const taken = this.#gather(now - this.#waitMs(isLive, now));
      if (this.#out.length > 0) await this.#flush(taken);
      if (this.#merge.isEmpty && this.#merge.live === 0 && !isLive) return this.#finish();
      if (!isLive) this.#giveUpSilent(now);
      if (taken === 0 && !this.#isWoken) await this.#pause(isLive, now);
    }
  }

  /** At first nodes look for what they have; later what comes is live. */
  #waitMs(isLive: boolean, now: number): number {
    const { liveMs, pastMs } = this.#options.times;
    if (!isLive) return pastMs;
    return Math.max(liveMs, Math.min(pastMs, this.#startedMs + pastMs - now));
  }

  #gather(dueMs: number): number {
    let taken = 0;
    while (this.#out.length < writeBytes) {
      const message = this.#merge.take(dueMs);
      if (message === undefined) break;
      this.#out.add(message);
      taken++;
    }
    return taken;
  }

  async #flush(messages: number): Promise<void> {
    this.#options.figures.forwarded(messages, this.#out.length);
    await this.#options.call.writeBatch(this.#out);
  }

  async #finish(): Promise<void> {
    for (const message of this.#news.take(Date.now())) this.#out.add(message);
    if (this.#out.length > 0) await this.#flush(0);
  }

  /** Until something comes, or a message has waited long enough. */
  #pause(isLive: boolean, now: number): Promise<void> {
    const arrived = this.#merge.oldestArrivalMs;
    const left =
      arrived === undefined ? this.#options.times.newsMs : arrived + this.#waitMs(isLive, now) - now;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(done, Math.max(1, left));
      this.#wake = done;
      if (this.#isWoken) done();
    });
  }

  #notify(): void {
    this.#isWoken = true;
    this.#wake();
  }

  #changed({ type, link }: PoolChange): void {
    const { name } = link.peer;
    if (type === "gone") {
      // What has come of it goes on; that its stream breaks now is no news.
      for (const queue of [...this.#merge.queues]) if (queue.name === name) this.#letGo(queue);
      this.#news.add("NODE_GONE", [name], "");
    }
    // Of a connection that breaks the stream tells; who had none has nothing to lose.
    if (type === "connected" && this.#options.request.follow && !this.#streaming.has(name)) {
      this.#add(link, this.#resumed(name));
      this.#news.add("NODE_CONNECTED", [name], "");
    }
    this.#notify();
  }

  /** The request for a node that came (back): from where it was, or from now on. */
  #resumed(name: string): Uint8Array {
    const { request } = this.#options;
    const seen = this.#seen.get(name);
    const { since: _, ...rest } = request;
    const since =
      seen === undefined
        ? undefined
        : create(TimestampSchema, {
            seconds: BigInt(seen.seconds + (seen.nanos === 999_999_999 ? 1 : 0)),
            nanos: (seen.nanos + 1) % 1_000_000_000,
          });
    const next = { ...rest, number: 0n, ...(since === undefined ? {} : { since }) };
    return toBinary(GetFlowsRequestSchema, create(GetFlowsRequestSchema, next));
  }

  #add(link: PeerLink, request: Uint8Array): void {
    const { connection, peer } = link;
    if (connection === undefined) return;
    const queue = new PeerQueue(peer.name, performance.now());
    this.#streaming.add(peer.name);
    this.#merge.add(queue);
    void this.#pump(queue, connection.stream(pathOf(Observer.method.getFlows), request, this.#endOf(queue)));
  }

  readonly #stops = new Map<PeerQueue, AbortController>();

  #endOf(queue: PeerQueue): AbortSignal {
    const stop = new AbortController();
    this.#stops.set(queue, stop);
    this.#ended.signal.addEventListener("abort", () => stop.abort(), { once: true, signal: stop.signal });
    return stop.signal;
  }

  async #pump(queue: PeerQueue, stream: AsyncIterable<Uint8Array[]>): Promise<void> {
    try {
      for await (const messages of stream) {
        const now = performance.now();
        for (const message of messages) queue.push(message, now);
        this.#merge.filled(queue);
        this.#notify();
        await queue.room();
        if (!queue.isLive) return;
      }
    } catch (error) {
      if (!this.#ended.signal.aborted && queue.isLive) this.#failed(queue.name, error);
    } finally {
      this.#stops.get(queue)?.abort();
      this.#stops.delete(queue);
      if (queue.latest !== undefined) this.#seen.set(queue.name, queue.latest);
      this.#streaming.delete(queue.name);
      this.#merge.ended(queue);
      this.#notify();
    }
  }

  #failed(name: string, error: unknown): void {
    this.#options.figures.streamFailed();
    const isGone = error instanceof GrpcError && error.status === grpcCode.unavailable;
    this.#news.add(isGone ? "NODE_UNAVAILABLE" : "NODE_ERROR", [name], errorText(error));
  }

  /** Only silent nodes are left: they get so long, and no longer. */
  #giveUpSilent(now: number): void {
    if (!this.#merge.isEmpty) return;
    for (const queue of [...this.#merge.queues]) {
      if (!queue.isLive || now - queue.lastMs < this.#options.times.silentMs) continue;
      this.#failed(queue.name, new Error(`no answer for ${this.#options.times.silentMs} ms`));
      this.#letGo(queue);
    }
  }

  #letGo(queue: PeerQueue): void {
    this.#merge.ended(queue);
    this.#stops.get(queue)?.abort();
  }
}

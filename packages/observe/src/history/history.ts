import { mkdir, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { AxonError, type Clock, errorText, type Logger, systemClock, toHex } from "@axoneme/base";
import type { RawStore } from "@axoneme/flow";
import type { HistoryFigures, HistoryOptions } from "./options.ts";
import { type Chunk, type Mark, type Reading, readBackward, readForward } from "./read.ts";
import { Segment } from "./segment.ts";
import { frameRecords, SegmentWriter } from "./writer.ts";

/** How often what is new is written: so much is lost when the agent is killed. */
const beatMs = 1000;
/** After a write failed. */
const retryMs = 10_000;
/** Share of the ring that waits at most before the beat. */
const pendingShare = 1 / 8;

/**
 * The records of a ring, kept on disk: segments of bounded size, the oldest of which go when there are too many. Each
 * holds what is needed to show its records when pods, policies and Services are gone. A disk that is full or broken
 * costs records (counted), and nothing else: what is in the ring is tried again until it is overwritten.
 */
export class History {
  readonly #store: RawStore;
  readonly #limit: number;
  readonly #run: string;
  readonly #nodeLabels: readonly string[] | undefined;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #writer: SegmentWriter;
  readonly #segments: Segment[];
  #written = 0;
  #figures = { written: 0, lost: 0, failures: 0, damaged: 0 };
  #problem: string | undefined;
  #retryAt = 0;
  #flushing: Promise<void> | undefined;
  #beat: NodeJS.Timeout | undefined;
  #offAppend: (() => void) | undefined;

  private constructor(options: HistoryOptions, segments: Segment[]) {
    this.#store = options.store;
    this.#limit = options.limitBytes;
    this.#run = toHex(options.seed);
    this.#nodeLabels = options.resolver.nodeLabels;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#segments = segments;
    const bytes = options.segmentBytes ?? Math.max(1 << 18, Math.min(1 << 26, Math.floor(this.#limit / 16)));
    const next = (segments.at(-1)?.number ?? 0) + 1;
    this.#writer = new SegmentWriter(options.dir, this.#store, options.resolver, this.#run, bytes, next);
    this.#written = this.#store.oldestSeq;
  }

  /**
   * Looks at what is there and begins to write.
   * @throws AxonError `observe.history_dir` when the directory cannot be used
   */
  static async open(options: HistoryOptions): Promise<History> {
    try {
      await mkdir(options.dir, { recursive: true, mode: 0o700 });
      const history = new History(options, await findSegments(options.dir));
      history.#start();
      await history.#enforceLimit();
      return history;
    } catch (cause) {
      throw new AxonError(
        "observe.history_dir",
        `flow history cannot be kept in ${options.dir}: ${errorText(cause)}`,
        {
          cause,
        },
      );
    }
  }

  get figures(): HistoryFigures {
    const readable = this.#segments.filter(({ records }) => records > 0);
    let oldestNs: bigint | undefined;
    for (const { minNs } of readable) if (oldestNs === undefined || minNs < oldestNs) oldestNs = minNs;
    const { written, lost, failures, damaged } = this.#figures;
    return {
      bytes: this.#bytes(),
      segments: this.#segments.length,
      records: readable.reduce((sum, { records }) => sum + records, 0),
      oldestNs,
      written,
      lost,
      unreadable: this.#segments.filter(({ head }) => head === undefined).length + damaged,
      tornBytes: this.#segments.reduce((sum, { torn }) => sum + torn, 0),
      failures,
      problem: this.#problem,
    };
  }

  /** Why segments that are there cannot be read; the first of them. */
  get unreadable(): string | undefined {
    const segment = this.#segments.find(({ problem }) => problem !== undefined);
    return segment && `${segment.path} ${segment.problem ?? ""}`;
  }

  /** Chunks from a mark, a time or the beginning on, up to where the ring holds the rest; oldest first. Returns where the
   * ring goes on, when that is known. */
  forward(from: {
    sinceNs?: bigint | undefined;
    untilNs?: bigint | undefined;
    mark?: Mark;
  }): AsyncGenerator<Chunk, number | undefined> {
    return readForward(this.#reading(), from);
  }

  /** Chunks before record `before` of this run, newest first. */
  backward(before: number, untilNs: bigint | undefined): AsyncGenerator<Chunk> {
    return readBackward(this.#reading(), before, untilNs);
  }

  /** Writes what the ring has and is not written yet; returns when it is, or has failed. */
  flush(): Promise<void> {
    const before = this.#flushing ?? Promise.resolve();
    const flushing = before.then(() => this.#write());
    this.#flushing = flushing;
    return flushing.finally(() => {
      if (this.#flushing === flushing) this.#flushing = undefined;
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#beat);
    this.#offAppend?.();
    await this.flush();
    try {
      await this.#writer.end();
    } catch (error) {
      this.#failed(error);
    }
  }

  #start(): void {
    this.#beat = setInterval(() => {
      this.#writer.beginEpoch();
      this.#flushSoon();
    }, beatMs).unref();
    const enough = Math.max(1, Math.floor(this.#store.capacity * pendingShare));
    this.#offAppend = this.#store.onAppend.on((next) => {
      if (next - this.#written >= enough) this.#flushSoon();
    });
  }

  #flushSoon(): void {
    if (this.#flushing === undefined) void this.flush();
  }

  async #write(): Promise<void> {
    if (this.#clock.now() < this.#retryAt) return;
    try {
      for (;;) {
        const { oldestSeq, nextSeq } = this.#store;
        if (this.#written < oldestSeq) {
          this.#figures.lost += oldestSeq - this.#written;
          this.#written = oldestSeq;
        }
        const to = Math.min(this.#written + frameRecords, nextSeq);
        if (to === this.#written) break;
        const begun = await this.#writer.write(this.#written, to);
        if (begun !== undefined) this.#segments.push(begun);
        this.#figures.written += to - this.#written;
        this.#written = to;
        await this.#enforceLimit();
      }
      if (this.#problem !== undefined) this.#log.info({}, "flow history is written again");
      this.#problem = undefined;
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The ring keeps what was not written; it is tried again later. */
  #failed(error: unknown): void {
    this.#figures.failures++;
    this.#retryAt = this.#clock.now() + retryMs;
    const problem = errorText(error);
    if (problem !== this.#problem) this.#log.error({ err: error }, "flow history cannot be written");
    this.#problem = problem;
  }

  async #enforceLimit(): Promise<void> {
    while (this.#segments.length > 1 && this.#bytes() > this.#limit) {
      const oldest = this.#segments.shift();
      if (oldest !== undefined) await unlink(oldest.path).catch(unlessGone);
    }
  }

  #bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #reading(): Reading {
    return {
      segments: this.#segments,
      store: this.#store,
      run: this.#run,
      nodeLabels: this.#nodeLabels,
      isWriting: (segment) => segment === this.#writer.segment,
      damaged: () => this.#figures.damaged++,
    };
  }
}

/** The segments in a directory by their numbers. Files of other names are left alone. */
async function findSegments(dir: string): Promise<Segment[]> {
  const names = (await readdir(dir)).filter((name) => /^\d{12}\.axh$/.test(name)).sort();
  const segments: Segment[] = [];
  for (const name of names) segments.push(await Segment.find(join(dir, name), Number.parseInt(name, 10)));
  return segments;
}

function unlessGone(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
}

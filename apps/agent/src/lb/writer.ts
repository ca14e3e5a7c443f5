import { type Backoff, backoff, errorText, type Logger } from "@axoneme/base";
import { applyServiceChanges, type DatapathMaps } from "@axoneme/datapath";
import type { LbChange } from "@axoneme/loadbalancer";
import { compact, frontendName, splitByService } from "./split.ts";

/** Changes of one Service port that the kernel refused, and those that came after them. */
interface Held {
  changes: LbChange[];
  error: string;
}

/** What a writer tells. */
export interface WriterEvents {
  /** These changes are in the kernel. */
  readonly written: (changes: readonly LbChange[]) => void;
  /** The set of Service ports that could not be written has changed. */
  readonly failuresChanged: () => void;
}

/**
 * Puts the compiler's changes into the kernel. When a write is refused, the changes are taken apart by Service port:
 * those of the others are written, and those of the refused one are held, in their order, and tried again with pauses
 * that grow. Until then its rows stand as they were, complete: whatever it had goes on working.
 */
export class ServiceWriter {
  readonly #maps: DatapathMaps;
  readonly #events: WriterEvents;
  readonly #log: Logger;
  readonly #apply: (maps: DatapathMaps, changes: readonly LbChange[]) => void;
  readonly #held = new Map<number, Held>();
  readonly #wait: Backoff = backoff({ baseMs: 100, maxMs: 30_000, jitter: 0.2 });
  #timer: NodeJS.Timeout | undefined;
  #retryAt: number | undefined;
  /** Rows written since the start. */
  rows = 0;
  /** Writes the kernel refused since the start. */
  failures = 0;

  constructor(maps: DatapathMaps, events: WriterEvents, log: Logger, apply = applyServiceChanges) {
    this.#maps = maps;
    this.#events = events;
    this.#log = log;
    this.#apply = apply;
  }

  /** Service ids that could not be written, with the reason. */
  failed(): ReadonlyMap<number, { readonly error: string }> {
    return this.#held;
  }

  /** When the next try is, in milliseconds since the epoch. */
  get nextRetry(): number | undefined {
    return this.#held.size === 0 ? undefined : this.#retryAt;
  }

  /** Writes changes, or holds them. Never throws. */
  write(changes: readonly LbChange[]): void {
    if (changes.length === 0) return;
    if (this.#held.size === 0 && this.#try(changes) === undefined) return;
    for (const [id, own] of splitByService(changes, this.#holders())) {
      const held = this.#held.get(id);
      if (held) held.changes = compact([...held.changes, ...own]);
      else this.#writeOwn(id, own);
    }
    if (this.#held.size > 0) this.#retryLater();
  }

  /** Tries what is held again, now. */
  retry(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const before = this.#held.size;
    for (const [id, held] of [...this.#held]) {
      const error = this.#try(held.changes);
      if (error === undefined) this.#held.delete(id);
      else held.error = error;
    }
    if (this.#held.size < before) {
      this.#wait.reset();
      this.#log.info(
        { mended: before - this.#held.size, left: this.#held.size },
        "refused Services are written",
      );
      this.#events.failuresChanged();
    }
    if (this.#held.size > 0) this.#retryLater();
  }

  /** Gives up what is held: the next agent finds what there is, and finishes it. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #writeOwn(id: number, changes: LbChange[]): void {
    const error = this.#try(changes);
    if (error === undefined) return;
    this.#held.set(id, { changes, error });
    this.#events.failuresChanged();
  }

  /** The reason why not, or undefined. */
  #try(changes: readonly LbChange[]): string | undefined {
    try {
      this.#apply(this.#maps, changes);
    } catch (error) {
      this.failures++;
      if (this.#held.size === 0)
        this.#log.error({ err: error, rows: changes.length }, "rows of Services were refused");
      return errorText(error);
    }
    this.rows += changes.length;
    this.#events.written(changes);
    return undefined;
  }

  /** The Service id that holds a frontend's row back, by the frontend's name. */
  #holders(): Map<string, number> {
    const holders = new Map<string, number>();
    for (const [id, { changes }] of this.#held) {
      for (const change of changes) {
        if (change.op === "put-service" || change.op === "delete-service")
          holders.set(frontendName(change.key), id);
      }
    }
    return holders;
  }

  #retryLater(): void {
    if (this.#timer !== undefined) return;
    const ms = this.#wait.next();
    this.#retryAt = Date.now() + ms;
    this.#timer = setTimeout(() => this.retry(), ms).unref();
  }
}

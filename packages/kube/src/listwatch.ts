import {
  AxonError,
  type Backoff,
  backoff,
  childLogger,
  Deferred,
  errorText,
  type Logger,
  silentLogger,
} from "@axoneme/base";
import type { Selectors } from "./call.ts";
import type { KubeClient } from "./client.ts";
import { isGone, isNotFound, KubeError } from "./errors.ts";
import { pause } from "./pause.ts";
import { type KubeObject, type Resource, resourceName } from "./resources.ts";
import { type Change, compareVersions, ObjectStore, type StoreReader } from "./store.ts";
import type { WatchEvent } from "./watch.ts";

/**
 * Called at once and in order, after the store has taken the change. They must be synchronous: hand work to a
 * queue. One that throws is reported to `onError` and logged; the stream goes on.
 */
export interface ListWatchHandlers<S> {
  onAdd?(object: S): void;
  onUpdate?(object: S, previous: S): void;
  /** The last state known: of the event, or, when the deletion was missed and found by a list, the stored one. */
  onDelete?(object: S): void;
  /** Once, after everything of the first list has been added. */
  onSynced?(): void;
}

export interface ListWatchOptions<T extends KubeObject, S> extends Selectors {
  /** What to keep of each object; default: all but metadata.managedFields. Runs once per received object. */
  trim?: (object: T) => S;
  /** Objects a page of the list (default 500). */
  pageSize?: number;
  /** The server is asked to end a watch after this many seconds, plus up to as much again (default 300). */
  timeoutS?: number;
  /** Without an event or bookmark for so long the connection is taken for dead (default 120 s). */
  silenceMs?: number;
  /** First and longest waiting time after failures (defaults 200 ms and 30 s). */
  backoffMs?: number;
  maxBackoffMs?: number;
  /** Longest Retry-After that is honoured (default 60 s). */
  maxRetryAfterMs?: number;
  /** Longest event accepted (default 16 MiB). */
  maxLineBytes?: number;
  /** Every failure, also those that the next try mends. */
  onError?: (error: unknown) => void;
  log?: Logger;
}

/** How a {@link ListWatch} fares. Times are Date.now() milliseconds. */
export interface ListWatchHealth {
  synced: boolean;
  /** Since when the copy may lag because the server could not be reached; undefined while watching. */
  staleSince: number | undefined;
  objects: number;
  /** Watches opened after the first one. */
  restarts: number;
  /** Lists after the first one. */
  relists: number;
  failures: number;
  /** Events that told nothing new, and were not passed on. */
  duplicates: number;
  /** Events older than what was held: each led to a list. */
  rewinds: number;
  /** Last change received. */
  lastEventAt: number | undefined;
  /** Last sign of life: event, bookmark, list or opened watch. */
  lastContactAt: number | undefined;
  lastError: string | undefined;
}

/** So many watches in a row that end at once, without a word, make us list. */
const idleEndsBeforeList = 3;
/** A watch that stayed open this long counts as progress even if nothing happened. */
const steadyMs = 5_000;

type Step = "list" | "watch";

/**
 * A local copy of a collection, kept true by list and watch. Guarantees, whatever the connection does: each
 * handler call sequence, folded, equals the store; per object the calls are add, update*, delete in the server's
 * order; a change missed during an interruption is found by the next list and emitted; what was already
 * delivered is not delivered again. Intermediate states may be skipped when the server has compacted them.
 */
export class ListWatch<T extends KubeObject, S = T> {
  readonly #client: KubeClient;
  readonly #resource: Resource<T>;
  readonly #options: ListWatchOptions<T, S>;
  readonly #store: ObjectStore<T, S>;
  readonly #synced = new Deferred<void>();
  readonly #backoff: Backoff;
  readonly #log: Logger;
  readonly #name: string;
  #handlers: ListWatchHandlers<S> = {};
  #abort: AbortController | undefined;
  #running: Promise<void> | undefined;
  #next: Step = "list";
  #version = "";
  #lists = 0;
  #watches = 0;
  #open = false;
  /** Whether the present step has brought something new. */
  #progress = false;
  readonly #health = {
    staleSince: undefined as number | undefined,
    failures: 0,
    duplicates: 0,
    rewinds: 0,
    lastEventAt: undefined as number | undefined,
    lastContactAt: undefined as number | undefined,
    lastError: undefined as string | undefined,
  };

  constructor(client: KubeClient, resource: Resource<T>, options: ListWatchOptions<T, S> = {}) {
    this.#client = client;
    this.#resource = resource;
    this.#options = options;
    this.#store = new ObjectStore<T, S>(options.trim ?? withoutManagedFields);
    this.#backoff = backoff({
      baseMs: options.backoffMs ?? 200,
      maxMs: options.maxBackoffMs ?? 30_000,
      jitter: 0.5,
    });
    this.#name = resourceName(resource);
    this.#log = childLogger(options.log ?? silentLogger, { resource: this.#name });
    // A caller that never looks at `synced` must not die of a rejection at stop.
    this.#synced.promise.catch(() => undefined);
  }

  /** The copy; stays readable through outages and after stop. */
  get store(): StoreReader<S> {
    return this.#store;
  }

  /** Resolves when the first list is in the store; rejects with `kube.stopped` if stopped before. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Whether the server is out of reach at present, so that the store may lag. */
  get stale(): boolean {
    return this.#health.staleSince !== undefined;
  }

  /** Whether a watch is open right now. */
  get watching(): boolean {
    return this.#open;
  }

  /** The collection's version that the store shows. */
  get resourceVersion(): string {
    return this.#version;
  }

  health(): ListWatchHealth {
    return {
      ...this.#health,
      synced: this.#lists > 0,
      objects: this.#store.size,
      restarts: Math.max(0, this.#watches - 1),
      relists: Math.max(0, this.#lists - 1),
    };
  }

  /** Begins; returns at once. A ListWatch runs once. */
  start(handlers: ListWatchHandlers<S> = {}): void {
    if (this.#running !== undefined)
      throw new AxonError("kube.misuse", `the ListWatch of ${this.#name} runs already`);
    this.#handlers = handlers;
    this.#abort = new AbortController();
    this.#running = this.#run(this.#abort.signal);
  }

  /** Ends the watch; resolves when no handler will be called any more. */
  async stop(): Promise<void> {
    this.#abort?.abort();
    await this.#running;
    this.#synced.reject(new AxonError("kube.stopped", `the ListWatch of ${this.#name} was stopped`));
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const pauseMs = await this.#step(signal);
      if (pauseMs > 0 && !signal.aborted) await pause(pauseMs, signal);
    }
  }

  /** One list or one watch; returns how long to wait before the next. */
  async #step(signal: AbortSignal): Promise<number> {
    const began = performance.now();
    const step = this.#next;
    try {
      if (step === "list") return await this.#list(signal);
      await this.#watch(signal);
      // Ended as agreed. At once again, unless the server keeps ending watches right away: then its reason may have
      // been lost on the way (a version it no longer has), and only a list helps.
      if (this.#progressed(began)) return 0;
      if (this.#backoff.attempt >= idleEndsBeforeList) this.#next = "list";
      return this.#backoff.next();
    } catch (error) {
      if (signal.aborted) return 0;
      if (step === "watch") this.#progressed(began);
      return this.#failed(step, error);
    } finally {
      this.#open = false;
      this.#progress = false;
    }
  }

  async #list(signal: AbortSignal): Promise<number> {
    const { namespace, labelSelector, fieldSelector, pageSize } = this.#options;
    const replacement = this.#store.replace();
    const { resourceVersion } = await this.#client.resource(this.#resource).list({
      ...{ namespace, labelSelector, fieldSelector, limit: pageSize, signal },
      onPage: (items) => replacement.page(items as T[]),
      onRestart: () => replacement.restart(),
    });
    if (signal.aborted) return 0;
    this.#version = resourceVersion;
    this.#next = "watch";
    const changes = replacement.finish();
    this.#contact(changes.length > 0);
    for (const change of changes) this.#deliver(change);
    if (this.#lists++ === 0) {
      this.#guard(() => this.#handlers.onSynced?.());
      this.#synced.resolve();
    }
    return 0;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { namespace, labelSelector, fieldSelector, timeoutS = 300, maxLineBytes } = this.#options;
    const abort = new AbortController();
    const onStop = (): void => abort.abort(signal.reason);
    signal.addEventListener("abort", onStop, { once: true });
    const watchdog = new Watchdog(this.#options.silenceMs ?? 120_000, (ms) =>
      abort.abort(
        new KubeError("kube.silent", `the watch of ${this.#name} was silent for ${ms} ms; reconnecting`),
      ),
    );
    try {
      await this.#client.resource(this.#resource).watch({
        ...{ namespace, labelSelector, fieldSelector, signal: abort.signal },
        ...(maxLineBytes === undefined ? {} : { maxLineBytes }),
        resourceVersion: this.#version,
        allowBookmarks: true,
        // Spread, so that a restarted server is not asked for everything by everyone at once.
        timeoutSeconds: Math.ceil(timeoutS * (1 + Math.random())),
        onOpen: () => {
          watchdog.feed();
          this.#opened();
        },
        onEvent: (event) => {
          watchdog.feed();
          if (!abort.signal.aborted) this.#take(event);
        },
      });
    } finally {
      watchdog.stop();
      signal.removeEventListener("abort", onStop);
    }
  }

  #opened(): void {
    this.#open = true;
    this.#watches++;
    this.#contact(false);
    this.#health.staleSince = undefined;
  }

  #take(event: WatchEvent<T>): void {
    const version = event.object.metadata?.resourceVersion ?? "";
    this.#contact(event.type !== "BOOKMARK");
    if (event.type !== "BOOKMARK") this.#apply(event.type, event.object);
    // A deletion may carry the version of the object's last state: never go back.
    const order = compareVersions(version, this.#version);
    if (order === undefined || order > 0) this.#version = version;
    this.#progress = true;
    this.#backoff.reset();
  }

  #apply(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void {
    const outcome = this.#store.take(type, object);
    if (outcome.kind === "changes") for (const change of outcome.changes) this.#deliver(change);
    if (outcome.kind === "duplicate") this.#health.duplicates++;
    if (outcome.kind === "rewound") {
      this.#health.rewinds++;
      throw new KubeError("kube.rewound", `the watch of ${this.#name} went back in time; listing again`);
    }
  }

  #deliver(change: Change<S>): void {
    this.#guard(() => {
      if (change.type === "add") this.#handlers.onAdd?.(change.value);
      else if (change.type === "update") this.#handlers.onUpdate?.(change.value, change.previous);
      else this.#handlers.onDelete?.(change.value);
    });
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#log.error({ err: error }, "a watch handler threw; going on");
      this.#report(error);
    }
  }

  #contact(changed: boolean): void {
    const now = Date.now();
    this.#health.lastContactAt = now;
    if (changed) this.#health.lastEventAt = now;
  }

  /** Whether the watch just ended did its duty; then failures before it are forgotten. */
  #progressed(began: number): boolean {
    const steady = this.#open && performance.now() - began >= steadyMs;
    if (steady) this.#backoff.reset();
    return steady || this.#progress;
  }

  /** Decides what to do after a failure; returns how long to wait. */
  #failed(step: Step, error: unknown): number {
    const first = this.#backoff.attempt === 0;
    const waitMs = Math.max(this.#backoff.next(), this.#retryAfterMs(error));
    this.#next = step === "watch" && !mustList(error) ? "watch" : "list";
    if (isGone(error)) {
      this.#log.info({ err: error }, "the watch's version has expired; listing again");
      return first ? 0 : waitMs;
    }
    this.#health.failures++;
    this.#health.staleSince ??= Date.now();
    // A definition that is not installed yet is no fault: whoever waits for it says so, once.
    if (isNotFound(error)) this.#log.debug({ err: errorText(error), step }, "the resource is not served");
    else
      this.#log.warn(
        { err: errorText(error), step, waitMs: Math.round(waitMs) },
        "list and watch interrupted",
      );
    this.#report(error);
    return waitMs;
  }

  #retryAfterMs(error: unknown): number {
    const seconds = error instanceof KubeError ? (error.retryAfterS ?? 0) : 0;
    return Math.min(seconds * 1000, this.#options.maxRetryAfterMs ?? 60_000);
  }

  #report(error: unknown): void {
    this.#health.lastError = error instanceof Error ? error.message : String(error);
    try {
      this.#options.onError?.(error);
    } catch (second) {
      this.#log.error({ err: second }, "onError threw");
    }
  }
}

/** After these a watch from the last version would be wrong or would fail in the same way for ever. */
function mustList(error: unknown): boolean {
  if (!(error instanceof KubeError)) return false;
  if (error.code === "kube.protocol" || error.code === "kube.rewound") return true;
  // 504 "Too large resource version" is a server that is behind us: restored from a backup, perhaps.
  return error.status === 410 || error.status === 400 || error.status === 404 || error.status === 504;
}

function withoutManagedFields<T extends KubeObject, S>(object: T): S {
  if (object.metadata !== undefined) delete object.metadata.managedFields;
  return object as unknown as S;
}

/** Calls back once when not fed for a while. */
class Watchdog {
  readonly #ms: number;
  readonly #timer: NodeJS.Timeout;

  constructor(ms: number, onSilence: (ms: number) => void) {
    this.#ms = ms;
    this.#timer = setTimeout(() => onSilence(this.#ms), ms);
  }

  feed(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

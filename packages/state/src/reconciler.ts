import {
  AxonError,
  type Backoff,
  backoff,
  type Clock,
  errorText,
  type Logger,
  silentLogger,
  systemClock,
  type Timer,
} from "@axoneme/base";
import type { Change, Key, Table } from "./table.ts";

/** A row an operation could not carry out, beside others of its batch that it could. */
export interface RowFailure<Row> {
  row: Row;
  error: unknown;
}

/** Outcome of an operation: nothing or an empty list = all rows done. Throwing = the whole batch failed. */
export type OpResult<Row> = undefined | readonly RowFailure<Row>[];

/** How rows get to the target. Each operation is idempotent; deleting what is not there succeeds. */
export interface ReconcilerOps<Row> {
  update(rows: readonly Row[]): OpResult<Row> | Promise<OpResult<Row>>;
  delete(rows: readonly Row[]): OpResult<Row> | Promise<OpResult<Row>>;
  /** Removes from the target whatever is not among `all`. Called only by `prune()`. */
  prune?(all: readonly Row[]): undefined | Promise<void>;
}

/** What is known of one row's way to the target. */
export interface RowStatus {
  state: "pending" | "done" | "error";
  /** With state error: the message with its causes. */
  error?: string;
  /** With state error: when it is tried again, ms since the epoch. */
  nextRetry?: number;
  /** Time of the last change of state, ms since the epoch. */
  since: number;
}

/** Summary for `axon status`, health endpoints and metrics. */
export interface ReconcilerHealth {
  name: string;
  healthy: boolean;
  /** Rows desired (without those being deleted). */
  desired: number;
  pending: number;
  failing: number;
  /** Of the row failing longest. */
  error?: string;
  failingSince?: number;
  /** Totals since the start. */
  updates: number;
  deletes: number;
  failures: number;
  prunes: number;
  lastPruneError?: string;
}

export interface ReconcilerOptions<Row extends object> {
  name: string;
  /** Desired rows. */
  table: Pick<Table<Row>, "watch">;
  ops: ReconcilerOps<Row>;
  clock?: Clock;
  logger?: Logger;
  /** Most rows handed to one operation (default 1024). */
  batchSize?: number;
  /** First and longest waiting time of a failed row (default 100 ms and 30 s, doubling). */
  retry?: { baseMs: number; maxMs: number; jitter?: number };
}

interface Entry<Row> {
  key: Key;
  row: Row;
  op: "update" | "delete";
  status: RowStatus;
  retry: Backoff | undefined;
  timer: Timer | undefined;
}

/**
 * Brings a target (a map, links, routes, API objects) to what a table desires: updates and deletes in batches,
 * the status kept per row, failed rows retried alone with growing waiting times while the others go on. Work
 * of one reconciler never overlaps; the newest row wins over one still waiting.
 */
export class Reconciler<Row extends object> {
  readonly name: string;
  readonly #options: ReconcilerOptions<Row>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #entries = new Map<Key, Entry<Row>>();
  #dirty = new Set<Entry<Row>>();
  #stopWatching: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #active = false;
  #pruneWanted: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #counts = { updates: 0, deletes: 0, failures: 0, prunes: 0 };
  #lastPruneError: string | undefined;

  constructor(options: ReconcilerOptions<Row>) {
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Starts following the table. */
  start(): void {
    this.#stopWatching ??= this.#options.table.watch((changes) => this.#take(changes));
  }

  /** Stops following; resolves when the operation in flight has ended. Nothing is undone at the target. */
  async stop(): Promise<void> {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    for (const entry of this.#entries.values()) entry.timer?.cancel();
    this.#dirty.clear();
    await this.#running;
  }

  /** Status of a row; undefined when it is neither desired nor being deleted. */
  status(key: Key): RowStatus | undefined {
    return this.#entries.get(key)?.status;
  }

  /** Rows with their status, those being deleted included. */
  *rows(): Generator<{ row: Row; op: "update" | "delete"; status: RowStatus }> {
    for (const { row, op, status } of this.#entries.values()) yield { row, op, status };
  }

  /** Resolves when every row has been tried and none is pending; failed rows keep their retry time. */
  async flush(): Promise<ReconcilerHealth> {
    await Promise.resolve(); // lets the table deliver writes of this turn
    while (this.#dirty.size > 0 || this.#active) await this.#run();
    return this.health();
  }

  /** Like `flush`, but throws `reconcile.failed` if one of `keys` is not done afterwards. */
  async ensure(keys: Iterable<Key>): Promise<void> {
    await this.flush();
    for (const key of keys) {
      const status = this.status(key);
      if (status?.state === "done") continue;
      const why = status?.error ?? "the row is not desired";
      throw new AxonError("reconcile.failed", `${this.name}: row ${String(key)} is not in place: ${why}`);
    }
  }

  /** Tries every failed row now, not at its retry time. */
  retryNow(): void {
    for (const entry of this.#entries.values()) if (entry.status.state === "error") this.#queue(entry);
    void this.#run();
  }

  /**
   * Removes from the target what is not desired. Call it only once every source of the table has synced.
   * Rejects with the operation's error.
   */
  prune(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => this.#pruneWanted.push({ resolve, reject }));
    void this.#run();
    return done;
  }

  health(): ReconcilerHealth {
    let pending = 0;
    let failing = 0;
    let desired = 0;
    let worst: RowStatus | undefined;
    for (const { op, status } of this.#entries.values()) {
      if (op === "update") desired++;
      if (status.state === "pending") pending++;
      if (status.state !== "error") continue;
      failing++;
      if (worst === undefined || status.since < worst.since) worst = status;
    }
    return {
      name: this.name,
      healthy: failing === 0 && this.#lastPruneError === undefined,
      desired,
      pending,
      failing,
      ...(worst?.error !== undefined && { error: worst.error, failingSince: worst.since }),
      ...this.#counts,
      ...(this.#lastPruneError !== undefined && { lastPruneError: this.#lastPruneError }),
    };
  }

  #take(changes: readonly Change<Row>[]): void {
    for (const { key, previous, row } of changes) {
      const current = row ?? previous;
      if (current === undefined) continue;
      const old = this.#entries.get(key);
      old?.timer?.cancel();
      if (old !== undefined) this.#dirty.delete(old);
      // A new object for each change: an operation in flight then cannot mark the newer row as done.
      const entry: Entry<Row> = {
        key,
        row: current,
        op: row === undefined ? "delete" : "update",
        status: { state: "pending", since: this.#clock.now() },
        retry: undefined,
        timer: undefined,
      };
      this.#entries.set(key, entry);
      this.#dirty.add(entry);
    }
    void this.#run();
  }

  #queue(entry: Entry<Row>): void {
    entry.timer?.cancel();
    entry.status = { state: "pending", since: this.#clock.now() };
    this.#dirty.add(entry);
  }

  #run(): Promise<void> {
    if (!this.#active) {
      this.#active = true;
      this.#running = this.#work();
    }
    return this.#running;
  }

  async #work(): Promise<void> {
    // `#active` falls in the same turn in which nothing is left, so that no change can slip in between.
    try {
      for (;;) {
        if (this.#dirty.size > 0) {
          const dirty = this.#dirty;
          this.#dirty = new Set();
          await this.#apply([...dirty]);
        } else if (this.#pruneWanted.length > 0) await this.#applyPrune();
        else return;
      }
    } finally {
      this.#active = false;
    }
  }

  async #apply(entries: Entry<Row>[]): Promise<void> {
    const size = this.#options.batchSize ?? 1024;
    for (const op of ["update", "delete"] as const) {
      const chosen = entries.filter((entry) => entry.op === op);
      for (let at = 0; at < chosen.length; at += size)
        await this.#applyBatch(op, chosen.slice(at, at + size));
    }
  }

  async #applyBatch(op: "update" | "delete", entries: Entry<Row>[]): Promise<void> {
    const failed = new Map<Row, unknown>();
    try {
      const result = await this.#options.ops[op](entries.map((entry) => entry.row));
      for (const failure of result ?? []) failed.set(failure.row, failure.error);
    } catch (error) {
      // One bad row must not hold up its neighbours: take them one by one.
      if (entries.length > 1) {
        for (const entry of entries) await this.#applyBatch(op, [entry]);
        return;
      }
      for (const entry of entries) failed.set(entry.row, error);
    }
    for (const entry of entries) this.#settle(entry, failed.has(entry.row), failed.get(entry.row));
  }

  #settle(entry: Entry<Row>, failed: boolean, error: unknown): void {
    if (failed) this.#counts.failures++;
    else this.#counts[entry.op === "update" ? "updates" : "deletes"]++;
    if (this.#entries.get(entry.key) !== entry) return;
    if (failed) this.#fail(entry, error);
    else if (entry.op === "delete") this.#entries.delete(entry.key);
    else entry.status = { state: "done", since: this.#clock.now() };
  }

  #fail(entry: Entry<Row>, error: unknown): void {
    entry.retry ??= backoff(this.#options.retry ?? { baseMs: 100, maxMs: 30_000 });
    const ms = entry.retry.next();
    const text = errorText(error);
    const now = this.#clock.now();
    entry.status = { state: "error", error: text, nextRetry: now + ms, since: now };
    this.#logger.warn(
      { reconciler: this.name, op: entry.op, key: entry.key, error: text, retryMs: Math.round(ms) },
      "could not reconcile a row",
    );
    if (this.#stopWatching === undefined) return;
    entry.timer = this.#clock.setTimer(ms, () => {
      if (this.#entries.get(entry.key) !== entry) return;
      this.#queue(entry);
      void this.#run();
    });
  }

  async #applyPrune(): Promise<void> {
    const waiting = this.#pruneWanted;
    this.#pruneWanted = [];
    const all = [...this.#entries.values()]
      .filter((entry) => entry.op === "update")
      .map((entry) => entry.row);
    try {
      await this.#options.ops.prune?.(all);
      this.#counts.prunes++;
      this.#lastPruneError = undefined;
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      this.#lastPruneError = errorText(error);
      this.#logger.warn({ reconciler: this.name, error: this.#lastPruneError }, "could not prune");
      for (const { reject } of waiting) reject(error);
    }
  }
}

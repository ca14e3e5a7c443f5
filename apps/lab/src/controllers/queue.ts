import { type Backoff, backoff, type Clock, errorText, type Logger, type Timer } from "@axoneme/base";

type Outcome = { againMs?: number };

interface Entry {
  running: boolean;
  dirty: boolean;
  timer: { at: number; timer: Timer } | undefined;
  retry: Backoff;
}

export interface WorkQueueOptions {
  name: string;
  /** Keys that run at the same time. */
  parallel?: number;
  /** A key waits so long for more causes before it runs. */
  gatherMs?: number;
  clock: Clock;
  log: Logger;
  run(key: string): Promise<Outcome>;
}

/** Runs a function per key: one at a time for each key, causes that come meanwhile become one more run. */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #ready: string[] = [];
  #running = 0;
  #stopped = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  add(key: string): void {
    if (this.#stopped) return;
    const entry = this.#entry(key);
    if (entry.dirty) return;
    entry.dirty = true;
    if (entry.running) return;
    const { gatherMs = 0 } = this.#options;
    if (gatherMs === 0) this.#push(key);
    else this.#options.clock.setTimer(gatherMs, () => this.#push(key));
  }

  /** Adds the key after a while; of several such wishes the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#stopped) return;
    const entry = this.#entry(key);
    const at = this.#options.clock.now() + ms;
    if (entry.timer !== undefined && entry.timer.at <= at) return;
    entry.timer?.timer.cancel();
    const timer = this.#options.clock.setTimer(ms, () => {
      entry.timer = undefined;
      this.add(key);
    });
    entry.timer = { at, timer };
  }

  stop(): void {
    this.#stopped = true;
    for (const entry of this.#entries.values()) entry.timer?.timer.cancel();
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const retry = backoff({ baseMs: 50, maxMs: 10_000 });
    const entry: Entry = { running: false, dirty: false, timer: undefined, retry };
    this.#entries.set(key, entry);
    return entry;
  }

  #push(key: string): void {
    this.#ready.push(key);
    this.#pump();
  }

  #pump(): void {
    const { parallel = 4 } = this.#options;
    while (this.#running < parallel && !this.#stopped) {
      const key = this.#ready.shift();
      if (key === undefined) return;
      void this.#run(key);
    }
  }

  async #run(key: string): Promise<void> {
    const { run, log, name } = this.#options;
    const entry = this.#entry(key);
    entry.dirty = false;
    entry.running = true;
    this.#running++;
    try {
      const { againMs } = await run(key);
      entry.retry.reset();
      if (againMs !== undefined) this.addAfter(key, againMs);
    } catch (error) {
      const wait = entry.retry.next();
      // One conflict is everyday life; what keeps failing is worth a line.
      if (entry.retry.attempt > 3)
        log.warn({ controller: name, key, err: errorText(error) }, "a reconcile keeps failing");
      this.addAfter(key, wait);
    } finally {
      entry.running = false;
      this.#running--;
      if (entry.dirty) this.#push(key);
      else if (entry.timer === undefined) this.#entries.delete(key);
      this.#pump();
    }
  }
}

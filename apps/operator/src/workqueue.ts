import { type Backoff, backoff } from "@axoneme/base";

/** Works through names one at a time; a name added again while it waits counts once; a failed one is retried. */
export class WorkQueue {
  readonly #work: (name: string) => Promise<void>;
  readonly #onError: (name: string, error: unknown) => void;
  readonly #due = new Set<string>();
  readonly #failures = new Map<string, Backoff>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(work: (name: string) => Promise<void>, onError: (name: string, error: unknown) => void) {
    this.#work = work;
    this.#onError = onError;
  }

  add(name: string): void {
    if (this.#stopped) return;
    this.#due.add(name);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // A name may have come between the last look and now.
      const [next] = this.#due;
      if (next !== undefined) this.add(next);
    });
  }

  /** Drops what waits; resolves when nothing is being worked on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#due.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let [name] = this.#due; name !== undefined; [name] = this.#due) {
      this.#due.delete(name);
      try {
        await this.#work(name);
        this.#failures.delete(name);
      } catch (error) {
        if (this.#stopped) return;
        this.#onError(name, error);
        this.#later(name);
      }
    }
  }

  #later(name: string): void {
    const waits = this.#failures.get(name) ?? backoff({ baseMs: 100, maxMs: 30_000 });
    this.#failures.set(name, waits);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.add(name);
    }, waits.next());
    this.#timers.add(timer);
  }
}

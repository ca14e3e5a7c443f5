import { type Backoff, backoff } from "@axoneme/base";

/**
 * Works through names, `width` side by side, never a name twice at a time; a name added again while it waits counts
 * once; a failed one is retried.
 */
export class WorkQueue {
  readonly #work: (name: string) => Promise<void>;
  readonly #onError: (name: string, error: unknown) => void;
  readonly #width: number;
  readonly #due = new Set<string>();
  readonly #busy = new Set<string>();
  readonly #failures = new Map<string, Backoff>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running = new Set<Promise<void>>();
  #workers = 0;
  #stopped = false;

  constructor(
    work: (name: string) => Promise<void>,
    onError: (name: string, error: unknown) => void,
    width = 1,
  ) {
    this.#work = work;
    this.#onError = onError;
    this.#width = width;
  }

  add(name: string): void {
    if (this.#stopped) return;
    this.#due.add(name);
    // Whoever works on the name looks again when done.
    if (this.#workers >= this.#width || this.#busy.has(name)) return;
    this.#workers++;
    const run: Promise<void> = this.#run().finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  /** Drops what waits; resolves when nothing is being worked on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#due.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    for (let name = this.#next(); name !== undefined; name = this.#next()) {
      this.#due.delete(name);
      this.#busy.add(name);
      try {
        await this.#work(name);
        this.#failures.delete(name);
      } catch (error) {
        if (!this.#stopped) {
          this.#onError(name, error);
          this.#later(name);
        }
      } finally {
        this.#busy.delete(name);
      }
    }
    this.#workers--;
  }

  #next(): string | undefined {
    for (const name of this.#due) if (!this.#busy.has(name)) return name;
    return undefined;
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

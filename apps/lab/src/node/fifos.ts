import { execFile } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * Named pipes for container output. Node cannot make one, so they are made by `mkfifo` in batches and
 * moved to where they are wanted: a burst of pods costs one process per batch, not per container.
 *
 * Why pipes with names: the container holds both ends of its output (opened for reading and writing), so
 * it survives a restart of the runner without SIGPIPE, and the next runner reads on where the last stopped.
 */
export class FifoPool {
  readonly #dir: string;
  readonly #batch: number;
  #ready: string[] = [];
  #refill: Promise<void> | undefined;
  #made = 0;

  constructor(dir: string, batch = 64) {
    this.#dir = dir;
    this.#batch = batch;
    mkdirSync(dir, { recursive: true });
  }

  /** Places a fresh pipe at `path`, on the same file system as the pool. */
  async take(path: string): Promise<void> {
    let fifo = this.#ready.pop();
    while (fifo === undefined) {
      await this.#fill();
      fifo = this.#ready.pop();
    }
    renameSync(fifo, path);
    if (this.#ready.length < this.#batch / 4) void this.#fill().catch(() => undefined);
  }

  #fill(): Promise<void> {
    this.#refill ??= this.#make().finally(() => {
      this.#refill = undefined;
    });
    return this.#refill;
  }

  async #make(): Promise<void> {
    const names = Array.from({ length: this.#batch }, () =>
      join(this.#dir, `${process.pid}-${this.#made++}`),
    );
    await run("mkfifo", ["-m", "600", ...names]);
    this.#ready.push(...names);
  }
}

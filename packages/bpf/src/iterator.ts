import { BpfError, check, errnoText } from "./errors.ts";
import { Fd } from "./fd.ts";
import type { BpfMap } from "./map.ts";
import { native } from "./native.ts";
import type { Program } from "./program.ts";

/** Bytes that one run may write. */
const outputLimit = 64 << 20;

/** Where an iterator runs. */
export interface IteratorRun {
  /** Network namespace whose sockets are walked; default the process's own. It stays the caller's. */
  readonly netnsFd?: number;
}

/**
 * A program of type `iter/...`: the kernel runs it once for each of its objects of that kind, when asked to.
 * All errors are `bpf.iterator`.
 */
export class BpfIterator {
  readonly what: string;
  readonly #fd: Fd;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(fd: Fd) {
    this.#fd = fd;
    this.what = fd.what;
  }

  /** `map`: the one whose elements an iterator of maps walks (iter/bpf_map_elem, iter/bpf_sk_storage_map). */
  static attach(program: Program, map?: BpfMap): BpfIterator {
    const what = `iterator ${program.name}`;
    const raw = check(native().iterLink(program.fd, map?.fd ?? -1), "bpf.iterator", `attach ${what}`);
    return new BpfIterator(new Fd(raw, what));
  }

  /**
   * Runs the program over all objects, off this thread; resolves with what it wrote. Runs of one iterator follow
   * each other.
   */
  run({ netnsFd = -1 }: IteratorRun = {}): Promise<Uint8Array> {
    const run = this.#running.then(async () => {
      const result = await native().iterRun(this.#fd.raw, netnsFd, outputLimit);
      if (typeof result !== "number") return result;
      throw new BpfError("bpf.iterator", `${this.what}: run: ${errnoText(-result)}`, { errno: -result });
    });
    this.#running = run.catch(() => undefined);
    return run;
  }

  /** Runs that were asked for still end, then nothing holds the program. Idempotent. */
  async close(): Promise<void> {
    await this.#running;
    this.#fd.close();
  }
}

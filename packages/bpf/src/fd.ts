import { BpfError } from "./errors.ts";
import { native } from "./native.ts";

const open = new Map<number, string>();

/** A descriptor with one owner. `raw` throws `bpf.closed` after `close()`, so that a reused number is never hit. */
export class Fd {
  readonly what: string;
  #raw: number;

  constructor(raw: number, what: string) {
    this.#raw = raw;
    this.what = what;
    open.set(raw, what);
  }

  get raw(): number {
    if (this.#raw < 0) throw new BpfError("bpf.closed", `${this.what} is closed`);
    return this.#raw;
  }

  get closed(): boolean {
    return this.#raw < 0;
  }

  /** Idempotent. */
  close(): void {
    if (this.#raw < 0) return;
    open.delete(this.#raw);
    native().close(this.#raw);
    this.#raw = -1;
  }

  /** Gives the number to a new owner, who closes it; this object counts as closed. */
  release(): number {
    const raw = this.raw;
    open.delete(raw);
    this.#raw = -1;
    return raw;
  }
}

/** Descriptors this package holds open; a test that ends with more than it began with leaks. */
export function openFds(): number {
  return open.size;
}

/** What the open descriptors are, for a leak test's message. */
export function describeOpenFds(): string[] {
  return [...open].map(([fd, what]) => `${fd}: ${what}`);
}

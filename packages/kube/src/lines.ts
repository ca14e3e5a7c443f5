import { AxonError } from "@axoneme/base";

const newline = 0x0a;

/**
 * Splits a byte stream into lines whatever its chunks. Only a line with its newline counts: the tail of a
 * stream that was cut is never delivered. Empty lines are skipped.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onLine: (line: string) => void;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** @param maxBytes longest line accepted; a longer one throws `kube.lineTooLong` from `push`. */
  constructor(maxBytes: number, onLine: (line: string) => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
  }

  /** Bytes of the unfinished line. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      this.#emit(chunk.subarray(from, at));
      from = at + 1;
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
  }

  #emit(end: Buffer): void {
    this.#check(end.length);
    const line = this.#pending.length === 0 ? end : Buffer.concat([...this.#pending, end]);
    this.#pending = [];
    this.#pendingBytes = 0;
    const text = line.toString("utf8").trim();
    if (text !== "") this.#onLine(text);
  }

  #keep(rest: Buffer): void {
    this.#check(rest.length);
    this.#pending.push(rest);
    this.#pendingBytes += rest.length;
  }

  #check(more: number): void {
    if (this.#pendingBytes + more <= this.#maxBytes) return;
    throw new AxonError("kube.lineTooLong", `a line of the watch exceeds ${this.#maxBytes} bytes`);
  }
}

import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync, writeSync } from "node:fs";
import { Emitter } from "@axoneme/base";

/** What `kubectl logs` may ask for. */
export interface LogQuery {
  follow: boolean;
  tailLines?: number;
  /** Only lines from this moment on (milliseconds since the epoch). */
  since?: number;
  timestamps: boolean;
  limitBytes?: number;
}

/** A line as it lies in the file: an RFC 3339 time, a space, the text. */
interface Line {
  time: string;
  text: string;
}

const longestLine = 16 * 1024;

/**
 * The output of one run of a container, line by line with arrival times, in a file that is rotated once
 * it reaches `maxBytes` (one older part is kept).
 */
export class ContainerLog {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #appended = new Emitter<Line>();
  readonly #closed = new Emitter<void>();
  #fd: number | undefined;
  #size = 0;
  #partial = "";
  #isClosed = false;

  constructor(path: string, maxBytes = 2 * 1024 * 1024) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    if (existsSync(path)) this.#size = statSync(path).size;
  }

  /** Takes output as it comes; an unfinished line waits for its end. */
  append(chunk: string, now = new Date()): void {
    const lines = (this.#partial + chunk).split("\n");
    this.#partial = lines.pop() ?? "";
    if (this.#partial.length > longestLine) {
      lines.push(this.#partial);
      this.#partial = "";
    }
    const time = now.toISOString();
    for (const text of lines) this.#write({ time, text });
  }

  /** Ends the log: followers finish. */
  close(): void {
    if (this.#isClosed) return;
    if (this.#partial !== "") this.append("\n");
    this.#isClosed = true;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#closed.emit();
  }

  /** The lines that match, then, when following, those to come until the log ends or `signal` aborts. */
  async *read(query: LogQuery, signal: AbortSignal): AsyncGenerator<string> {
    let budget = query.limitBytes ?? Number.POSITIVE_INFINITY;
    const queue: Line[] = this.#stored(query);
    let wake: () => void = () => undefined;
    const nudge = (): void => wake();
    const stopLines = this.#appended.on((line) => {
      queue.push(line);
      nudge();
    });
    const stopClosed = this.#closed.on(nudge);
    signal.addEventListener("abort", nudge);
    try {
      for (;;) {
        const text = queue
          .splice(0)
          .map((line) => `${query.timestamps ? `${line.time} ` : ""}${line.text}\n`)
          .join("");
        if (text !== "") {
          const bytes = Buffer.from(text);
          yield bytes.length <= budget ? text : bytes.subarray(0, budget).toString();
          budget -= bytes.length;
        }
        if (signal.aborted || budget <= 0 || !query.follow) return;
        if (queue.length > 0) continue;
        if (this.#isClosed) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      stopLines();
      stopClosed();
      signal.removeEventListener("abort", nudge);
    }
  }

  /** The last lines, for error messages. */
  tail(lines: number): string {
    return this.#stored({ follow: false, timestamps: false, tailLines: lines })
      .map(({ text }) => text)
      .join("\n");
  }

  #stored(query: LogQuery): Line[] {
    let lines = [`${this.#path}.1`, this.#path].flatMap(readLines);
    const { since, tailLines } = query;
    if (since !== undefined) lines = lines.filter((line) => Date.parse(line.time) >= since);
    if (tailLines !== undefined) lines = tailLines === 0 ? [] : lines.slice(-tailLines);
    return lines;
  }

  #write(line: Line): void {
    const bytes = Buffer.from(`${line.time} ${line.text}\n`);
    if (this.#size + bytes.length > this.#maxBytes) this.#rotate();
    this.#fd ??= openSync(this.#path, "a", 0o600);
    writeSync(this.#fd, bytes);
    this.#size += bytes.length;
    this.#appended.emit(line);
  }

  #rotate(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    if (existsSync(this.#path)) renameSync(this.#path, `${this.#path}.1`);
    this.#size = 0;
  }
}

function readLines(path: string): Line[] {
  if (!existsSync(path)) return [];
  const rows = readFileSync(path, "utf8").split("\n");
  rows.pop();
  return rows.map((row) => {
    const space = row.indexOf(" ");
    return { time: row.slice(0, space), text: row.slice(space + 1) };
  });
}

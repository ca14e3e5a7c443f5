import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errorText } from "@axoneme/base";
import type { DumpEntry, DumpItem } from "./item.ts";

/** How much, and how long, at most. */
export interface CollectOptions {
  /** Of one item. Milliseconds. */
  readonly timeoutMs: number;
  /** Of one item: what is over is cut off and said so. */
  readonly mostBytes: number;
  /** Items at a time. */
  readonly width: number;
  /** Ends it: what is there by then stays. */
  readonly signal: AbortSignal;
  readonly onEntry: (entry: DumpEntry, done: number) => void;
}

/** Writes what items say into files below `directory`. An item that fails is an entry with the reason, and ends nothing. */
export async function collect(
  items: readonly DumpItem[],
  directory: string,
  options: CollectOptions,
): Promise<DumpEntry[]> {
  const entries: DumpEntry[] = [];
  const queue = [...items];
  const work = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      const entry = options.signal.aborted
        ? { path: item.path, bytes: 0, error: "interrupted" }
        : await one(item, directory, options);
      entries.push(entry);
      options.onEntry(entry, entries.length);
    }
  };
  await Promise.all(Array.from({ length: options.width }, work));
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function one(
  { path, read }: DumpItem,
  directory: string,
  { signal, timeoutMs, mostBytes }: CollectOptions,
): Promise<DumpEntry> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const text = await Promise.race([read(limit), aborted(limit)]);
    if (text === undefined) return { path, bytes: 0 };
    const bytes = Buffer.from(text);
    const file = join(directory, path);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, bytes.subarray(0, mostBytes), { mode: 0o600 });
    const cut = Math.max(0, bytes.length - mostBytes);
    return { path, bytes: bytes.length - cut, ...(cut > 0 && { cut }) };
  } catch (error) {
    const isLate = limit.aborted && !signal.aborted;
    const reason = signal.aborted
      ? "interrupted"
      : isLate
        ? `no answer within ${timeoutMs / 1000} s`
        : errorText(error);
    return { path, bytes: 0, error: reason };
  }
}

/** Rejects when the signal aborts: not everything that is waited for listens to one. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    else signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

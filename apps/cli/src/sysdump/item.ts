import { open } from "node:fs/promises";

/** Something a dump is to hold. */
export interface DumpItem {
  /** Path in the archive. */
  readonly path: string;
  /** Writes it; `signal` aborts when its time is over. Returns the text, or undefined where there is nothing. */
  readonly read: (signal: AbortSignal) => Promise<string | undefined>;
}

/** What became of an item: a line of the archive's manifest. */
export interface DumpEntry {
  readonly path: string;
  /** Of the text, before compression. */
  readonly bytes: number;
  /** What was cut off, in bytes. */
  readonly cut?: number;
  /** Why it is not there. */
  readonly error?: string;
}

/** An object as text: indented, with a final line feed. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 1)}\n`;
}

/** Of a log: its end. */
const mostLogBytes = 4 << 20;

/** The end of a file; undefined when there is none. @throws what reading it throws */
export async function tailOf(path: string, signal: AbortSignal): Promise<string | undefined> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, mostLogBytes));
    await file.read(bytes, 0, bytes.length, Math.max(0, size - bytes.length));
    signal.throwIfAborted();
    return bytes.toString();
  } finally {
    await file.close();
  }
}

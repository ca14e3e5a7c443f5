import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { AxonError, delay } from "@axoneme/base";

/** A lock that is held; released once. */
export interface Lock {
  release(): void;
}

/**
 * Takes a lock file, so that one `up` or `down` works on a lab at a time. A lock whose process has ended
 * (the file tells its id and start time) is taken over. Throws `lab.locked`.
 */
export function takeLock(path: string, what: string): Lock {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    try {
      const fd = openSync(path, "wx", 0o600);
      writeSync(fd, JSON.stringify({ pid: process.pid, start: startTime(process.pid), what }));
      closeSync(fd);
      return { release: () => rmSync(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = readHolder(path);
    if (holder !== undefined && startTime(holder.pid) === holder.start) {
      throw new AxonError(
        "lab.locked",
        `process ${holder.pid} is at work on this lab (${holder.what}): wait for it, or end it, and try again`,
      );
    }
    rmSync(path, { force: true });
  }
}

/** As takeLock, but waits for a holder that needs it for a moment only. Throws `lab.locked` after ten seconds. */
export async function waitForLock(path: string, what: string): Promise<Lock> {
  const until = Date.now() + 10_000;
  for (;;) {
    try {
      return takeLock(path, what);
    } catch (error) {
      if (!(error instanceof AxonError) || error.code !== "lab.locked" || Date.now() >= until) throw error;
    }
    await delay(20);
  }
}

interface Holder {
  pid: number;
  start: string;
  what: string;
}

function readHolder(path: string): Holder | undefined {
  try {
    const holder = JSON.parse(readFileSync(path, "utf8")) as Partial<Holder>;
    return typeof holder.pid === "number" && typeof holder.start === "string"
      ? (holder as Holder)
      : undefined;
  } catch {
    return undefined;
  }
}

/** When a process started, in clock ticks since boot (field 22 of its stat); "" when there is none. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is a name that may hold blanks and parentheses: count from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // One that was killed and waits for its parent to notice holds nothing any more.
    return fields[0] === "Z" || fields[0] === "X" ? "" : (fields[19] ?? "");
  } catch {
    return "";
  }
}

import { randomUUID } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
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
  const own = `${path}.${process.pid}.${randomUUID()}`;
  // Written before it gets its name: a lock that could be seen empty would look like one of the dead.
  writeFileSync(own, JSON.stringify({ pid: process.pid, start: startTime(process.pid), what }), {
    mode: 0o600,
  });
  try {
    while (!linked(own, path)) makeWay(path);
  } finally {
    rmSync(own, { force: true });
  }
  return { release: () => rmSync(path, { force: true }) };
}

/** Gives a file a further name; false when the name is in use. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Takes the lock of a dead process away. Throws `lab.locked` when its process lives. */
function makeWay(path: string): void {
  const text = textOf(path);
  if (text === undefined) return;
  const holder = readHolder(text);
  if (holder !== undefined && startTime(holder.pid) === holder.start) {
    throw new AxonError(
      "lab.locked",
      `process ${holder.pid} is at work on this lab (${holder.what}): wait for it, or end it, and try again`,
    );
  }
  // Moved aside, and looked at again: another one may have made way and taken the lock since it was read.
  const aside = `${path}.${process.pid}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (textOf(aside) !== text) linked(aside, path);
  rmSync(aside, { force: true });
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

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function readHolder(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Partial<Holder>;
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

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError, waitFor } from "@axoneme/base";

/** Where cgroup2 is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host. */
export function cgroup2Root(mounts = readFileSync("/proc/self/mountinfo", "utf8")): string {
  for (const line of mounts.split("\n")) {
    const [before, after] = line.split(" - ");
    if (after?.startsWith("cgroup2 ") !== true) continue;
    const [, , , root, point] = (before ?? "").split(" ");
    if (root === "/" && point !== undefined) return point;
  }
  throw new AxonError(
    "lab.cgroup2",
    "no cgroup2 file system is mounted: mount one on /sys/fs/cgroup/unified",
  );
}

export function createCgroup(path: string): void {
  mkdirSync(path, { recursive: true });
}

/** Moves a process; 0 is the caller. */
export function joinCgroup(path: string, pid = 0): void {
  writeFileSync(join(path, "cgroup.procs"), String(pid));
}

/** The groups below and including `path`, deepest first; empty when it does not exist. */
export function cgroupTree(path: string): string[] {
  if (!existsSync(path)) return [];
  const below = readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => cgroupTree(join(path, entry.name)));
  return [...below, path];
}

/** Process ids in the group itself. */
export function cgroupPids(path: string): number[] {
  try {
    return readFileSync(join(path, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Whether any process lives in the group or below it. */
export function isPopulated(path: string): boolean {
  try {
    return /^populated 1$/m.test(readFileSync(join(path, "cgroup.events"), "utf8"));
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/** SIGKILL to everything in and below the group. */
export function killCgroup(path: string): void {
  try {
    writeFileSync(join(path, "cgroup.kill"), "1");
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Kills what lives in the group, then removes it and all below. */
export async function removeCgroup(path: string, timeoutMs = 10_000): Promise<void> {
  if (!existsSync(path)) return;
  if (isPopulated(path)) killCgroup(path);
  await waitFor(() => tryRemove(path), { timeoutMs, everyMs: 5, what: `the processes in ${path} to end` });
}

function tryRemove(path: string): boolean {
  for (const group of cgroupTree(path)) {
    try {
      rmdirSync(group);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EBUSY") {
        // Somebody may have forked between the kill and now.
        if (isPopulated(group)) killCgroup(group);
        return false;
      }
      if (!isGone(error)) throw error;
    }
  }
  return true;
}

/** The cgroup2 path of a process, relative to the root ("/" at the root). */
export function cgroupOf(pid: number): string | undefined {
  try {
    return /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1];
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** Whether the file or process an error is about has gone meanwhile. */
export function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ESRCH" || code === "ENODEV";
}

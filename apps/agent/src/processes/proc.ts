import { readFileSync, readlinkSync } from "node:fs";

/** Nanoseconds of a tick in /proc (USER_HZ is 100 on all that we run on). */
const tickNs = 10_000_000n;
/** Number of the first namespace of processes (PROC_PID_INIT_INO). */
const firstNamespace = "pid:[4026531836]";

/** Whether this program sees the node's processes by the numbers that the kernel gives them. */
export function seesProcesses(): boolean {
  try {
    return readlinkSync("/proc/self/ns/pid") === firstNamespace;
  } catch {
    // A kernel without such namespaces has only the first.
    return true;
  }
}

/** Nanoseconds from the machine's start (CLOCK_BOOTTIME) to wall time, by the kernel's hundredths. */
export function bootWallNs(): bigint {
  const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  return BigInt(Math.round((Date.now() - uptime * 1000) * 1e6));
}

/** Whether the process that was started then still runs under that number. */
export function isRunning(pid: number, startNs: bigint): boolean {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return false;
  }
  // The name in brackets may hold anything; of what is behind it, field 3 is the state and 22 the start.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] !== "Z" && BigInt(fields[19] ?? -1) === startNs / tickNs;
}

/** The executable's path as the kernel tells it; undefined once the process is gone. */
export function executableOf(pid: number, startNs: bigint): string | undefined {
  try {
    const path = readlinkSync(`/proc/${pid}/exe`);
    return isRunning(pid, startNs) ? path.replace(/ \(deleted\)$/, "") : undefined;
  } catch {
    return undefined;
  }
}

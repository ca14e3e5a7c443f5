import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { BpfError, check } from "./errors.ts";
import { native } from "./native.ts";

/** Mounts a bpffs at a folder (made when missing) unless one is there. True: mounted now. Throws `bpf.mount`. */
export function mountBpffs(path: string): boolean {
  mkdirSync(path, { recursive: true });
  return check(native().mountBpffs(path), "bpf.mount", `mount a bpffs at ${path}`) === 1;
}

/** Unmounts it; pins of a bpffs mounted nowhere else are gone with it. */
export function unmountBpffs(path: string): void {
  check(native().unmount(path), "bpf.mount", `unmount ${path}`);
}

/** Whether a folder lies in a bpffs. */
export function isBpffs(path: string): boolean {
  return native().isBpffs(path) === 1;
}

interface Mount {
  path: string;
  type: string;
}

function mounts(): Mount[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").split("\n");
  return lines.map((line) => {
    const [, path = "", type = ""] = line.split(" ");
    return { path: path.replaceAll("\\040", " "), type };
  });
}

/** Where the cgroup v2 hierarchy is mounted. Throws `bpf.cgroup` when it is not. */
export function findCgroup2(): string {
  const found = mounts().filter((mount) => mount.type === "cgroup2");
  const usual = found.find(({ path }) => path === "/sys/fs/cgroup" || path === "/sys/fs/cgroup/unified");
  const best = usual ?? found[0];
  if (best) return best.path;
  throw new BpfError("bpf.cgroup", "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
}

/** A cgroup's id as bpf_get_current_cgroup_id returns it: the inode number on a 64-bit kernel. */
export function cgroupId(path: string): bigint {
  return statSync(path, { bigint: true }).ino;
}

/** Where tracefs is, mounted if need be. */
export function tracefs(): string {
  const found = mounts().find((mount) => mount.type === "tracefs");
  if (found) return found.path;
  const path = "/sys/kernel/tracing";
  if (!existsSync(path)) throw new BpfError("bpf.mount", "the kernel has no tracefs (CONFIG_FTRACE)");
  check(native().mountTracefs(path), "bpf.mount", `mount tracefs at ${path}`);
  return path;
}

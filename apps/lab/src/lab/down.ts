import { existsSync, lstatSync, readdirSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { AxonError, errorText, waitFor } from "@axoneme/base";
import { isErrno, Netlink, Netns } from "@axoneme/netlink";
import { removeNamespace } from "../network/build.ts";
import { mountsBelow } from "../network/mounts.ts";
import { cgroupOf, cgroupTree, isPopulated, killCgroup, removeCgroup } from "./cgroup.ts";
import { hostRoots } from "./config.ts";
import { describeLeftovers, isClean, labPins, leftovers } from "./leftovers.ts";
import { takeLock } from "./lock.ts";
import { type HostRoots, type LabPaths, labPaths } from "./paths.ts";

export interface LabDownOptions {
  name: string;
  onProgress?: (message: string) => void;
}

/**
 * Removes a lab: processes, pins, namespaces, mounts, links, cgroups, state. It works from what it finds on
 * the machine, so that it also clears what a crash, a half-finished `up` or a damaged state directory left.
 * Returns false when there was nothing. Throws `lab.leftovers` naming what could not be removed.
 */
export async function labDown(options: LabDownOptions, roots: HostRoots = hostRoots()): Promise<boolean> {
  const paths = labPaths(options.name, roots);
  const before = await leftovers(options.name, roots);
  if (isClean({ ...before, files: before.files.filter((file) => file !== paths.lock) })) {
    return false;
  }
  const lock = takeLock(paths.lock, `lab down ${options.name}`);
  try {
    await removeLab(paths, roots, options.onProgress ?? (() => undefined));
  } finally {
    lock.release();
  }
  const rest = await leftovers(options.name, roots);
  if (!isClean(rest)) {
    throw new AxonError(
      "lab.leftovers",
      `the lab ${options.name} is down, but this is left: ${describeLeftovers(rest)}`,
    );
  }
  return true;
}

/** The work of `down`, for callers that hold the lock. */
export async function removeLab(
  paths: LabPaths,
  roots: HostRoots,
  say: (message: string) => void,
): Promise<void> {
  refuseSuicide(paths);
  const problems: string[] = [];
  const step = async (message: string, work: () => Promise<void> | void): Promise<void> => {
    say(message);
    try {
      await work();
    } catch (error) {
      // The rest must go all the same; what is left is told at the end.
      problems.push(errorText(error));
    }
  };
  await step("ending processes", () => endProcesses(paths));
  await step("removing pins", () => {
    for (const pin of labPins(paths.lab, roots)) removeTree(pin);
  });
  await step("removing namespaces", () => removeNamespaces(paths));
  await step("removing links", () => removeLinks(paths.linkPrefix));
  await step("removing cgroups", () => removeCgroup(paths.cgroup));
  await step("removing the state directory", () => {
    rmSync(paths.state, { recursive: true, force: true });
  });
  if (problems.length > 0)
    throw new AxonError("lab.down", `the lab ${paths.lab} could not be removed: ${problems.join("; ")}`);
}

/** Who calls from inside the lab would end itself before the work is done. */
function refuseSuicide(paths: LabPaths): void {
  const own = cgroupOf(process.pid);
  if (own?.split("/").includes(`axon-${paths.lab}`) === true) {
    throw new AxonError(
      "lab.inside",
      `this process runs inside the lab ${paths.lab}: take it down from outside`,
    );
  }
}

async function endProcesses(paths: LabPaths): Promise<void> {
  if (!existsSync(paths.cgroup)) return;
  // The supervisor first, or it would start again what ends.
  killCgroup(join(paths.cgroup, "control"));
  killCgroup(paths.cgroup);
  await waitFor(
    () => {
      for (const group of cgroupTree(paths.cgroup)) if (isPopulated(group)) killCgroup(group);
      return !isPopulated(paths.cgroup);
    },
    { timeoutMs: 15_000, everyMs: 10, what: `the processes in ${paths.cgroup} to end` },
  );
}

async function removeNamespaces(paths: LabPaths): Promise<void> {
  if (existsSync(paths.netnsDir)) {
    const names = readdirSync(paths.netnsDir);
    // Some at a time: the kernel waits a little for each, and they do not depend on each other.
    while (names.length > 0) {
      await Promise.all(names.splice(0, 32).map((name) => removeNamespace(paths.netns(name))));
    }
  }
  // Mounts whose files are elsewhere than expected, or stacked on one another.
  for (let round = 0; round < 8; round++) {
    const mounts = mountsBelow(paths.state);
    if (mounts.length === 0) return;
    for (const { point } of mounts) {
      try {
        await Netns.delete(point);
      } catch (error) {
        // Deleting unmounts and then unlinks; a directory stays, and goes with the state.
        if (!isErrno(error, "EISDIR", "ENOENT", "EPERM", "EBUSY")) throw error;
      }
    }
  }
}

async function removeLinks(prefix: string): Promise<void> {
  const netlink = Netlink.open();
  try {
    for (const { name, index } of await netlink.linkList()) {
      if (!name.startsWith(prefix)) continue;
      try {
        await netlink.linkDel(index);
      } catch (error) {
        // The other end of a pair goes with the first.
        if (!isErrno(error, "ENODEV")) throw error;
      }
    }
  } finally {
    netlink.close();
  }
}

/** bpffs knows neither recursive removal nor a reliable directory type in listings. */
function removeTree(path: string): void {
  for (const name of readdirSync(path)) {
    const child = join(path, name);
    if (lstatSync(child).isDirectory()) removeTree(child);
    else unlinkSync(child);
  }
  rmdirSync(path);
}

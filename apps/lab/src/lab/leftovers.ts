import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Netlink } from "@axoneme/netlink";
import { mountsBelow } from "../network/mounts.ts";
import { cgroupPids, cgroupTree } from "./cgroup.ts";
import { hostRoots } from "./config.ts";
import { type HostRoots, labPaths } from "./paths.ts";

/** What is there of a lab on this machine; all empty when it left nothing. */
export interface Leftovers {
  /** Files of namespaces. */
  namespaces: string[];
  mounts: string[];
  /** Links in the caller's network namespace. */
  links: string[];
  cgroups: string[];
  /** Directories below the bpf file system. */
  pins: string[];
  processes: number[];
  /** The state directory and the lock. */
  files: string[];
}

/** Lists everything that belongs to a lab, by looking at the system and not at the lab's own records. */
export async function leftovers(lab: string, roots: HostRoots = hostRoots()): Promise<Leftovers> {
  const paths = labPaths(lab, roots);
  const cgroups = cgroupTree(paths.cgroup);
  return {
    namespaces: listed(paths.netnsDir).map((name) => paths.netns(name)),
    mounts: mountsBelow(paths.state).map(({ point }) => point),
    links: await linksNamed(paths.linkPrefix),
    cgroups,
    pins: labPins(lab, roots),
    processes: cgroups.flatMap(cgroupPids),
    files: [paths.state, paths.lock].filter((file) => existsSync(file)),
  };
}

export function isClean(rest: Leftovers): boolean {
  return Object.values(rest).every((list: unknown[]) => list.length === 0);
}

/** One line for messages: what is left, by kind. */
export function describeLeftovers(rest: Leftovers): string {
  return Object.entries(rest)
    .filter(([, list]: [string, unknown[]]) => list.length > 0)
    .map(
      ([kind, list]: [string, unknown[]]) =>
        `${kind}: ${list.slice(0, 5).join(", ")}${list.length > 5 ? ", ..." : ""}`,
    )
    .join("; ");
}

function listed(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}

/**
 * Pin directories axon-<lab>-<node>. A lab named "a" must not claim those of a lab named "a-b": a directory
 * belongs to the longest lab name that has one.
 */
export function labPins(lab: string, roots: HostRoots): string[] {
  const others = listed(roots.run).filter((name) => name.startsWith(`${lab}-`));
  return listed(roots.bpffs)
    .filter((name) => name.startsWith(`axon-${lab}-`))
    .filter((name) => !others.some((other) => name.startsWith(`axon-${other}-`)))
    .map((name) => join(roots.bpffs, name));
}

async function linksNamed(prefix: string): Promise<string[]> {
  const netlink = Netlink.open();
  try {
    return (await netlink.linkList()).map(({ name }) => name).filter((name) => name.startsWith(prefix));
  } finally {
    netlink.close();
  }
}

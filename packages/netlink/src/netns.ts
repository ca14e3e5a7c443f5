import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";
import { NetlinkError } from "./errors.ts";
import { native } from "./native.ts";

/** A network namespace: the path of its file, an open descriptor of it, or undefined for the caller's own. */
export type NetnsRef = string | number | undefined;

/** Options of {@link Netns.create}. */
export interface NetnsOptions {
  /** Bring `lo` up (default true). */
  readonly loopback?: boolean;
  /** Sysctls to write in it before anyone can see it. */
  readonly sysctls?: Readonly<Record<string, string | number>>;
}

/** How a namespace is called in errors. */
export function netnsName(netns: NetnsRef): string {
  if (netns === undefined) return "the own namespace";
  return typeof netns === "string" ? `namespace ${netns}` : `the namespace of descriptor ${netns}`;
}

/** Opens the file of a namespace; the caller closes the descriptor. Throws NetlinkError. */
export function openNetns(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw namespaceError("open", path, error);
  }
}

/** Closes a descriptor got from this package. */
export function closeFd(fd: number): void {
  closeSync(fd);
}

/**
 * The number by which eBPF programs know a namespace (SO_NETNS_COOKIE, Linux 5.14): never used again while the
 * machine runs. Throws NetlinkError.
 */
export function netnsCookie(netns: NetnsRef): bigint {
  const cookie = withNetns(netns, (fd) => native().netnsCookie(fd));
  if (typeof cookie === "bigint") return cookie;
  throw new NetlinkError({ op: "read the cookie of", object: netnsName(netns), kind: "namespace" }, -cookie);
}

function namespaceError(op: string, path: string, error: unknown): unknown {
  const errno = (error as NodeJS.ErrnoException).errno;
  if (errno === undefined) return error;
  return new NetlinkError({ op, object: netnsName(path), kind: "namespace" }, -errno);
}

/** Calls `use` with a descriptor of the namespace (-1: own) that stays open until the result has settled. */
async function withNetnsAsync<T>(netns: NetnsRef, use: (nsFd: number) => Promise<T>): Promise<T> {
  if (typeof netns !== "string") return use(netns ?? -1);
  const fd = openNetns(netns);
  try {
    return await use(fd);
  } finally {
    closeSync(fd);
  }
}

/** The same for something that is done at once. */
export function withNetns<T>(netns: NetnsRef, use: (nsFd: number) => T): T {
  if (typeof netns !== "string") return use(netns ?? -1);
  const fd = openNetns(netns);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Where /proc/sys can be written: containers see it read-only and are given `net` of it elsewhere. */
const procSys = process.env["AXON_PROC_SYS"] || "/proc/sys";

/** The file of a key: "net.ipv4.ip_forward", or with slashes where a name holds dots ("net/ipv4/conf/eth0.1/rp_filter"). */
export function sysctlFile(key: string): string {
  const path = key.includes("/") ? key : key.replaceAll(".", "/");
  const isPlain = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  if (!isPlain)
    throw new NetlinkError({ op: "find", object: `sysctl ${key}`, kind: "sysctl" }, constants.errno.EINVAL);
  return `${procSys}/${path}`;
}

type Settings = Readonly<Record<string, string | number>>;

function flat(settings: Settings): string[] {
  return Object.entries(settings).flatMap(([key, value]) => [sysctlFile(key), String(value)]);
}

function sysctlError(netns: NetnsRef, settings: Settings, failed: number, rc: number): NetlinkError {
  const [key, value] = Object.entries(settings)[failed] ?? ["", ""];
  const object = failed < 0 ? netnsName(netns) : `sysctl ${key}=${value} in ${netnsName(netns)}`;
  return new NetlinkError({ op: failed < 0 ? "enter" : "write", object, kind: "sysctl" }, -rc);
}

/** Writes several sysctls (net.*) inside the namespace, in order. Throws NetlinkError at the first that fails. */
export async function sysctlSetAll(netns: NetnsRef, settings: Settings): Promise<void> {
  const [rc, failed] = await withNetnsAsync(netns, (fd) => native().sysctlWrite(fd, flat(settings)));
  if (rc !== 0) throw sysctlError(netns, settings, failed, rc);
}

/** Writes one sysctl (net.*) inside the namespace. Throws NetlinkError. */
export function sysctlSet(netns: NetnsRef, key: string, value: string | number): Promise<void> {
  return sysctlSetAll(netns, { [key]: value });
}

/** Reads a sysctl (net.*) inside the namespace, without the final newline. Throws NetlinkError. */
export function sysctlGet(netns: NetnsRef, key: string): string {
  const file = sysctlFile(key);
  const value = withNetns(netns, (fd) => native().sysctlRead(fd, file));
  if (typeof value === "string") return value.trimEnd();
  throw new NetlinkError(
    { op: "read", object: `sysctl ${key} in ${netnsName(netns)}`, kind: "sysctl" },
    -value,
  );
}

/** Network namespaces as files: made and deleted off the loop, by threads that end with the work. */
export const Netns = {
  /** Makes a new namespace and pins it at `path` (which must not exist; its folder must). Throws NetlinkError. */
  async create(path: string, options: NetnsOptions = {}): Promise<void> {
    const settings = options.sysctls ?? {};
    const [rc, failed] = await native().netnsCreate(path, options.loopback ?? true, flat(settings));
    if (rc === 0) return;
    if (failed >= 0) throw sysctlError(path, settings, failed, rc);
    throw new NetlinkError({ op: "create", object: netnsName(path), kind: "namespace" }, -rc);
  },

  /**
   * Removes the file; the namespace itself ends with its last user. Throws NetlinkError (ENOENT if there is no
   * such file).
   */
  async delete(path: string): Promise<void> {
    const rc = await native().netnsDelete(path);
    if (rc !== 0) throw new NetlinkError({ op: "delete", object: netnsName(path), kind: "namespace" }, -rc);
  },
};

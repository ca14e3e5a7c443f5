import { type Process, ProcessFlags } from "@axoneme/abi";
import { type FlowProcess, formatTimestamp } from "@axoneme/flow";

/** Ids of containers as the runtimes name cgroups: `cri-containerd-<id>.scope`, `crio-<id>.scope`, `<id>`. */
const containerId = /[0-9a-f]{64}/;
/** Arguments beyond this many characters are cut. */
const argumentsLimit = 512;

const decoder = new TextDecoder();
const text = (bytes: Uint8Array, length: number): string => decoder.decode(bytes.subarray(0, length));
const names = (bytes: Uint8Array, length: number): string[] =>
  text(bytes, length)
    .split("\0")
    .filter((name) => name !== "");

/** Whether the row's path is not all of it: names are missing, or it begins at a mount. */
export function isPathPartial({ flags }: Process): boolean {
  return (flags & (ProcessFlags.PATH_CUT | ProcessFlags.MOUNTED)) !== 0;
}

/** Path of the executable out of the row's names, which stand the last one first. Undefined: a thread of the kernel. */
export function pathOf({ path, pathLen, flags }: Process): string | undefined {
  const parts = names(path, pathLen).reverse();
  if (parts.length === 0) return undefined;
  return `${(flags & ProcessFlags.PATH_CUT) === 0 ? "" : "..."}/${parts.join("/")}`;
}

/** What a process calls itself: for those whose executable is not known. */
export function commOf({ comm }: Process): string {
  const end = comm.indexOf(0);
  return text(comm, end < 0 ? comm.length : end);
}

/** Arguments on one line, without control characters: they are the pod's own words. */
export function argumentsOf({ args, argsLen, flags }: Process): string {
  const [, ...rest] = text(args, argsLen).replace(/\0$/, "").split("\0");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what goes
  const line = rest.join(" ").replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
  const cut = (flags & ProcessFlags.ARGS_CUT) !== 0 || line.length > argumentsLimit;
  return cut ? `${line.slice(0, argumentsLimit)}...` : line;
}

/** The container, by the name of the process's cgroup. */
export function containerOf({ cgroup, cgroupLen }: Process): string | undefined {
  const name = names(cgroup, cgroupLen)[0];
  return name === undefined ? undefined : (containerId.exec(name)?.[0] ?? name);
}

/** How a process is shown. */
export interface ShownProcess {
  readonly row: Process;
  /** In place of the row's path, when that one is not all. */
  readonly path?: string | undefined;
  /** Wall time of its start, ns. */
  readonly startedNs: bigint;
  readonly withArguments: boolean;
}

/** The process as flows show it. */
export function flowProcess({ row, path, startedNs, withArguments }: ShownProcess): FlowProcess {
  const container = containerOf(row);
  const args = withArguments ? argumentsOf(row) : "";
  return {
    binary: path ?? pathOf(row) ?? commOf(row),
    pid: row.pid,
    ...(args === "" ? {} : { arguments: args }),
    ...(container === undefined ? {} : { container }),
    start_time: formatTimestamp(startedNs),
    ...(row.uid === 0 ? {} : { uid: row.uid }),
  };
}

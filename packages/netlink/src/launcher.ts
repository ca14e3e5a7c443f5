import { builtFile } from "./native.ts";

/** Options of the launcher `axon-exec` (native/axon-exec.c); what is absent stays the caller's. */
export interface LaunchOptions {
  /** Path of a network namespace to enter. */
  readonly netns?: string;
  /** Cgroup folders to join. */
  readonly cgroups?: readonly string[];
  /** Root filesystem; /proc, /sys and /dev are put into it. */
  readonly root?: string;
  /** Mounts seen by the command only; with `root`, missing targets are made in it. */
  readonly binds?: readonly {
    readonly source: string;
    readonly target: string;
    readonly readOnly?: boolean;
  }[];
  /** Places covered by an empty tmpfs. */
  readonly tmpfs?: readonly string[];
  /** A process namespace with the command as process 1; the launcher stays as its stand-in. */
  readonly pidns?: boolean;
  readonly hostname?: string;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly setsid?: boolean;
  /** Signal when the parent (thread) dies, as "KILL" or "SIGTERM". */
  readonly parentDeathSignal?: string;
  /** Written before the command runs. */
  readonly pidfile?: string;
}

function flag(name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [`--${name}`, String(value)];
}

/**
 * The program and arguments that run `command` under these options, for `spawn`. The launcher becomes the command
 * (same process id unless `pidns`); it exits with 126 or 127 and one line on stderr if it cannot.
 */
export function launch(
  options: LaunchOptions,
  command: readonly string[],
): { readonly file: string; readonly args: string[] } {
  const args = [
    ...flag("netns", options.netns),
    ...(options.cgroups ?? []).flatMap((dir) => ["--cgroup", dir]),
    ...flag("root", options.root),
    ...(options.binds ?? []).flatMap(({ source, target, readOnly }) => [
      "--bind",
      `${source}:${target}${readOnly === true ? ":ro" : ""}`,
    ]),
    ...(options.tmpfs ?? []).flatMap((place) => ["--tmpfs", place]),
    ...(options.pidns === true ? ["--pidns"] : []),
    ...flag("hostname", options.hostname),
    ...flag("cwd", options.cwd),
    ...flag("uid", options.uid),
    ...flag("gid", options.gid),
    ...(options.setsid === true ? ["--setsid"] : []),
    ...flag("pdeathsig", options.parentDeathSignal),
    ...flag("pidfile", options.pidfile),
    "--",
    ...command,
  ];
  return { file: builtFile("bin/axon-exec"), args };
}

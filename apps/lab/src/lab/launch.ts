import { builtFile } from "@axoneme/netlink";
import type { LaunchSpec } from "../node/context.ts";

/** The launcher's command line for a process. */
export function launchLine(spec: LaunchSpec): readonly string[] {
  const { netns, cgroup, root, cwd, hostname, uid, gid, binds = [], argv } = spec;
  const option = (name: string, value: string | undefined): string[] =>
    value === undefined ? [] : [name, value];
  return [
    builtFile("bin/axon-exec"),
    ...option("--netns", netns),
    ...option("--cgroup", cgroup),
    ...option("--root", root),
    ...binds.flatMap(({ source, target, readOnly }) => [
      "--bind",
      `${source}:${target}${readOnly ? ":ro" : ""}`,
    ]),
    ...option("--hostname", hostname),
    ...option("--cwd", cwd),
    ...option("--uid", uid?.toString()),
    ...option("--gid", gid?.toString()),
    "--",
    ...argv,
  ];
}

import { readFileSync } from "node:fs";

/** A mount of this process's mount namespace. */
export interface Mount {
  point: string;
  type: string;
}

/** Every mount at or below `path`, deepest first. */
export function mountsBelow(path: string, mountinfo = readFileSync("/proc/self/mountinfo", "utf8")): Mount[] {
  return parseMounts(mountinfo)
    .filter(({ point }) => point === path || point.startsWith(`${path}/`))
    .sort((a, b) => b.point.length - a.point.length);
}

/** Whether a network namespace is mounted on the file. */
export function isNetnsMount(path: string): boolean {
  return mountsBelow(path).some((mount) => mount.point === path && mount.type === "nsfs");
}

function parseMounts(mountinfo: string): Mount[] {
  return mountinfo.split("\n").flatMap((line) => {
    const [before, after] = line.split(" - ");
    const point = before?.split(" ")[4];
    const type = after?.split(" ")[0];
    return point === undefined || type === undefined ? [] : [{ point: decodeOctal(point), type }];
  });
}

/** mountinfo writes blanks and backslashes as octal. */
function decodeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_whole, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

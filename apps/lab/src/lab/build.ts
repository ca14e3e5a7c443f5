import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AxonError } from "@axoneme/base";

declare const AXON_BUILD: string | undefined;
/** The id of the build this program is of; undefined when it runs from its sources (tests). */
const ownBuild = typeof AXON_BUILD === "string" ? AXON_BUILD : undefined;

const mend = 'run "make build"';

/**
 * The bundle of an app, looked for upwards from here: from a checkout's sources and from dist/ itself.
 * @throws AxonError `lab.not-built` when it is missing or of another build than this program: parts of different
 * ages disagree about files and options in ways that are hard to read.
 */
export function bundle(file: string, build = ownBuild): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (folder !== dirname(folder)) {
    const path = join(folder, "dist", file);
    if (existsSync(path)) {
      checkBuild(path, build);
      return path;
    }
    folder = dirname(folder);
  }
  throw new AxonError("lab.not-built", `dist/${file} is missing: ${mend}`);
}

/** Compares the id at a bundle's end (scripts/build.mjs puts it there) with that of this program. */
export function checkBuild(path: string, build: string | undefined): void {
  if (build === undefined) return;
  const found = buildOf(path);
  if (found === build) return;
  throw new AxonError(
    "lab.not-built",
    `${path} is of ${found === undefined ? "an unknown build" : `build ${found}`}, this program of build ${build}: ${mend}`,
  );
}

function buildOf(path: string): string | undefined {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, 256));
    readSync(fd, tail, 0, tail.length, size - tail.length);
    return /\/\/ axon-build ([0-9a-f]+)/.exec(tail.toString("utf8"))?.[1];
  } finally {
    closeSync(fd);
  }
}

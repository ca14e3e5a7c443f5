import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";
import { conflistName, pluginName } from "./conflist.ts";

/** Where a runtime looks; an empty path is a part that is somebody else's. */
export interface CniDirs {
  readonly confDir: string;
  readonly binDir: string;
}

/** What a configuration of somebody else is called while it is put aside. */
const asideSuffix = ".axoneme_bak";
/** What runtimes read as configurations. */
const confPattern = /\.(conf|conflist|json)$/;

/**
 * Makes a file be these bytes: on the disk, then under its name, so that who reads it sees the old one or the new
 * one, whole, whenever the power goes. A program that runs goes on with what it was.
 * @returns whether anything had to change.
 * @throws AxonError `cni.file` naming the file and what to do.
 */
export function placeFile(path: string, content: Buffer, mode: number): boolean {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    if (existsSync(path) && readFileSync(path).equals(content)) return false;
    const fd = openSync(temporary, "w", mode);
    try {
      writeFileSync(fd, content);
      fchmodSync(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    return true;
  } catch (cause) {
    if (existsSync(temporary)) rmSync(temporary);
    const hint = "it must be writable for the agent, and have room";
    throw new AxonError("cni.file", `${path} cannot be written: ${hint}`, { cause });
  }
}

/**
 * Installs the plugin, and as `loopback` where there is none: runtimes call one for every pod.
 * @param source the plugin's file of this build.
 */
export function installPlugin(binDir: string, source: string): boolean {
  mkdirSync(binDir, { recursive: true, mode: 0o755 });
  const content = readFileSync(source);
  const loopback = join(binDir, "loopback");
  const changed = placeFile(join(binDir, pluginName), content, 0o755);
  if (!existsSync(loopback)) placeFile(loopback, content, 0o755);
  return changed;
}

/** Writes the configuration. */
export function writeConflist(confDir: string, text: string): boolean {
  mkdirSync(confDir, { recursive: true, mode: 0o755 });
  return placeFile(join(confDir, conflistName), Buffer.from(text), 0o644);
}

/** Puts the configurations of others aside; returns their names. */
export function putOthersAside(confDir: string): string[] {
  const others = readdirSync(confDir).filter((name) => name !== conflistName && confPattern.test(name));
  for (const name of others) renameSync(join(confDir, name), join(confDir, `${name}${asideSuffix}`));
  return others;
}

/**
 * Undoes all of the above: the configuration first, so that no runtime calls a plugin that is gone, and those of
 * others come back. What was not ours stays.
 */
export function removeCni({ confDir, binDir }: CniDirs): void {
  if (confDir !== "" && existsSync(confDir)) {
    rmSync(join(confDir, conflistName), { force: true });
    for (const name of readdirSync(confDir).filter((entry) => entry.endsWith(asideSuffix))) {
      const original = join(confDir, name.slice(0, -asideSuffix.length));
      if (!existsSync(original)) renameSync(join(confDir, name), original);
    }
  }
  if (binDir === "") return;
  const [plugin, loopback] = [join(binDir, pluginName), join(binDir, "loopback")];
  const isOurs =
    existsSync(plugin) && existsSync(loopback) && readFileSync(plugin).equals(readFileSync(loopback));
  if (isOurs) rmSync(loopback);
  rmSync(plugin, { force: true });
}

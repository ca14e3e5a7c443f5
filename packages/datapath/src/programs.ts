import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AxonError, type Logger } from "@axoneme/base";
import { BpfObject, type ObjectConfig, Program } from "@axoneme/bpf";

/** The objects the agent loads, each built from `bpf/<name>.bpf.c`. */
export const objectNames = ["pod", "node", "overlay", "xdp", "socket", "gc"] as const;

/** Without these a node does its work all the same: a kernel that does not take one goes without. */
const optionalObjects: readonly string[] = ["owner"];

/** Where programs come from and go to. */
export interface ProgramOptions {
  /** Folder of the compiled objects. */
  readonly objectDir: string;
  /** The node's folder in a bpffs. */
  readonly bpffs: string;
  /** Sizes of maps by kernel name, instead of the objects' own. */
  readonly maxEntries: Readonly<Record<string, number>>;
}

/** All programs of a node, by function name. */
export interface LoadedPrograms {
  readonly programs: ReadonlyMap<string, Program>;
  /** Which build they are of: the hash of the objects and of the options that went into them. */
  readonly build: string;
  /** False when the programs of this very build were already pinned and nothing had to be verified. */
  readonly fresh: boolean;
}

/**
 * Brings the programs of this build into the kernel: taken from their pins when an agent of the same build left them,
 * loaded and pinned otherwise. Programs of other builds stay pinned until `dropOldBuilds`, since links may use them.
 * @throws AxonError `datapath.object` for a missing object; VerifierError and IncompatibleMapError from the loader.
 */
export function loadPrograms(options: ProgramOptions, log: Logger): LoadedPrograms {
  const build = buildOf(options);
  const dir = join(options.bpffs, "progs", build);
  if (existsSync(join(dir, "complete"))) {
    const names = readdirSync(dir).filter((name) => name !== "complete");
    return {
      build,
      fresh: false,
      programs: new Map(names.map((name) => [name, Program.openPinned(join(dir, name))])),
    };
  }
  rmSync(dir, { recursive: true, force: true });
  const programs = new Map<string, Program>();
  for (const name of objectNames) {
    for (const program of loadObject(name, options, log)) {
      program.pin(join(dir, program.name));
      programs.set(program.name, program);
    }
  }
  for (const program of loadOptional(options, log)) {
    program.pin(join(dir, program.name));
    programs.set(program.name, program);
  }
  // A folder is the only mark a bpffs can hold besides pins; it says that all of this build's programs are there.
  mkdirSync(join(dir, "complete"), { recursive: true });
  return { build, fresh: true, programs };
}

/** Removes the pins of every build but this one. Call after all links were updated. */
export function dropOldBuilds(bpffs: string, build: string): void {
  for (const name of readdirSync(join(bpffs, "progs"))) {
    if (name !== build) rmSync(join(bpffs, "progs", name), { recursive: true, force: true });
  }
}

/** An object with its maps' sizes and the node's pins, ready to be loaded. */
export function openObject(name: string, options: ProgramOptions): BpfObject {
  const object = BpfObject.open(join(options.objectDir, `${name}.bpf.o`));
  const sizes = Object.entries(options.maxEntries).filter(([map]) =>
    object.spec.maps.some((m) => m.name === map),
  );
  const config: ObjectConfig = { pinDir: options.bpffs, maxEntries: Object.fromEntries(sizes) };
  return object.configure(config);
}

function loadObject(name: string, options: ProgramOptions, log: Logger): Iterable<Program> {
  const start = performance.now();
  const loaded = openObject(name, options).load();
  for (const map of loaded.maps.values()) map.close();
  log.debug({ object: name, ms: Math.round(performance.now() - start) }, "object loaded");
  return loaded.programs.values();
}

function loadOptional(options: ProgramOptions, log: Logger): Program[] {
  return optionalObjects.flatMap((name) => {
    try {
      return [...loadObject(name, options, log)];
    } catch (error) {
      log.warn({ err: error, object: name }, "this kernel does not take the object: the node goes without");
      return [];
    }
  });
}

function buildOf(options: ProgramOptions): string {
  const hash = createHash("sha256").update(JSON.stringify(options.maxEntries));
  for (const name of [...objectNames, ...optionalObjects]) {
    const path = join(options.objectDir, `${name}.bpf.o`);
    try {
      hash.update(readFileSync(path));
    } catch (cause) {
      throw new AxonError("datapath.object", `the eBPF object ${path} cannot be read: run "make build"`, {
        cause,
      });
    }
  }
  return hash.digest("hex").slice(0, 16);
}

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AxonError, type Logger } from "@axoneme/base";
import { BpfObject, type ObjectConfig, Program } from "@axoneme/bpf";
import { Handover, type HandoverReport, resumeHandovers, settleHooks } from "./migration/handover.ts";
import { planMigration } from "./migration/plan.ts";

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
  /** What was converted, when pinned maps had another layout. */
  readonly handover?: HandoverReport;
}

/**
 * Brings the programs of this build into the kernel: taken from their pins when an agent of the same build left them,
 * loaded and pinned otherwise. Programs of other builds stay pinned until `dropOldBuilds`, since links may use them.
 * Where pinned maps have another layout than these programs', their rows are converted, and these programs are in force
 * when this returns.
 * @throws AxonError `datapath.object` for a missing object, `datapath.layout` for a map that cannot be converted;
 *   VerifierError from the loader.
 */
export function loadPrograms(options: ProgramOptions, log: Logger): LoadedPrograms {
  const build = buildOf(options);
  const wasUnfinished = resumeHandovers(options.bpffs);
  const loaded = openPrograms(options, build) ?? makePrograms(options, build, log);
  if (wasUnfinished && !loaded.handover) settleHooks({ ...options, build }, loaded.programs);
  return loaded;
}

/** What an agent of the same build left. */
function openPrograms(options: ProgramOptions, build: string): LoadedPrograms | undefined {
  const dir = join(options.bpffs, "progs", build);
  if (!existsSync(join(dir, "complete"))) return undefined;
  const names = readdirSync(dir).filter((name) => name !== "complete");
  const programs = new Map(names.map((name) => [name, Program.openPinned(join(dir, name))]));
  return { build, fresh: false, programs };
}

function makePrograms(options: ProgramOptions, build: string, log: Logger): LoadedPrograms {
  const objects = [...objectNames, ...optionalObjects].map((name) => openObject(name, options));
  const changes = planMigration(objects, options.bpffs);
  if (changes.size === 0) return { build, fresh: true, programs: loadAll(options, build, log, loadObject) };
  const start = performance.now();
  const handover = new Handover({ ...options, build }, changes);
  try {
    const programs = loadAll(options, build, log, (object) => handover.load(object));
    const report = handover.run(programs);
    const ms = Math.round(performance.now() - start);
    const { maps, ...rest } = report;
    log.info({ ...rest, ms, maps }, "pinned maps converted to the layouts of this version");
    return { build, fresh: true, programs, handover: report };
  } catch (error) {
    handover.abandon();
    rmSync(join(options.bpffs, "progs", build), { recursive: true, force: true });
    throw error;
  } finally {
    handover.close();
  }
}

type Load = (object: BpfObject) => Iterable<Program>;

function loadAll(
  options: ProgramOptions,
  build: string,
  log: Logger,
  load: Load,
): ReadonlyMap<string, Program> {
  const dir = join(options.bpffs, "progs", build);
  rmSync(dir, { recursive: true, force: true });
  const programs = new Map<string, Program>();
  const add = (name: string): void => {
    const start = performance.now();
    for (const program of load(openObject(name, options))) {
      program.pin(join(dir, program.name));
      programs.set(program.name, program);
    }
    log.debug({ object: name, ms: Math.round(performance.now() - start) }, "object loaded");
  };
  for (const name of objectNames) add(name);
  for (const name of optionalObjects) {
    try {
      add(name);
    } catch (error) {
      log.warn({ err: error, object: name }, "this kernel does not take the object: the node goes without");
    }
  }
  // A folder is the only mark a bpffs can hold besides pins; it says that all of this build's programs are there.
  mkdirSync(join(dir, "complete"), { recursive: true });
  return programs;
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

function loadObject(object: BpfObject): Iterable<Program> {
  const loaded = object.load();
  for (const map of loaded.maps.values()) map.close();
  return loaded.programs.values();
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

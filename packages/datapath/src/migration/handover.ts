import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { configSize, decodeConfig, decodeEndpoint, endpointSize } from "@axoneme/abi";
import { BpfMap, type BpfObject, Link, type Program } from "@axoneme/bpf";
import { type MapCopy, openCopy } from "./copies.ts";
import type { MapChange } from "./plan.ts";
import { type Devices, HookSwitch, pinnedTurn } from "./switch.ts";

const prefix = "handover_";
/** Copying what was added goes on until it is no more than this, or that often. */
const fewRows = 16;
const mostRounds = 8;

/** What a node's folder in the bpffs and its objects are, and which build comes. */
export interface HandoverOptions {
  readonly bpffs: string;
  readonly objectDir: string;
  readonly build: string;
}

/** What became of the maps. */
export interface HandoverReport {
  readonly maps: readonly {
    readonly name: string;
    readonly why: string;
    readonly rows: number | undefined;
  }[];
  /** Rows that found no room. */
  readonly dropped: number;
  /** Places of tc programs that changed generations together. */
  readonly hooks: number;
  /** Milliseconds around the turn in which a connection that begins is not known to both generations. */
  readonly windowMs: number;
}

/**
 * A handover that an earlier agent did not live to finish. Once the turn was the next generation's its maps take the
 * places of the former ones, else they are thrown away. Hooks still have the switch: see `settleHooks`.
 * @returns whether there was one.
 */
export function resumeHandovers(bpffs: string): boolean {
  const names = existsSync(bpffs) ? readdirSync(bpffs).filter((name) => name.startsWith(prefix)) : [];
  for (const name of names) {
    const dir = join(bpffs, name);
    const isNext = pinnedTurn(dir) === "next";
    if (isNext) moveMaps(dir, bpffs);
    else rmSync(join(dir, "maps"), { recursive: true, force: true });
    // Programs of other builds, or of this one, are bound to maps that nobody looks at any more.
    dropPrograms(bpffs, isNext ? (name.split("_")[1] ?? "") : "");
  }
  return names.length > 0;
}

/** Puts programs directly where a switch stands, and forgets all switches. */
export function settleHooks(options: HandoverOptions, programs: ReadonlyMap<string, Program>): void {
  const hooks = HookSwitch.open(
    options.objectDir,
    join(options.bpffs, "links"),
    devicesOf(options.bpffs),
    programs,
  );
  try {
    hooks.settle(programs);
  } finally {
    hooks.close();
  }
  updateOthers(options.bpffs, programs);
  forgetSwitches(options.bpffs);
}

/**
 * Brings programs with maps of other layouts into force: new maps get the converted rows of the old ones, all hooks
 * change at one moment, and what the former programs wrote until then follows. Until that moment a failure leaves
 * everything as it was.
 * @param load loads, pins and names all programs with these maps.
 */
export class Handover {
  readonly #options: HandoverOptions;
  readonly #changes: ReadonlyMap<string, MapChange>;
  readonly #dir: string;
  readonly #made = new Map<string, BpfMap>();
  readonly #copies: MapCopy[] = [];

  constructor(options: HandoverOptions, changes: ReadonlyMap<string, MapChange>) {
    this.#options = options;
    this.#changes = changes;
    this.#dir = join(options.bpffs, `${prefix}${options.build}_${Date.now()}`);
  }

  /** Loads an object with the maps of the next generation. */
  load(object: BpfObject): Iterable<Program> {
    const loaded = object.load({ instead: this.#made, unpinned: new Set(this.#changes.keys()) });
    for (const [name, map] of loaded.maps) {
      if (this.#changes.has(name) && !this.#made.has(name)) {
        map.pin(join(this.#dir, "maps", name));
        this.#made.set(name, map.copy());
      }
      map.close();
    }
    return loaded.programs.values();
  }

  /** Once all objects are loaded. */
  run(programs: ReadonlyMap<string, Program>): HandoverReport {
    const { bpffs, objectDir, build } = this.#options;
    for (const change of this.#changes.values()) {
      const next = this.#made.get(change.name);
      if (!next || !change.conversion) continue;
      this.#copies.push(openCopy(change, change.conversion, join(bpffs, "maps", change.name), next));
    }
    for (const copy of this.#copies) copy.all();
    const hooks = HookSwitch.open(objectDir, join(bpffs, "links"), devicesOf(bpffs, this.#made), programs);
    try {
      hooks.pin(this.#dir);
      const windowMs = this.#change(hooks);
      updateOthers(bpffs, programs);
      for (const copy of this.#copies) if (copy.isLive) copy.added();
      moveMaps(this.#dir, bpffs);
      dropPrograms(bpffs, build);
      hooks.settle(programs);
      forgetSwitches(bpffs);
      return this.#report(hooks.size, windowMs);
    } finally {
      hooks.close();
    }
  }

  /** Forgets what was made for a handover that does not take place. */
  abandon(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  close(): void {
    for (const copy of this.#copies) copy.close();
    for (const map of this.#made.values()) map.close();
  }

  #change(hooks: HookSwitch): number {
    try {
      hooks.take();
      const live = this.#copies.filter(({ isLive }) => isLive);
      for (const copy of this.#copies) copy.all();
      const catchUp = (): number => live.reduce((sum, copy) => sum + copy.added(), 0);
      // The fewer rows are left, the shorter is the moment that counts.
      for (let i = 0; i < mostRounds && catchUp() > fewRows; i++);
      const start = performance.now();
      catchUp();
      hooks.turn();
      catchUp();
      return Math.round(performance.now() - start);
    } catch (error) {
      if (pinnedTurn(this.#dir) !== "next") hooks.giveBack();
      throw error;
    }
  }

  #report(hooks: number, windowMs: number): HandoverReport {
    const rowsOf = (name: string) => this.#copies.find((copy) => copy.name === name)?.rows;
    const maps = [...this.#changes.values()].map(({ name, why }) => ({ name, why, rows: rowsOf(name) }));
    const dropped = this.#copies.reduce((sum, copy) => sum + copy.dropped, 0);
    return { maps, dropped, hooks, windowMs };
  }
}

/** Renames are what takes effect: programs that are loaded from here on find the new maps. */
function moveMaps(dir: string, bpffs: string): void {
  const from = join(dir, "maps");
  if (!existsSync(from)) return;
  mkdirSync(join(bpffs, "maps"), { recursive: true });
  for (const name of readdirSync(from)) renameSync(join(from, name), join(bpffs, "maps", name));
}

function dropPrograms(bpffs: string, except: string): void {
  const dir = join(bpffs, "progs");
  for (const name of existsSync(dir) ? readdirSync(dir) : []) {
    if (name !== except) rmSync(join(dir, name), { recursive: true, force: true });
  }
}

function forgetSwitches(bpffs: string): void {
  for (const name of readdirSync(bpffs)) {
    if (name.startsWith(prefix)) rmSync(join(bpffs, name), { recursive: true, force: true });
  }
}

/** XDP and the programs of cgroups, each at its own place; one that this version has not goes. */
function updateOthers(bpffs: string, programs: ReadonlyMap<string, Program>): void {
  const dir = join(bpffs, "links");
  for (const pin of existsSync(dir) ? readdirSync(dir) : []) {
    const program = [...programs.values()].find(({ name }) => pin.endsWith(`_${name}`));
    if (!program) {
      rmSync(join(dir, pin), { force: true });
      continue;
    }
    const link = Link.tryOpenPinned(join(dir, pin));
    const info = link?.info();
    if (link && info && !isOfGoneDevice(info)) link.update(program);
    link?.close();
  }
}

function isOfGoneDevice({ ifindex, cgroupId }: { ifindex: number; cgroupId: bigint }): boolean {
  return ifindex === 0 && cgroupId === 0n;
}

/** Devices that may carry our programs as filters, as the maps in force know them. */
function devicesOf(bpffs: string, made: ReadonlyMap<string, BpfMap> = new Map()): Devices {
  const open = (name: string) => made.get(name)?.copy() ?? BpfMap.openPinned(join(bpffs, "maps", name));
  const [endpoints, config] = [open("ax_endpoints"), open("ax_config")];
  try {
    const { values, count } = endpoints.dump();
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    const pods = Array.from({ length: count }, (_, i) => decodeEndpoint(view, i * endpointSize).ifindex);
    const row = config.get(new Uint8Array(4)) ?? new Uint8Array(configSize);
    const { deviceIfindex, tunnelIfindex } = decodeConfig(new DataView(row.buffer, row.byteOffset), 0);
    return { pods, node: deviceIfindex, overlay: tunnelIfindex };
  } finally {
    endpoints.close();
    config.close();
  }
}

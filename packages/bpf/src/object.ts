import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BpfError, check, errnoText } from "./errors.ts";
import { Fd } from "./fd.ts";
import { BpfMap } from "./map.ts";
import {
  type NativeHandle,
  type NativeLoad,
  type NativeMapSpec,
  type NativeProgramSpec,
  type NativeVariable,
  native,
} from "./native.ts";
import { pinFd, requireCompatible, tryOpenPin } from "./pins.ts";
import { Program } from "./program.ts";
import { parseRejection, parseStats, VerifierError, type VerifierStats } from "./verifier.ts";

const LOG_STATS = 4;
const LOG_INSTRUCTIONS = 1;
const SMALL_LOG = 64 * 1024;
/** The kernel keeps the end of a longer log; the pages are mapped but unused ones cost nothing. */
const LARGE_LOG = 16 * 1024 * 1024;

export type VariableValue = number | bigint | boolean | Uint8Array;

export interface ObjectConfig {
  /** Initial values of global variables by name (`const volatile` ones in .rodata, others in .data and .bss). */
  rodata?: Readonly<Record<string, VariableValue>>;
  /** Sizes of maps by name, instead of the object's own. */
  maxEntries?: Readonly<Record<string, number>>;
  /**
   * A folder in a bpffs. Maps declared LIBBPF_PIN_BY_NAME are taken from `<pinDir>/maps/<name>`, or pinned
   * there when absent. Without it nothing is pinned and every map is new.
   */
  pinDir?: string;
  /** Load only these programs. */
  programs?: readonly string[];
}

/** What one load does otherwise than the pins say. */
export interface LoadOptions {
  /** Maps by name to use, whatever is pinned. */
  instead?: ReadonlyMap<string, BpfMap>;
  /** Maps that are created anew and not pinned, whatever is pinned. */
  unpinned?: ReadonlySet<string>;
}

/** What is in the object file: plain data, no descriptors. */
export interface ObjectSpec {
  readonly maps: readonly NativeMapSpec[];
  readonly programs: readonly NativeProgramSpec[];
  readonly variables: readonly NativeVariable[];
}

function withHandle<T>(path: string, use: (handle: NativeHandle) => T): T {
  let handle: NativeHandle;
  try {
    readFileSync(path, { flag: "r" });
    handle = native().objOpen(path);
  } catch (error) {
    if (error instanceof BpfError) throw error;
    const detail = (error as { detail?: string }).detail?.trim();
    throw new BpfError("bpf.object", `cannot open object ${path}${detail ? `: ${detail}` : ""}`, {
      cause: error,
    });
  }
  try {
    return use(handle);
  } finally {
    native().objClose(handle);
  }
}

/** An object file on disk with a configuration. Holds nothing open; `load` may be called many times. */
export class BpfObject {
  readonly path: string;
  readonly spec: ObjectSpec;
  #config: ObjectConfig = {};

  private constructor(path: string, spec: ObjectSpec) {
    this.path = path;
    this.spec = spec;
  }

  /** Reads the file. Throws `bpf.object` when it is absent or not a BPF object. */
  static open(path: string): BpfObject {
    return new BpfObject(
      path,
      withHandle(path, (handle) => native().objSpec(handle)),
    );
  }

  /**
   * Adds to the configuration (later calls win). Throws `bpf.config` naming the variable, map or program that
   * the object lacks, or the value that does not fit.
   */
  configure(config: ObjectConfig): this {
    const { rodata = {}, maxEntries = {} } = config;
    for (const [name, value] of Object.entries(rodata)) encodeVariable(this.#variable(name), value);
    for (const name of Object.keys(maxEntries)) {
      if (!this.spec.maps.some((map) => map.name === name)) throw this.#lacks("map", name);
    }
    for (const name of config.programs ?? []) {
      if (!this.spec.programs.some((program) => program.name === name)) throw this.#lacks("program", name);
    }
    this.#config = {
      ...this.#config,
      ...config,
      rodata: { ...this.#config.rodata, ...rodata },
      maxEntries: { ...this.#config.maxEntries, ...maxEntries },
    };
    return this;
  }

  /** A map of the object as it would be created with this configuration. */
  mapSpec(name: string): NativeMapSpec | undefined {
    const found = this.spec.maps.find((map) => map.name === name);
    return found && this.#configured(found);
  }

  /**
   * Creates or reuses the maps, verifies and loads the programs, pins new maps. On failure nothing of it
   * remains. Throws VerifierError, IncompatibleMapError, or `bpf.load` with libbpf's words.
   */
  load(options: LoadOptions = {}): LoadedObject {
    const reused = this.#openPinnedMaps(options);
    try {
      const result = this.#attempt(reused, LOG_STATS, SMALL_LOG);
      if (result.error !== 0) throw this.#failure(result, reused);
      return this.#own(result, reused, options.unpinned);
    } finally {
      for (const fd of reused.values()) fd.close();
    }
  }

  #lacks(kind: string, name: string): BpfError {
    return new BpfError("bpf.config", `object ${this.path} has no ${kind} named ${name}`);
  }

  #variable(name: string): NativeVariable {
    const found = this.spec.variables.find((variable) => variable.name === name);
    if (!found) throw this.#lacks("variable", name);
    return found;
  }

  #configured(map: NativeMapSpec): NativeMapSpec {
    return { ...map, maxEntries: this.#config.maxEntries?.[map.name] ?? map.maxEntries };
  }

  #openPinnedMaps({ instead, unpinned }: LoadOptions): Map<string, Fd> {
    const found = new Map<string, Fd>();
    const { pinDir } = this.#config;
    try {
      for (const map of this.spec.maps) {
        const given = instead?.get(map.name);
        if (given) found.set(map.name, given.duplicate());
        if (given || !map.pinned || pinDir === undefined || unpinned?.has(map.name)) continue;
        const path = join(pinDir, "maps", map.name);
        const fd = tryOpenPin(path, `map ${map.name}`);
        if (!fd) continue;
        found.set(map.name, fd);
        const info = native().mapInfo(fd.raw);
        if (typeof info === "number") throw new BpfError("bpf.map", `${path} is not a map`, { errno: -info });
        requireCompatible(this.#configured(map), info, path);
      }
    } catch (error) {
      for (const fd of found.values()) fd.close();
      throw error;
    }
    return found;
  }

  #prepare(handle: NativeHandle, reused: ReadonlyMap<string, Fd>, programs: readonly string[] = []): void {
    const { rodata = {}, maxEntries = {} } = this.#config;
    for (const [name, value] of Object.entries(rodata)) {
      const variable = this.#variable(name);
      const bytes = encodeVariable(variable, value);
      const result = native().objSetData(handle, variable.section, variable.offset, bytes);
      check(result, "bpf.config", `set variable ${name} of ${this.path}`);
    }
    for (const [name, entries] of Object.entries(maxEntries)) {
      check(native().objSetMax(handle, name, entries), "bpf.config", `set the size of map ${name}`);
    }
    for (const [name, fd] of reused) {
      check(native().objReuseMap(handle, name, fd.raw), "bpf.load", `reuse the pinned map ${name}`);
    }
    for (const name of programs)
      check(native().objOnly(handle, name), "bpf.config", `select program ${name}`);
  }

  #attempt(reused: ReadonlyMap<string, Fd>, level: number, logBytes: number, only?: string): NativeLoad {
    return withHandle(this.path, (handle) => {
      this.#prepare(handle, reused, only === undefined ? this.#config.programs : [only]);
      return native().objLoad(handle, level, logBytes);
    });
  }

  /** The rejected program is loaded once more, alone and with the full log. */
  #failure(first: NativeLoad, reused: ReadonlyMap<string, Fd>): BpfError {
    const program = /prog '([^']+)': BPF program load failed/.exec(first.warnings)?.[1];
    if (program !== undefined) {
      const again = this.#attempt(reused, LOG_INSTRUCTIONS | LOG_STATS, LARGE_LOG, program);
      closeAll(again);
      const log = again.logs[program] ?? first.logs[program] ?? "";
      if (log !== "") return new VerifierError(program, first.error, parseRejection(log), log);
    }
    const said = first.warnings.replaceAll("libbpf: ", "").trim();
    return new BpfError("bpf.load", `cannot load ${this.path}: ${errnoText(first.error)}\n${said}`, {
      errno: first.error,
    });
  }

  #own(
    result: NativeLoad,
    reused: ReadonlyMap<string, Fd>,
    unpinned: ReadonlySet<string> = new Set(),
  ): LoadedObject {
    const loaded = new LoadedObject(this.path);
    const programs = Object.entries(result.programs ?? {}).map(
      ([name, raw]) => new Fd(raw, `program ${name}`),
    );
    const maps = Object.entries(result.maps ?? {}).map(
      ([name, raw]) => [name, new Fd(raw, `map ${name}`)] as const,
    );
    try {
      this.#pinNewMaps(
        maps.filter(([name]) => !unpinned.has(name)),
        reused,
      );
      for (const [name, fd] of maps) loaded.maps.set(name, new BpfMap(fd));
      Object.keys(result.programs ?? {}).forEach((name, i) => {
        const fd = programs[i];
        if (fd) loaded.programs.set(name, ownProgram(fd, name, result.logs[name] ?? ""));
      });
      return loaded;
    } catch (error) {
      for (const fd of [...programs, ...maps.map(([, fd]) => fd)]) fd.close();
      throw error;
    }
  }

  #pinNewMaps(maps: readonly (readonly [string, Fd])[], reused: ReadonlyMap<string, Fd>): void {
    const { pinDir } = this.#config;
    if (pinDir === undefined) return;
    for (const [name, fd] of maps) {
      const pinned = this.spec.maps.some((map) => map.name === name && map.pinned);
      if (pinned && !reused.has(name)) pinFd(fd, join(pinDir, "maps", name));
    }
  }
}

function ownProgram(fd: Fd, name: string, log: string): Program {
  const info = native().progInfo(fd.raw);
  if (typeof info === "number")
    throw new BpfError("bpf.program", `program ${name}: no info`, { errno: -info });
  return new Program(fd, name, parseStats(name, log, info));
}

function closeAll(result: NativeLoad): void {
  for (const raw of [...Object.values(result.programs ?? {}), ...Object.values(result.maps ?? {})]) {
    native().close(raw);
  }
}

/** The programs and maps of one load, by name. Closing it leaves what is pinned or attached in the kernel. */
export class LoadedObject {
  readonly path: string;
  readonly programs = new Map<string, Program>();
  /** Every map of the object, the internal ones (`.rodata`, `.bss`) by their section's name. */
  readonly maps = new Map<string, BpfMap>();

  constructor(path: string) {
    this.path = path;
  }

  /** Throws `bpf.object` when the object has no such program. */
  program(name: string): Program {
    const found = this.programs.get(name);
    if (found) return found;
    throw new BpfError("bpf.object", `object ${this.path} has no program ${name}`);
  }

  /** Throws `bpf.object` when the object has no such map. */
  map(name: string): BpfMap {
    const found = this.maps.get(name);
    if (found) return found;
    throw new BpfError("bpf.object", `object ${this.path} has no map ${name}`);
  }

  get stats(): VerifierStats[] {
    return [...this.programs.values()].flatMap((program) => program.stats ?? []);
  }

  /** Idempotent. */
  close(): void {
    for (const program of this.programs.values()) program.close();
    for (const map of this.maps.values()) map.close();
  }
}

function encodeVariable(variable: NativeVariable, value: VariableValue): Uint8Array {
  if (value instanceof Uint8Array) {
    if (value.length > 0 && value.length <= variable.size) return value;
    throw new BpfError(
      "bpf.config",
      `variable ${variable.name} has ${variable.size} bytes, got ${value.length}`,
    );
  }
  const bits = BigInt(variable.size * 8);
  const whole = typeof value === "number" && !Number.isInteger(value) ? undefined : BigInt(value);
  const fits = whole !== undefined && whole >= -(1n << (bits - 1n)) && whole < 1n << bits;
  if (!fits || variable.size > 8) {
    throw new BpfError(
      "bpf.config",
      `variable ${variable.name} of ${variable.size} bytes cannot hold ${value}`,
    );
  }
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, whole), true);
  return bytes.subarray(0, variable.size);
}

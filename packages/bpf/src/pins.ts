import { mkdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { MapFlag, MapType, nameIn } from "./constants.ts";
import { BpfError, check, IncompatibleMapError } from "./errors.ts";
import { Fd } from "./fd.ts";
import { type NativeMapInfo, type NativeMapSpec, native } from "./native.ts";

const ENOENT = 2;

function refuseDots(path: string): void {
  if (!basename(path).includes(".")) return;
  throw new BpfError("bpf.pin", `pin ${path}: the kernel refuses dots in names inside a bpffs`);
}

export interface PinOptions {
  /** Take the place of what is pinned there, in one step (rename). Default: an existing pin is an error. */
  replace?: boolean;
}

/** Pins a descriptor, making the folders above it. Throws `bpf.pin`. */
export function pinFd(fd: Fd, path: string, options: PinOptions = {}): void {
  refuseDots(path);
  mkdirSync(dirname(path), { recursive: true });
  if (!options.replace) {
    check(native().pin(fd.raw, path), "bpf.pin", `pin ${fd.what} at ${path}`);
    return;
  }
  const temporary = join(dirname(path), `_new_${process.pid}_${basename(path)}`);
  rmSync(temporary, { force: true });
  check(native().pin(fd.raw, temporary), "bpf.pin", `pin ${fd.what} at ${path}`);
  renameSync(temporary, path);
}

/** Removes a pin; what it held lives on while anything else holds it. False when there was none. */
export function unpin(path: string): boolean {
  try {
    rmSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw new BpfError("bpf.pin", `unpin ${path}`, { cause: error });
  }
}

/** Opens what is pinned at a path. Throws `bpf.pin`, ENOENT included. */
export function openPin(path: string, what: string): Fd {
  return new Fd(check(native().openPin(path, 0), "bpf.pin", `open the pinned ${what} at ${path}`), what);
}

/** As openPin, but undefined when nothing is pinned there. */
export function tryOpenPin(path: string, what: string): Fd | undefined {
  const raw = native().openPin(path, 0);
  if (raw === -ENOENT) return undefined;
  return new Fd(check(raw, "bpf.pin", `open the pinned ${what} at ${path}`), what);
}

/** Flags the kernel adds by itself, which a spec does not carry. */
function addedFlags(type: number): number {
  return type === MapType.DEVMAP || type === MapType.DEVMAP_HASH ? MapFlag.RDONLY_PROG : 0;
}

/** A perf event array without a size gets one entry per CPU when it is loaded. */
function sizedByLoader(type: number, found: number): number {
  return type === MapType.PERF_EVENT_ARRAY ? found : 0;
}

/** Throws IncompatibleMapError naming the first attribute in which a pinned map differs from the object's. */
export function requireCompatible(spec: NativeMapSpec, found: NativeMapInfo, path: string): void {
  if (found.type !== spec.type) {
    const [wanted, has] = [nameIn(MapType, spec.type), nameIn(MapType, found.type)];
    throw new IncompatibleMapError(spec.name, path, "type", wanted, has);
  }
  const pairs = [
    ["key size", spec.keySize, found.keySize],
    ["value size", spec.valueSize, found.valueSize],
    ["max entries", spec.maxEntries || sizedByLoader(spec.type, found.maxEntries), found.maxEntries],
    ["flags", spec.flags | addedFlags(spec.type), found.flags],
  ] as const;
  for (const [attribute, wanted, has] of pairs) {
    if (wanted !== has) throw new IncompatibleMapError(spec.name, path, attribute, wanted, has);
  }
}

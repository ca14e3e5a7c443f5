import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BpfError } from "./errors.ts";

/** A handle of the addon: an opened object file or a mapped ring buffer. */
export type NativeHandle = { readonly __native: unique symbol };

export interface NativeMapSpec {
  name: string;
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  pinned: boolean;
  internal: boolean;
}

export interface NativeProgramSpec {
  name: string;
  section: string;
  type: number;
  expectedAttachType: number;
  instructions: number;
}

export interface NativeVariable {
  section: string;
  name: string;
  offset: number;
  size: number;
}

export interface NativeLoad {
  error: number;
  warnings: string;
  logs: Record<string, string>;
  programs?: Record<string, number>;
  maps?: Record<string, number>;
}

export interface NativeProgramInfo {
  type: number;
  id: number;
  name: string;
  tag: string;
  jitedBytes: number;
  xlatedBytes: number;
  verifiedInsns: number;
  runTimeNs: bigint;
  runCount: bigint;
  recursionMisses: bigint;
  btfId: number;
}

export interface NativeMapInfo {
  type: number;
  id: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  name: string;
  /** Type information it was created with, and the types of key and value in it; 0: none. */
  btfId: number;
  btfKeyType: number;
  btfValueType: number;
}

export interface NativeLinkInfo {
  type: number;
  id: number;
  progId: number;
  ifindex: number;
  attachType: number;
  cgroupId: bigint;
}

/**
 * What native/module.h exports. A number below zero is -errno. Buffers are not checked against the
 * kernel's sizes in C: the wrappers of this package do that.
 */
export interface Native {
  objOpen(path: string): NativeHandle;
  objSpec(handle: NativeHandle): {
    maps: NativeMapSpec[];
    programs: NativeProgramSpec[];
    variables: NativeVariable[];
  };
  objSetData(handle: NativeHandle, section: string, offset: number, bytes: Uint8Array): number;
  objSetMax(handle: NativeHandle, map: string, entries: number): number;
  objReuseMap(handle: NativeHandle, map: string, fd: number): number;
  objOnly(handle: NativeHandle, program: string): number;
  objLoad(handle: NativeHandle, logLevel: number, logBytes: number): NativeLoad;
  objClose(handle: NativeHandle): number;
  mapCreate(
    type: number,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags: number,
    name: string,
    innerMapFd: number,
  ): number;
  mapLookup(fd: number, key: Uint8Array, out: Uint8Array, flags: number): number;
  mapUpdate(fd: number, key: Uint8Array | null, value: Uint8Array, flags: number): number;
  mapDelete(fd: number, key: Uint8Array): number;
  mapTake(fd: number, key: Uint8Array | null, out: Uint8Array, flags: number): number;
  mapNextKey(fd: number, key: Uint8Array | null, next: Uint8Array): number;
  mapFreeze(fd: number): number;
  mapLookupBatch(
    fd: number,
    cursor: Uint8Array,
    first: boolean,
    keys: Uint8Array,
    values: Uint8Array,
    state: Uint32Array,
    keySize: number,
    valueSize: number,
    take: boolean,
  ): number;
  mapUpdateBatch(
    fd: number,
    keys: Uint8Array,
    values: Uint8Array,
    state: Uint32Array,
    keySize: number,
    valueSize: number,
    flags: number,
  ): number;
  mapDeleteBatch(fd: number, keys: Uint8Array, values: null, state: Uint32Array, keySize: number): number;
  mapBatchProbe(fd: number): number;
  mapInfo(fd: number): NativeMapInfo | number;
  btfBytes(id: number): Uint8Array | number;
  progLoad(type: number, attachType: number, instructions: Uint8Array, name: string, flags: number): number;
  progTestRun(
    fd: number,
    data: Uint8Array | null,
    dataOut: Uint8Array | null,
    ctx: Uint8Array | null,
    ctxOut: Uint8Array | null,
    repeat: number,
    flags: number,
    cpu: number,
    batch: number,
    result: Uint32Array,
    netnsFd: number,
  ): number;
  progInfo(fd: number): NativeProgramInfo | number;
  linkInfo(fd: number): NativeLinkInfo | number;
  fdById(kind: number, id: number): number;
  pin(fd: number, path: string): number;
  openPin(path: string, fileFlags: number): number;
  close(fd: number): number;
  linkCreate(
    progFd: number,
    target: number,
    attachType: number,
    flags: number,
    netnsFd: number,
    relativeFd: number,
  ): number;
  linkUpdate(linkFd: number, progFd: number, expectedProgFd: number): number;
  linkDetach(linkFd: number): number;
  rawTracepointOpen(progFd: number, name: string): number;
  tracepointLink(progFd: number, tracepointId: number, cookie: bigint): number;
  progQuery(
    target: number,
    attachType: number,
    netnsFd: number,
    progIds: Uint32Array,
    linkIds: Uint32Array | null,
  ): number;
  iterLink(progFd: number, mapFd: number): number;
  iterRun(linkFd: number, netnsFd: number, limit: number): Promise<Uint8Array | number>;
  tcAttach(
    ifindex: number,
    egress: boolean,
    handle: number,
    priority: number,
    netnsFd: number,
    progFd: number,
  ): number;
  tcDetach(ifindex: number, egress: boolean, handle: number, priority: number, netnsFd: number): number;
  tcQuery(ifindex: number, egress: boolean, handle: number, priority: number, netnsFd: number): number;
  tcWarnings(): string;
  ringOpen(fd: number, bytes: number): NativeHandle | number;
  ringDrain(
    handle: NativeHandle,
    out: Uint8Array,
    spans: Uint32Array | null,
    max: number,
    stride: number,
    state: Uint32Array,
  ): number;
  ringPending(handle: NativeHandle): number;
  ringWatch(handle: NativeHandle, wake: (status: number) => void): number;
  ringArm(handle: NativeHandle): number;
  ringRef(handle: NativeHandle, keepAlive: boolean): number;
  ringClose(handle: NativeHandle): number;
  mountBpffs(path: string): number;
  mountTracefs(path: string): number;
  isBpffs(path: string): number;
  unmount(path: string): number;
  raiseMemlock(): number;
  possibleCpus(): number;
  kernelFunction(name: string): number;
}

const FILE = "axon_bpf.node";

/** Places to look, best first: the environment, beside a bundle's folder, any folder above. */
function candidates(): string[] {
  const list: string[] = [];
  const named = process.env["AXON_NATIVE_DIR"];
  if (named) list.push(join(named, FILE));
  let dir = dirname(fileURLToPath(import.meta.url));
  list.push(join(dir, "../build/native", FILE));
  for (let parent = dirname(dir); parent !== dir; dir = parent, parent = dirname(dir)) {
    list.push(join(dir, "build/native", FILE));
  }
  return list;
}

let loaded: Native | undefined;

/** The addon, loaded on first use. Throws `bpf.native` when it was not built. */
export function native(): Native {
  if (loaded) return loaded;
  const path = candidates().find((file) => existsSync(file));
  if (!path) {
    throw new BpfError(
      "bpf.native",
      `the addon ${FILE} is missing: run "node scripts/build-bpf.mjs", or set AXON_NATIVE_DIR to its folder`,
    );
  }
  loaded = createRequire(import.meta.url)(path) as Native;
  loaded.raiseMemlock();
  return loaded;
}

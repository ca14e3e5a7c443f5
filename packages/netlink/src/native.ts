import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AxonError } from "@axoneme/base";

/** A poll handle of the addon; opaque. */
export type PollHandle = { readonly __poll: unique symbol };

/** The addon (native/*.c). Numbers below zero are -errno; nothing here throws but on wrong argument types. */
export interface Native {
  rtnlOpen(nsFd: number, groups: Uint8Array, receiveBuffer: number): number;
  rtnlReceive(fd: number, into: Uint8Array): number;
  rtnlTransact(fd: number, requests: Uint8Array, first: number, count: number): Promise<[number, Buffer]>;
  netnsOf(fd: number): number;
  netnsCreate(path: string, loopback: boolean, settings: string[]): Promise<[number, number]>;
  netnsDelete(path: string): Promise<number>;
  netnsCookie(nsFd: number): bigint | number;
  sysctlWrite(nsFd: number, settings: string[]): Promise<[number, number]>;
  sysctlRead(nsFd: number, file: string): string | number;
  socketListen(nsFd: number, type: number, ip: Uint8Array, port: number, backlog: number): number;
  socketConnect(nsFd: number, type: number, ip: Uint8Array, port: number, mark: number): number;
  socketMark(fd: number, mark: number): number;
  socketError(fd: number): number;
  ethtool(nsFd: number, name: string, command: number, value: number): number;
  driverCounters(nsFd: number, name: string): Record<string, number> | number;
  framesSend(nsFd: number, ifindexes: number[], frames: Uint8Array[]): number | number[];
  datagramSet(): number;
  datagramSetAdd(set: number, fd: number, tag: number): number;
  datagramSetRemove(set: number, fd: number): number;
  datagramReceive(set: number, buffer: Uint8Array, words: Uint32Array, slot: number): number;
  datagramSend(buffer: Uint8Array, words: Uint32Array, count: number): number;
  socketBuffer(fd: number, bytes: number): number;
  unixListen(path: string): number;
  unixAccept(fd: number): number;
  unixConnect(path: string): number;
  fdsSend(fd: number, byte: number, fds: number[]): number;
  fdsReceive(fd: number): number[] | number;
  pollStart(fd: number, events: number, ready: (status: number, events: number) => void): PollHandle | number;
  pollStop(handle: PollHandle): void;
  pollRef(handle: PollHandle, keepsLoopAlive: boolean): void;
}

/**
 * A file of the build directory, looked for upwards from this module: it runs from `src/` in a checkout and from
 * a bundle in `dist/`. AXON_BUILD_DIR names another place (an installed product). Throws `netlink.not-built`.
 */
export function builtFile(name: string): string {
  const fixed = process.env["AXON_BUILD_DIR"];
  if (fixed !== undefined) return join(fixed, name);
  let folder = dirname(fileURLToPath(import.meta.url));
  while (folder !== dirname(folder)) {
    const file = join(folder, "build", name);
    if (existsSync(file)) return file;
    folder = dirname(folder);
  }
  throw new AxonError("netlink.not-built", `build/${name} is missing: run "npm run build"`);
}

let loaded: Native | undefined;

/** The addon, loaded at first use so that importing this package costs nothing. */
export function native(): Native {
  if (loaded === undefined) {
    const require = createRequire(import.meta.url);
    loaded = require(builtFile("native/axon_netlink.node")) as Native;
  }
  return loaded;
}

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { compileBpf } from "../../../scripts/build-bpf.mjs";
import { BpfObject, mountBpffs, unmountBpffs } from "../src/index.ts";

const here = resolve(fileURLToPath(import.meta.url), "..");

/** A folder of this test alone; removed by `remove`. */
export function scratch(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "axon-bpf-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Compiles test/<name>.bpf.c into a folder and opens it. */
export function compile(name: string, folder: string): BpfObject {
  const output = join(folder, `${name}.bpf.o`);
  compileBpf(join(here, `${name}.bpf.c`), output);
  return BpfObject.open(output);
}

/** A bpffs of this test alone, so that nothing of it outlives the unmount. */
export function privateBpffs(folder: string): { path: string; remove: () => void } {
  const path = join(folder, "bpffs");
  mkdirSync(path, { recursive: true });
  mountBpffs(path);
  return { path, remove: () => unmountBpffs(path) };
}

export function u32(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

export function u64(...values: (number | bigint)[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values.map(BigInt)).buffer);
}

export function readU64(bytes: Uint8Array, at = 0): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
}

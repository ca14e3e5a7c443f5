import { decodeGcCtx, encodeGcCtx, gcCtxSize } from "@axoneme/abi";
import type { Ip } from "@axoneme/base";
import type { Program } from "@axoneme/bpf";

/** What one sweep over the maps of connections, NAT and Services' flows saw and removed. */
export interface SweepResult {
  readonly ctSeen: number;
  readonly ctDeleted: number;
  readonly natSeen: number;
  readonly natDeleted: number;
  readonly flowSeen: number;
  readonly flowDeleted: number;
}

/**
 * Runs the syscall program `ct_gc` once; with `flush` it also removes whatever touches that address. The ports of
 * mappings that go return to their pools: never run it twice at a time.
 */
export function sweep(program: Program, nowS: number, flush?: Ip): SweepResult {
  const ctx = new Uint8Array(gcCtxSize);
  const view = new DataView(ctx.buffer);
  const blank = decodeGcCtx(view, 0);
  encodeGcCtx({ ...blank, nowS, flush: flush ?? blank.flush.slice() }, view, 0);
  const { ctxOut } = program.testRun({ ctx });
  return decodeGcCtx(new DataView(ctxOut.buffer, ctxOut.byteOffset, ctxOut.byteLength), 0);
}

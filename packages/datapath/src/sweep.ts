import { decodeGcCtx, encodeGcCtx, gcCtxSize } from "@axoneme/abi";
import type { Program } from "@axoneme/bpf";

/** What one sweep over the connection and NAT maps saw and removed. */
export interface SweepResult {
  readonly ctSeen: number;
  readonly ctDeleted: number;
  readonly natSeen: number;
  readonly natDeleted: number;
}

/** Runs the syscall program `ct_gc` once. */
export function sweep(program: Program, nowS: number): SweepResult {
  const ctx = new Uint8Array(gcCtxSize);
  const view = new DataView(ctx.buffer);
  encodeGcCtx({ ...decodeGcCtx(view, 0), nowS }, view, 0);
  const { ctxOut } = program.testRun({ ctx });
  return decodeGcCtx(new DataView(ctxOut.buffer, ctxOut.byteOffset, ctxOut.byteLength), 0);
}

import { randomFillSync } from "node:crypto";

const pool = new Uint32Array(1024);
let left = 0;

/** A number below `bound` (at most 2^16) that nobody can foresee. */
export function randomBelow(bound: number): number {
  if (left === 0) {
    randomFillSync(pool);
    left = pool.length;
  }
  return (pool[--left] ?? 0) % bound;
}

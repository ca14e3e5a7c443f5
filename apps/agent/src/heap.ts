import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * One full collection that gives memory back to the system. Lists of a large cluster leave more behind than the copies
 * that are kept of them, and V8 would hold on to it for hours in a process that has little to do from then on.
 */
export function shrinkHeap(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}

/** How often the heap is looked at, and how much has to have come in meanwhile. */
const lookMs = 60_000;
const worthwhileBytes = 48 << 20;

/**
 * The same again after every large influx (a relist of everything, thousands of pods that change): V8 would keep the room for the next
 * one. Not while it grows: a full collection takes some tenths of a second.
 */
export function keepHeapSmall(): void {
  let settled = process.memoryUsage.rss();
  let before = settled;
  setInterval(() => {
    const now = process.memoryUsage.rss();
    const isStill = Math.abs(now - before) < worthwhileBytes / 8;
    before = now;
    settled = Math.min(settled, now);
    if (!isStill || now - settled < worthwhileBytes) return;
    shrinkHeap();
    settled = process.memoryUsage.rss();
    before = settled;
  }, lookMs).unref();
}

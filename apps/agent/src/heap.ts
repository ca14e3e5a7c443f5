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

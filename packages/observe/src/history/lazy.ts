import { AxonError } from "@axoneme/base";
import type { Observer } from "../observer.ts";
import type { History } from "./history.ts";
import type { HistoryOptions } from "./options.ts";

export type { History } from "./history.ts";
export type { HistoryFigures, HistoryOptions } from "./options.ts";

/** Less would hold no hour of a quiet node. */
const leastBytes = 16 * 1024 * 1024;
const units: Readonly<Record<string, number>> = { "": 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 };

/**
 * Bytes of a size as people write it: `10GiB`, `500Mi`, `20971520`; 0 for none (empty, `0`).
 * @throws AxonError `observe.history_size`
 */
export function parseHistorySize(text: string): number {
  if (text === "" || text === "0") return 0;
  const match = /^(\d+(?:\.\d+)?) ?(Ki|Mi|Gi|Ti|)B?$/.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (units[match?.[2] ?? ""] ?? Number.NaN));
  if (match === null || !Number.isSafeInteger(bytes) || bytes < leastBytes) {
    throw new AxonError(
      "observe.history_size",
      `size of the flow history "${text}": write it as 10GiB or 500MiB, 16MiB at least, or 0 for none`,
    );
  }
  return bytes;
}

/**
 * Keeps the records of an observer on disk; from then on the observer answers from there what its ring has overwritten.
 * Loaded by the first call.
 * @throws AxonError `observe.history_dir`
 */
export async function keepHistory(
  observer: Observer,
  options: Pick<HistoryOptions, "dir" | "limitBytes" | "log" | "clock" | "segmentBytes">,
): Promise<History> {
  const { History } = await import("./history.ts");
  const { store, resolver, seed } = observer;
  const history = await History.open({ ...options, store, resolver, seed });
  observer.history = history;
  return history;
}

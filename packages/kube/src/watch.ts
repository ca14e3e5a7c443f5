import type { Caller, CallOptions, Selectors } from "./call.ts";
import { errorFromFailure, errorFromStatus, type StatusBody } from "./errors.ts";
import { LineSplitter } from "./lines.ts";
import type { KubeObject } from "./resources.ts";

/** An event of a watch. BOOKMARK objects hold a resourceVersion and nothing else. */
export interface WatchEvent<T> {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  object: T;
}

export interface WatchOptions<T> extends CallOptions, Selectors {
  /** Events after this version; absent: the server sends the present state as ADDED first. */
  resourceVersion?: string;
  allowBookmarks?: boolean;
  /** When the server shall end the stream. */
  timeoutSeconds?: number;
  /** Longest event accepted (default 16 MiB). */
  maxLineBytes?: number;
  /** The server accepted the watch. */
  onOpen?: () => void;
  onEvent: (event: WatchEvent<T>) => void;
}

const types = new Set(["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]);

/**
 * Runs one watch to its end. A line without its newline is dropped. An ERROR event is thrown as the KubeError of
 * its Status; what is no event at all as `kube.protocol`.
 */
export async function streamWatch<T extends KubeObject>(
  client: Caller,
  path: string,
  object: string,
  options: WatchOptions<T>,
): Promise<void> {
  const attempt = { verb: "watch", object, server: client.server };
  const { labelSelector, fieldSelector, resourceVersion, timeoutSeconds } = options;
  const query = {
    watch: true,
    labelSelector,
    fieldSelector,
    resourceVersion,
    timeoutSeconds,
    allowWatchBookmarks: options.allowBookmarks ?? true,
  };
  const onLine = (line: string): void => {
    const event = parseEvent<T>(line);
    if (event === undefined) {
      const cause = new Error(`not a watch event: ${line.slice(0, 120)}`);
      throw errorFromFailure(attempt, "kube.protocol", cause);
    }
    if (event.type === "ERROR") throw errorFromStatus(attempt, event.object as StatusBody);
    options.onEvent(event as WatchEvent<T>);
  };
  const lines = new LineSplitter(options.maxLineBytes ?? 16 << 20, onLine);
  const push = (chunk: Buffer): void => {
    try {
      lines.push(chunk);
    } catch (cause) {
      throw errorFromFailure(attempt, "kube.protocol", cause);
    }
  };
  const call = { path, query, verb: "watch", object, signal: options.signal };
  await client.stream(call, () => options.onOpen?.(), push);
}

function parseEvent<T>(line: string): { type: string; object: T } | undefined {
  let event: { type?: unknown; object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch {
    return undefined; // the caller reports the line itself
  }
  const { type, object } = event ?? {};
  if (typeof type !== "string" || typeof object !== "object" || object === null) return undefined;
  if (type !== "ERROR" && !(types.has(type) && hasMetadata(object))) return undefined;
  return { type, object: object as T };
}

function hasMetadata(object: object): boolean {
  const metadata = (object as KubeObject).metadata;
  return typeof metadata === "object" && metadata !== null && typeof metadata.resourceVersion === "string";
}

import { BatchError, BpfError, check, errnoText } from "./errors.ts";
import { native } from "./native.ts";

const ENOENT = 2;
const ENOSPC = 28;

/** Flat entries: `keys` and `values` may be longer than `count` entries. */
export interface Entries {
  keys: Uint8Array;
  values: Uint8Array;
  count: number;
}

/** What the batch calls need to know of a map. */
export interface Batchable {
  readonly fd: number;
  readonly name: string;
  readonly keySize: number;
  readonly entrySize: number;
  readonly maxEntries: number;
}

/** One walk through a map: where it stands in the kernel's order, and whether it reached the end. */
interface Walk {
  cursor: Uint8Array;
  first: boolean;
  done: boolean;
  state: Uint32Array;
}

function newWalk(map: Batchable): Walk {
  // The cursor of a hash map is a 4-byte bucket number, that of all others a key.
  const cursor = new Uint8Array(Math.max(map.keySize, 4));
  return { cursor, first: true, done: false, state: new Uint32Array(2) };
}

function allocate(map: Batchable, entries: number): Entries {
  const room = Math.max(1, entries);
  return { keys: new Uint8Array(room * map.keySize), values: new Uint8Array(room * map.entrySize), count: 0 };
}

function roomOf(map: Batchable, into: Entries): number {
  return Math.min(Math.floor(into.keys.length / map.keySize), Math.floor(into.values.length / map.entrySize));
}

/** Appends what fits. False: not even the next hash bucket fits, the arrays must grow. */
function step(map: Batchable, walk: Walk, into: Entries, take: boolean): boolean {
  const room = roomOf(map, into) - into.count;
  if (room <= 0) return false;
  const keys = into.keys.subarray(into.count * map.keySize);
  const values = into.values.subarray(into.count * map.entrySize);
  walk.state[0] = room;
  const { cursor, first, state } = walk;
  const result = native().mapLookupBatch(
    map.fd,
    cursor,
    first,
    keys,
    values,
    state,
    map.keySize,
    map.entrySize,
    take,
  );
  if (result === -ENOSPC) return false;
  check(result, "bpf.map", `${take ? "take a batch from" : "read"} map ${map.name}`);
  into.count += state[0] ?? 0;
  walk.done = state[1] === 1;
  walk.first = false;
  return true;
}

function grow(map: Batchable, into: Entries): void {
  const bigger = allocate(map, 2 * Math.max(16, roomOf(map, into)));
  bigger.keys.set(into.keys.subarray(0, into.count * map.keySize));
  bigger.values.set(into.values.subarray(0, into.count * map.entrySize));
  into.keys = bigger.keys;
  into.values = bigger.values;
}

/** See BpfMap.dump. */
export function dumpMap(map: Batchable, reuse?: Entries): Entries {
  const into = reuse ?? allocate(map, Math.min(map.maxEntries + 1, 4096));
  const walk = newWalk(map);
  into.count = 0;
  while (!walk.done) if (!step(map, walk, into, false)) grow(map, into);
  if (reuse) return into;
  return {
    keys: into.keys.subarray(0, into.count * map.keySize),
    values: into.values.subarray(0, into.count * map.entrySize),
    count: into.count,
  };
}

/** See BpfMap.chunks. */
export function* walkMap(map: Batchable, size: number): Generator<Entries, void> {
  const into = allocate(map, size);
  const walk = newWalk(map);
  while (!walk.done) {
    into.count = 0;
    while (!step(map, walk, into, false)) grow(map, into);
    if (into.count > 0) yield into;
  }
}

/** See BpfMap.lookupAndDeleteBatch. */
export function takeBatch(map: Batchable, max: number): Entries {
  const into = allocate(map, Math.min(max, map.maxEntries + 1));
  const walk = newWalk(map);
  while (!step(map, walk, into, true)) grow(map, into);
  return into;
}

function requireLength(map: Batchable, what: string, bytes: Uint8Array, size: number, count: number): void {
  if (bytes.length >= size * count) return;
  throw new BpfError(
    "bpf.map.size",
    `map ${map.name}: ${what} of ${count} entries need ${size * count} bytes, got ${bytes.length}`,
  );
}

/** See BpfMap.putBatch. */
export function putBatch(
  map: Batchable,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
  flags: number,
): void {
  requireLength(map, "keys", keys, map.keySize, count);
  requireLength(map, "values", values, map.entrySize, count);
  if (count === 0) return;
  const state = new Uint32Array([count, 0]);
  const result = native().mapUpdateBatch(map.fd, keys, values, state, map.keySize, map.entrySize, flags);
  if (result >= 0) return;
  const index = state[0] ?? 0;
  const message = `write ${count} entries to map ${map.name}: entry ${index}: ${errnoText(-result)}`;
  throw new BatchError(message, -result, index);
}

/** See BpfMap.deleteBatch. */
export function deleteBatch(map: Batchable, keys: Uint8Array, count: number): number {
  requireLength(map, "keys", keys, map.keySize, count);
  const state = new Uint32Array(2);
  let deleted = 0;
  let at = 0;
  while (at < count) {
    state[0] = count - at;
    const result = native().mapDeleteBatch(map.fd, keys.subarray(at * map.keySize), null, state, map.keySize);
    const done = result >= 0 ? count - at : (state[0] ?? 0);
    deleted += done;
    at += done + (result >= 0 ? 0 : 1);
    if (result >= 0 || result === -ENOENT) continue;
    const message = `delete ${count} entries from map ${map.name}: entry ${at - 1}: ${errnoText(-result)}`;
    throw new BatchError(message, -result, at - 1);
  }
  return deleted;
}

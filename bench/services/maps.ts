import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfMap, MapType } from "@axoneme/bpf";

/** The rows' map behind a map that grows, or the map itself. */
function rowsOf(map: BpfMap): BpfMap | undefined {
  if (map.info.type !== MapType.ARRAY_OF_MAPS) return map;
  const id = map.get(new Uint8Array(4));
  return id && BpfMap.openById(new DataView(id.buffer, id.byteOffset).getUint32(0, true));
}

/** Uses the rows' map of a pinned map; undefined when there is none yet. */
export function withRows<T>(bpffs: string, name: string, use: (map: BpfMap) => T): T | undefined {
  const path = join(bpffs, "maps", name);
  if (!existsSync(path)) return undefined;
  const pinned = BpfMap.openPinned(path);
  const rows = rowsOf(pinned);
  try {
    return rows && use(rows);
  } finally {
    if (rows !== pinned) rows?.close();
    pinned.close();
  }
}

/** Rows in a node's map. */
export function countRows(bpffs: string, name: string): number {
  return withRows(bpffs, name, (map) => map.dump().count) ?? 0;
}

/** Kernel memory of each of a node's maps, in bytes. */
export function mapMemory(bpffs: string): Map<string, number> {
  const names = readdirSync(join(bpffs, "maps"));
  return new Map(names.map((name) => [name, withRows(bpffs, name, ({ memoryBytes }) => memoryBytes) ?? 0]));
}

/** Microseconds a write costs in a map of the same shape: one by one and in batches. */
export function writeTimes(bpffs: string, name: string): { one: number; batched: number } | undefined {
  return withRows(bpffs, name, (like) => {
    const { type, keySize, valueSize, flags } = like.info;
    const count = 10_000;
    const fresh = () =>
      BpfMap.create({ name: "bench", type, keySize, valueSize, maxEntries: 2 * count, flags });
    const keys = new Uint8Array(count * keySize);
    const view = new DataView(keys.buffer);
    for (let i = 0; i < count; i++) view.setUint32(i * keySize, i, true);
    const values = new Uint8Array(count * valueSize);
    const timed = (write: (map: BpfMap) => void): number => {
      const map = fresh();
      try {
        const begin = performance.now();
        write(map);
        return ((performance.now() - begin) * 1000) / count;
      } finally {
        map.close();
      }
    };
    const one = timed((map) => {
      for (let i = 0; i < count; i++) {
        map.put(
          keys.subarray(i * keySize, (i + 1) * keySize),
          values.subarray(i * valueSize, (i + 1) * valueSize),
        );
      }
    });
    return { one, batched: timed((map) => map.putBatch(keys, values, count)) };
  });
}

import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  BatchError,
  BpfMap,
  describeOpenFds,
  type Entries,
  MapFlag,
  MapType,
  possibleCpus,
  Update,
} from "../src/index.ts";
import { readU64, u32, u64 } from "./fixtures.ts";

const open: BpfMap[] = [];

function create(
  type: number,
  maxEntries: number,
  options: { flags?: number; key?: number; value?: number } = {},
): BpfMap {
  const { flags = 0, key = 4, value = 8 } = options;
  const map = BpfMap.create({ name: "axt_map", type, keySize: key, valueSize: value, maxEntries, flags });
  open.push(map);
  return map;
}

/** Flat entries i -> 10 i for the numbers given. */
function rows(numbers: readonly number[]): { keys: Uint8Array; values: Uint8Array } {
  return { keys: u32(...numbers), values: u64(...numbers.map((n) => n * 10)) };
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Entries as a sorted list of [key, value], to compare with. */
function listed({ keys, values, count }: Entries, stride = 8): [number, bigint][] {
  const view = new DataView(keys.buffer, keys.byteOffset);
  const list = numbers(count).map((i): [number, bigint] => [
    view.getUint32(4 * i, true),
    readU64(values, stride * i),
  ]);
  return list.sort(([a], [b]) => a - b);
}

const expected = (count: number) => numbers(count).map((n): [number, bigint] => [n, BigInt(n * 10)]);

afterEach(() => {
  for (const map of open.splice(0)) map.close();
  expect(describeOpenFds()).toEqual([]);
});

describe("one entry at a time", () => {
  it("writes, reads, replaces and deletes", () => {
    const map = create(MapType.HASH, 10);
    expect(map.get(u32(1))).toBeUndefined();
    map.put(u32(1), u64(5));
    map.put(u32(1), u64(6));
    expect(map.get(u32(1))).toEqual(u64(6));
    expect(map.delete(u32(1))).toBe(true);
    expect(map.delete(u32(1))).toBe(false);
  });

  it("honours the flags and says which map was full", () => {
    const map = create(MapType.HASH, 1);
    expect(() => map.put(u32(1), u64(1), Update.EXIST)).toThrow(/axt_map: ENOENT/);
    map.put(u32(1), u64(1), Update.NOEXIST);
    expect(() => map.put(u32(1), u64(1), Update.NOEXIST)).toThrow(/axt_map: EEXIST/);
    expect(() => map.put(u32(2), u64(1))).toThrow(/axt_map: E2BIG/);
  });

  it("refuses keys and values of the wrong length before the kernel reads past them", () => {
    const map = create(MapType.HASH, 10);
    expect(() => map.put(new Uint8Array(3), u64(1))).toThrow(/key has 3 bytes, want 4/);
    expect(() => map.put(u32(1), new Uint8Array(7))).toThrow(/value has 7 bytes, want 8/);
    expect(() => map.getInto(u32(1), new Uint8Array(4))).toThrow(/want 8/);
  });

  it("takes an entry out, and walks by key", () => {
    const map = create(MapType.HASH, 10);
    map.put(u32(3), u64(9));
    expect(map.nextKey()).toEqual(u32(3));
    expect(map.nextKey(u32(3))).toBeUndefined();
    expect(map.take(u32(3))).toEqual(u64(9));
    expect(map.take(u32(3))).toBeUndefined();
  });

  it("serves a queue, which has no keys", () => {
    const map = create(MapType.QUEUE, 4, { key: 0 });
    const none = new Uint8Array(0);
    map.put(none, u64(1));
    map.put(none, u64(2));
    expect([map.take(none), map.take(none), map.take(none)]).toEqual([u64(1), u64(2), undefined]);
  });

  it("is found again by id and refuses to work when closed", () => {
    const map = create(MapType.HASH, 10);
    map.put(u32(1), u64(7));
    const again = BpfMap.openById(map.info.id);
    expect(again.get(u32(1))).toEqual(u64(7));
    again.close();
    again.close();
    expect(() => again.get(u32(1))).toThrow(/is closed/);
  });
});

const kinds: [string, number, number][] = [
  ["hash", MapType.HASH, 0],
  ["hash without preallocation", MapType.HASH, MapFlag.NO_PREALLOC],
  ["LRU hash", MapType.LRU_HASH, 0],
];

describe.each(kinds)("batches on a %s", (_, type, flags) => {
  it("writes and reads everything back", () => {
    const map = create(type, 100_000, { flags });
    const { keys, values } = rows(numbers(20_000));
    map.putBatch(keys, values, 20_000);
    expect(listed(map.dump())).toEqual(expected(20_000));
  });

  it("reads in chunks whose size is smaller than a bucket may be", () => {
    const map = create(type, 1000, { flags });
    const { keys, values } = rows(numbers(300));
    map.putBatch(keys, values, 300);
    const seen = new Set<number>();
    for (const chunk of map.chunks(1)) for (const [key] of listed(chunk)) seen.add(key);
    expect(seen.size).toBe(300);
  });

  it("deletes many and passes over what is not there", () => {
    const map = create(type, 1000, { flags });
    const { keys, values } = rows(numbers(100));
    map.putBatch(keys, values, 100);
    expect(map.deleteBatch(u32(500, 1, 2, 501, 502, 3, 503), 7)).toBe(3);
    expect(map.dump().count).toBe(97);
    expect(map.clear()).toBe(97);
    expect(map.dump().count).toBe(0);
  });

  it("takes entries out until none is left", () => {
    const map = create(type, 1000, { flags });
    const { keys, values } = rows(numbers(500));
    map.putBatch(keys, values, 500);
    let taken = 0;
    for (let batch = map.lookupAndDeleteBatch(64); batch.count > 0; batch = map.lookupAndDeleteBatch(64)) {
      taken += batch.count;
    }
    expect(taken).toBe(500);
    expect(map.dump().count).toBe(0);
  });
});

describe("batches on other kinds", () => {
  it("reads an array, which has every key", () => {
    const map = create(MapType.ARRAY, 300);
    const { keys, values } = rows(numbers(300));
    map.putBatch(keys, values, 300);
    expect(listed(map.dump())).toEqual(expected(300));
  });

  it("reads and writes a longest-prefix map", () => {
    const map = create(MapType.LPM_TRIE, 100, { flags: MapFlag.NO_PREALLOC, key: 8 });
    const keys = new Uint8Array(50 * 8);
    for (let i = 0; i < 50; i++) keys.set([24, 0, 0, 0, 10, 0, i, 0], i * 8);
    map.putBatch(keys, u64(...numbers(50)), 50);
    expect(map.dump().count).toBe(50);
    expect(map.get(Uint8Array.of(32, 0, 0, 0, 10, 0, 7, 9))).toEqual(u64(7));
    expect(map.clear()).toBe(50);
  });

  it("gives a per-CPU map's values, one per possible CPU", () => {
    const map = create(MapType.PERCPU_HASH, 100, { value: 4 });
    map.put(u32(1), u32(8));
    const perCpu = map.getPerCpu(u32(1)) ?? [];
    expect(perCpu).toHaveLength(possibleCpus());
    expect(perCpu.every((bytes) => bytes.length === 4 && bytes[0] === 8)).toBe(true);
    const { count, values } = map.dump();
    expect([count, values.length]).toEqual([1, possibleCpus() * 8]);
  });

  it("loops inside the call where the kind has no batch commands", () => {
    const map = create(MapType.DEVMAP_HASH, 8, { value: 4 });
    map.putBatch(u32(5, 6, 7), u32(1, 1, 1), 3);
    const { keys, values, count } = map.dump();
    expect([count, [...new Uint32Array(values.slice().buffer)]]).toEqual([3, [1, 1, 1]]);
    expect([...new Uint32Array(keys.slice().buffer)].sort()).toEqual([5, 6, 7]);
    expect([...map.chunks(2)].reduce((sum, chunk) => sum + chunk.count, 0)).toBeGreaterThan(0);
    expect(map.deleteBatch(u32(5, 9, 6), 3)).toBe(2);
    expect(map.lookupAndDeleteBatch(8).count).toBe(1);
    expect(map.dump().count).toBe(0);
  });

  it("says which map cannot do it", () => {
    const map = create(MapType.ARRAY, 4);
    expect(() => map.lookupAndDeleteBatch(4)).toThrow(/take a batch from map axt_map: EINVAL/);
  });
});

describe("errors and reuse", () => {
  it("names the entry at which a batch stopped", () => {
    const map = create(MapType.HASH, 5);
    const { keys, values } = rows(numbers(8));
    let error: unknown;
    try {
      map.putBatch(keys, values, 8);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ index: 5, errnoName: "E2BIG" });
    expect(map.dump().count).toBe(5);
  });

  it("uses flags in a batch", () => {
    const map = create(MapType.HASH, 100);
    const { keys, values } = rows(numbers(3));
    map.putBatch(keys, values, 3, Update.NOEXIST);
    expect(() => map.putBatch(keys, values, 3, Update.NOEXIST)).toThrow(/entry 0: EEXIST/);
  });

  it("dumps into the same arrays again and again", () => {
    const map = create(MapType.HASH, 1000);
    const { keys, values } = rows(numbers(700));
    map.putBatch(keys, values, 700);
    const entries = { keys: new Uint8Array(0), values: new Uint8Array(0), count: 0 };
    map.dump(entries);
    const grown = entries.keys;
    map.delete(u32(0));
    map.dump(entries);
    expect(entries.count).toBe(699);
    expect(entries.keys).toBe(grown);
  });

  it("freezes", () => {
    const map = create(MapType.ARRAY, 1);
    map.freeze();
    expect(() => map.put(u32(0), u64(1))).toThrow(/EPERM/);
  });
});

beforeAll(() => expect(describeOpenFds()).toEqual([]));
afterAll(() => expect(describeOpenFds()).toEqual([]));

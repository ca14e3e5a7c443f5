import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Change, type Key, Table } from "../src/index.ts";

interface Pod {
  name: string;
  node: string;
  ips: string[];
}

const make = () =>
  new Table<Pod, "node" | "ip">({
    name: "pods",
    key: (pod) => pod.name,
    indexes: { node: (pod) => pod.node, ip: (pod) => pod.ips },
  });

describe("Table", () => {
  it("files rows under every index key and moves them on update", () => {
    const table = make();
    table.upsert({ name: "a", node: "n1", ips: ["1", "2"] });
    table.upsert({ name: "b", node: "n1", ips: [] });
    expect(table.by("node", "n1").map((pod) => pod.name)).toEqual(["a", "b"]);
    table.upsert({ name: "a", node: "n2", ips: ["2", "3"] });
    expect(table.by("ip", "1")).toEqual([]);
    expect(table.by("ip", "3").map((pod) => pod.name)).toEqual(["a"]);
    expect([...table.keysOf("node")].sort()).toEqual(["n1", "n2"]);
    table.delete("a");
    expect([...table.keysOf("ip")]).toEqual([]);
    expect(() => table.by("zone" as never, "x")).toThrowError(
      expect.objectContaining({ code: "state.index" }),
    );
  });

  it("delivers one batch a microtask and one a transaction, each key once", async () => {
    const table = make();
    const batches: (readonly Change<Pod>[])[] = [];
    table.watch((changes) => void batches.push(changes));
    const first = { name: "a", node: "n1", ips: [] };
    const second = { name: "a", node: "n2", ips: [] };
    table.upsert(first);
    table.upsert(second);
    expect(batches).toEqual([]);
    await Promise.resolve();
    expect(batches).toEqual([[{ key: "a", previous: undefined, row: second }]]);
    table.txn(() => {
      table.upsert(first);
      table.txn(() => table.upsert({ name: "gone", node: "n", ips: [] }));
      table.delete("gone");
    });
    expect(batches[1]).toEqual([{ key: "a", previous: second, row: first }]);
    await Promise.resolve();
    expect(batches.length).toBe(2);
  });

  it("gives a new watcher what is there, and no more after it left", () => {
    const table = make();
    table.upsert({ name: "a", node: "n1", ips: [] });
    const seen: Key[] = [];
    const stop = table.watch((changes) => void seen.push(...changes.map((change) => change.key)));
    table.txn(() => table.upsert({ name: "b", node: "n1", ips: [] }));
    stop();
    table.txn(() => table.upsert({ name: "c", node: "n1", ips: [] }));
    expect(seen).toEqual(["a", "b"]);
  });

  it("takes an equal row for no change", () => {
    const table = new Table<{ id: number; v: number }>({
      name: "t",
      key: (r) => r.id,
      equal: (a, b) => a.v === b.v,
    });
    expect(table.upsert({ id: 1, v: 1 })).toBe(true);
    expect(table.upsert({ id: 1, v: 1 })).toBe(false);
    expect(table.revision).toBe(1);
  });

  it("keeps a follower of its feed in step, and its indexes equal to a scan, after any history", async () => {
    const step = fc.record({
      name: fc.constantFrom("a", "b", "c"),
      node: fc.constantFrom("n1", "n2"),
      ips: fc.uniqueArray(fc.constantFrom("1", "2", "3")),
      remove: fc.boolean(),
      turn: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step), async (steps) => {
        const table = make();
        const copy = new Map<Key, Pod>();
        table.watch((changes) => {
          for (const { key, previous, row } of changes) {
            expect(copy.get(key)).toBe(previous);
            if (row === undefined) copy.delete(key);
            else copy.set(key, row);
          }
        });
        for (const { remove, turn, ...pod } of steps) {
          if (remove) table.delete(pod.name);
          else table.upsert(pod);
          if (turn) await Promise.resolve();
        }
        table.replaceAll([...table.all()]);
        expect([...copy.values()]).toEqual(expect.arrayContaining([...table.all()]));
        expect(copy.size).toBe(table.size);
        for (const ip of ["1", "2", "3"]) {
          const scan = [...table.all()].filter((pod) => pod.ips.includes(ip));
          expect(new Set(table.by("ip", ip))).toEqual(new Set(scan));
        }
      }),
    );
  });
});

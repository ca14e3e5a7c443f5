import { Deferred, FakeClock, memoryLogger } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Reconciler, type ReconcilerOps, Table } from "../src/index.ts";

interface Row {
  id: number;
  value: string;
}

/** A target that is a Map, with faults on demand. */
function setup(faults: { failing?: Set<number>; perRow?: boolean } = {}) {
  const table = new Table<Row>({ name: "rows", key: (row) => row.id });
  const target = new Map<number, string>();
  const calls: string[] = [];
  const clock = new FakeClock();
  const logger = memoryLogger();
  const bad = (rows: readonly Row[]) => rows.filter((row) => faults.failing?.has(row.id));
  const guard = (rows: readonly Row[]) => {
    if (!faults.perRow && bad(rows).length > 0) throw new Error("no space");
    return bad(rows).map((row) => ({ row, error: new Error("no space") }));
  };
  const ops: ReconcilerOps<Row> = {
    update(rows) {
      calls.push(`update ${rows.map((row) => row.id).join()}`);
      const failures = guard(rows);
      for (const row of rows) if (!faults.failing?.has(row.id)) target.set(row.id, row.value);
      return failures;
    },
    delete(rows) {
      calls.push(`delete ${rows.map((row) => row.id).join()}`);
      const failures = guard(rows);
      for (const row of rows) if (!faults.failing?.has(row.id)) target.delete(row.id);
      return failures;
    },
    prune(all) {
      const keep = new Set(all.map((row) => row.id));
      for (const id of [...target.keys()]) if (!keep.has(id)) target.delete(id);
    },
  };
  const retry = { baseMs: 100, maxMs: 1000, jitter: 0 };
  const reconciler = new Reconciler<Row>({ name: "map", table, ops, clock, logger, retry, batchSize: 3 });
  reconciler.start();
  return { table, target, calls, clock, logger, reconciler, faults };
}

describe("Reconciler", () => {
  it("writes in batches and says done", async () => {
    const { table, target, calls, reconciler } = setup();
    table.txn(() => {
      for (let id = 1; id <= 4; id++) table.upsert({ id, value: "v" });
    });
    const health = await reconciler.flush();
    expect(calls).toEqual(["update 1,2,3", "update 4"]);
    expect(target.size).toBe(4);
    expect(reconciler.status(4)?.state).toBe("done");
    expect(health).toMatchObject({ healthy: true, desired: 4, pending: 0, failing: 0, updates: 4 });
    table.delete(1);
    await reconciler.flush();
    expect(target.has(1)).toBe(false);
    expect(reconciler.status(1)).toBeUndefined();
  });

  it.each([{ perRow: true }, { perRow: false }])(
    "keeps a bad row from holding up the others (%o), names it, and retries it later each time",
    async ({ perRow }) => {
      const faults = { failing: new Set([2]), perRow };
      const { table, target, clock, reconciler, logger } = setup(faults);
      table.txn(() => {
        for (let id = 1; id <= 3; id++) table.upsert({ id, value: "v" });
      });
      const health = await reconciler.flush();
      expect([...target.keys()]).toEqual([1, 3]);
      expect(health).toMatchObject({ healthy: false, failing: 1, error: "no space" });
      expect(reconciler.status(2)).toMatchObject({ state: "error", nextRetry: clock.now() + 100 });
      expect(logger.records[0]?.fields).toMatchObject({ key: 2, error: "no space" });
      await clock.advanceAsync(100);
      expect(reconciler.status(2)?.nextRetry).toBe(clock.now() + 200);
      faults.failing.clear();
      await clock.advanceAsync(200);
      expect(target.has(2)).toBe(true);
      expect(reconciler.health().healthy).toBe(true);
    },
  );

  it("ensure throws what stands in the way of a row", async () => {
    const { table, reconciler } = setup({ failing: new Set([2]) });
    table.upsert({ id: 1, value: "v" });
    table.upsert({ id: 2, value: "v" });
    await reconciler.ensure([1]);
    await expect(reconciler.ensure([2])).rejects.toMatchObject({
      code: "reconcile.failed",
      message: expect.stringMatching(/no space/),
    });
    await expect(reconciler.ensure([9])).rejects.toMatchObject({
      message: expect.stringMatching(/not desired/),
    });
  });

  it("does not call an old write of a newer row done", async () => {
    const table = new Table<Row>({ name: "rows", key: (row) => row.id });
    const gate = new Deferred<void>();
    const written: string[] = [];
    const ops: ReconcilerOps<Row> = {
      async update(rows) {
        written.push(...rows.map((row) => row.value));
        if (written.length === 1) await gate.promise;
        return undefined;
      },
      delete: () => undefined,
    };
    const reconciler = new Reconciler({ name: "slow", table, ops });
    reconciler.start();
    table.txn(() => table.upsert({ id: 1, value: "old" }));
    table.txn(() => table.upsert({ id: 1, value: "new" }));
    gate.resolve();
    await Promise.resolve();
    expect(reconciler.status(1)?.state).toBe("pending");
    await reconciler.flush();
    expect(written).toEqual(["old", "new"]);
    expect(reconciler.status(1)?.state).toBe("done");
  });

  it("prunes what nobody desires, and only when asked", async () => {
    const { table, target, reconciler } = setup();
    target.set(99, "left over from the last run");
    table.upsert({ id: 1, value: "v" });
    await reconciler.flush();
    expect(target.has(99)).toBe(true);
    await reconciler.prune();
    expect([...target.keys()]).toEqual([1]);
  });

  it("reports a failed prune", async () => {
    const table = new Table<Row>({ name: "rows", key: (row) => row.id });
    const ops: ReconcilerOps<Row> = {
      update: () => undefined,
      delete: () => undefined,
      prune: () => Promise.reject(new Error("map is gone")),
    };
    const reconciler = new Reconciler({ name: "p", table, ops });
    reconciler.start();
    await expect(reconciler.prune()).rejects.toThrow("map is gone");
    expect(reconciler.health()).toMatchObject({ healthy: false, lastPruneError: "map is gone" });
  });

  it("stops trying after stop", async () => {
    const { table, calls, clock, reconciler } = setup({ failing: new Set([1]) });
    table.upsert({ id: 1, value: "v" });
    await reconciler.flush();
    await reconciler.stop();
    const before = calls.length;
    await clock.advanceAsync(10_000);
    expect(calls.length).toBe(before);
  });

  it("ends with the target equal to the table after any history of changes and faults", async () => {
    const step = fc.record({
      id: fc.integer({ min: 1, max: 4 }),
      value: fc.constantFrom("a", "b"),
      action: fc.constantFrom("upsert", "delete", "break", "mend", "wait", "turn"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step), fc.boolean(), async (steps, perRow) => {
        const faults = { failing: new Set<number>(), perRow };
        const { table, target, clock, reconciler } = setup(faults);
        for (const { id, value, action } of steps) {
          if (action === "upsert") table.upsert({ id, value });
          else if (action === "delete") table.delete(id);
          else if (action === "break") faults.failing.add(id);
          else if (action === "mend") faults.failing.delete(id);
          else if (action === "wait") await clock.advanceAsync(150);
          else await Promise.resolve();
        }
        faults.failing.clear();
        await reconciler.flush();
        await clock.advanceAsync(2000);
        expect(Object.fromEntries(target)).toEqual(
          Object.fromEntries([...table.all()].map((row) => [row.id, row.value])),
        );
        expect(reconciler.health()).toMatchObject({
          healthy: true,
          pending: 0,
          failing: 0,
          desired: table.size,
        });
      }),
    );
  });
});

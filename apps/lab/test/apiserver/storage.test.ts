import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { KubeObject } from "../../src/apiserver/object.ts";
import { Persistence } from "../../src/apiserver/storage/persistence.ts";
import { Store } from "../../src/apiserver/storage/store.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ax-store-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function open(where = dir, compactBytes = 1 << 30): { store: Store; floors: Map<string, number> } {
  const { persistence, recovered } = Persistence.open(where, { compactBytes });
  return { store: new Store({ persistence, recovered }), floors: recovered.floors };
}

function object(name: string, value: string): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { value } };
}

/** Everything in the store, as text. */
function dump(store: Store): string {
  return [...store.bucket("/configmaps").entries()]
    .map((entry) => `${entry.key}@${entry.revision}=${entry.json}`)
    .join("\n");
}

interface Step {
  key: string;
  value: string | undefined;
}

const steps = fc.array(
  fc.record({
    key: fc.constantFrom("a/1", "a/2", "b/1", "ü/☃"),
    value: fc.option(fc.string({ maxLength: 40, unit: "grapheme" }), { nil: undefined }),
  }),
  { minLength: 1, maxLength: 25 },
);

function run(store: Store, step: Step): void {
  if (step.value === undefined) store.delete("/configmaps", step.key);
  else store.put("/configmaps", step.key, object(step.key, step.value));
}

describe("the journal", () => {
  test("a journal cut at any byte opens to the state after some whole number of its writes", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.double({ min: 0, max: 1, noNaN: true }), async (list, where) => {
        const own = mkdtempSync(join(dir, "run-"));
        const { store } = open(own);
        const journal = join(own, "journal-1");
        const states = [dump(store)];
        const sizes = [0];
        for (const step of list) {
          run(store, step);
          states.push(dump(store));
          sizes.push(readFileSync(journal).length);
        }
        await store.close();
        const cut = Math.floor((sizes.at(-1) ?? 0) * where);
        truncateSync(journal, cut);
        const { store: reopened } = open(own);
        // Every write that is whole in the file is there; the one that was cut, and what came after, is not.
        const whole = sizes.filter((size) => size <= cut).length - 1;
        expect(dump(reopened)).toBe(states[whole]);
        // And it can be written to again, and read again.
        reopened.put("/configmaps", "z/1", object("1", "after"));
        const after = dump(reopened);
        await reopened.close();
        const { store: third } = open(own);
        expect(dump(third)).toBe(after);
        await third.close();
      }),
      { numRuns: 60 },
    );
  });

  test("a byte that changed on disk ends what is read, and nothing wrong is read", async () => {
    const { store } = open();
    for (let i = 0; i < 10; i++) store.put("/configmaps", `a/${i}`, object(String(i), "v"));
    const full = dump(store).split("\n");
    await store.close();
    const journal = join(dir, "journal-1");
    const data = readFileSync(journal);
    data.writeUInt8((data.readUInt8(data.length >> 1) + 1) & 0xff, data.length >> 1);
    writeFileSync(journal, data);
    const { store: reopened } = open();
    const found = dump(reopened).split("\n");
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThan(10);
    expect(full.slice(0, found.length)).toEqual(found);
    await reopened.close();
  });

  test("revisions go on counting after a restart, also when the last write was a deletion", async () => {
    const { store } = open();
    store.put("/configmaps", "a/1", object("1", "x"));
    store.delete("/configmaps", "a/1");
    const before = store.revision;
    await store.close();
    const { store: reopened } = open();
    expect(reopened.revision).toBe(before);
    expect(reopened.put("/configmaps", "a/1", object("1", "y")).revision).toBe(before + 1);
    await reopened.close();
  });
});

describe("compaction", () => {
  test("writes during it are kept, and old files go", async () => {
    const { store } = open();
    for (let i = 0; i < 2000; i++) store.put("/configmaps", `a/${i}`, object(String(i), "first"));
    const compacted = store.compact();
    for (let i = 0; i < 50; i++) store.put("/configmaps", `a/${i}`, object(String(i), "second"));
    store.delete("/configmaps", "a/1999");
    await compacted;
    const before = dump(store);
    await store.close();
    expect(readdirSync(dir).sort()).toEqual(["journal-2", "snapshot-2"]);
    const { store: reopened, floors } = open();
    expect(dump(reopened)).toBe(before);
    expect(floors.get("/configmaps")).toBe(reopened.revision);
    await reopened.close();
  });

  test("a crash that leaves a half-written snapshot loses nothing", async () => {
    const { store } = open();
    for (let i = 0; i < 20; i++) store.put("/configmaps", `a/${i}`, object(String(i), "v"));
    const before = dump(store);
    await store.close();
    // As it would be found: the next journal begun, the snapshot not yet renamed.
    writeFileSync(join(dir, "journal-2"), "");
    writeFileSync(join(dir, "snapshot-2.tmp"), "half");
    const { store: reopened } = open();
    expect(dump(reopened)).toBe(before);
    await reopened.close();
    expect(readdirSync(dir)).not.toContain("snapshot-2.tmp");
  });

  test("a damaged snapshot is refused by name", async () => {
    const { store } = open();
    store.put("/configmaps", "a/1", object("1", "v"));
    await store.compact();
    await store.close();
    truncateSync(join(dir, "snapshot-2"), readFileSync(join(dir, "snapshot-2")).length - 1);
    expect(() => open()).toThrow(/snapshot-2 is damaged/);
  });

  test("happens by itself when the journal has grown", async () => {
    const { store } = open(dir, 20_000);
    for (let i = 0; i < 400; i++) {
      store.put("/configmaps", "a/1", object("1", "v".repeat(200)));
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await store.close();
    expect(readdirSync(dir).some((name) => name.startsWith("snapshot-"))).toBe(true);
    const { store: reopened } = open();
    expect(reopened.revision).toBe(401);
    await reopened.close();
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { FixedCluster, type Step } from "./fixedcluster.ts";

const pod = fc.nat(3);
const node = fc.nat(2);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("create" as const), pod, node }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("delete" as const, "force" as const), pod }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("restart" as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("die" as const), node }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("gc" as const) }) },
);
const plan = fc.array(fc.record({ step, calls: fc.nat(12) }), { minLength: 5, maxLength: 25 });

/** Numbers that look random and are the same for the same seed (mulberry32). */
function chooser(seed: number): (of: number) => number {
  let state = seed;
  return (of) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % of;
  };
}

test("whatever crashes between any two writes, no address is given twice and none is lost", async () => {
  let moved = 0;
  await fc.assert(
    fc.asyncProperty(plan, fc.integer(), async (steps, seed) => {
      const cluster = new FixedCluster(chooser(seed));
      for (const each of steps) {
        cluster.start(each.step);
        await cluster.run(each.calls);
      }
      moved += cluster.objects.bindings.size;
      expect(cluster.doubles).toEqual([]);
      await cluster.settle();
      expect(cluster.failures).toEqual([]);
      expect(cluster.doubles).toEqual([]);
      expect([...cluster.objects.claims.keys()], "claims that nobody can free").toEqual([]);
      expect([...cluster.objects.bindings.keys()], "bindings that nobody can free").toEqual([]);
    }),
    { numRuns: 1500, interruptAfterTimeLimit: 10_000, markInterruptAsFailure: false },
  );
  expect(moved, "the plans give addresses out at all").toBeGreaterThan(0);
}, 30_000);

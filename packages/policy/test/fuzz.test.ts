import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PolicyEngine, parseCiliumPolicy, parseNetworkPolicy } from "../src/index.ts";
import { policyArb, type RawPolicy } from "./generate.ts";
import { parse } from "./world.ts";

/** Replaces the value at a random place of an object by something else. */
function damage(value: unknown, path: readonly number[], by: unknown): unknown {
  if (typeof value !== "object" || value === null || path.length === 0) return by;
  const keys = Object.keys(value);
  if (keys.length === 0) return by;
  const key = keys[(path[0] ?? 0) % keys.length] ?? "";
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  copy[key] = damage(copy[key], path.slice(1), by);
  return copy;
}

describe("objects nobody checked", () => {
  it("are read without a throw, whatever they hold", () => {
    fc.assert(
      fc.property(fc.anything({ maxDepth: 4 }), (spec) => {
        for (const object of [spec, { metadata: { name: "x" }, spec }, { metadata: spec, specs: [spec] }]) {
          parseNetworkPolicy(object);
          parseCiliumPolicy(object);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("make rows or problems, never an exception, when a good policy is damaged anywhere", () => {
    const junk = fc.oneof(
      fc.constantFrom<unknown>(null, {}, [], "", "x", -1, 70_000, [null], [{}], { a: 1 }),
      fc.anything(),
    );
    fc.assert(
      fc.property(policyArb, fc.array(fc.nat(5), { maxLength: 7 }), junk, (raw, path, by) => {
        const spec = (raw as RawPolicy)["spec"] ?? ((raw as RawPolicy)["specs"] as unknown[])[0];
        const policy = parse({ ...raw, spec: damage(spec, path, by) } as unknown as RawPolicy);
        const engine = new PolicyEngine();
        engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:app": "web" } });
        engine.upsertPolicy(policy);
        expect(engine.commit().changes.length).toBeGreaterThan(0);
        engine.deletePolicy(policy.ref);
        engine.commit();
        expect(engine.policyIdOf(1)).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equal } from "../../src/apiserver/object.ts";
import { jsonPatch } from "../../src/apiserver/patch/json-patch.ts";
import { mergePatch } from "../../src/apiserver/patch/merge-patch.ts";
import { strategicMerge } from "../../src/apiserver/patch/strategic.ts";

const podSchema = { ref: "core.v1.Pod" };

describe("JSON patch", () => {
  test.each([
    ["adds to an object", { a: 1 }, [{ op: "add", path: "/b", value: 2 }], { a: 1, b: 2 }],
    ["inserts into a list", { a: [1, 3] }, [{ op: "add", path: "/a/1", value: 2 }], { a: [1, 2, 3] }],
    ["appends with -", { a: [1] }, [{ op: "add", path: "/a/-", value: 2 }], { a: [1, 2] }],
    ["removes", { a: [1, 2] }, [{ op: "remove", path: "/a/0" }], { a: [2] }],
    ["replaces", { a: 1 }, [{ op: "replace", path: "/a", value: null }], { a: null }],
    ["moves", { a: { b: 1 }, c: {} }, [{ op: "move", from: "/a/b", path: "/c/d" }], { a: {}, c: { d: 1 } }],
    ["copies", { a: { b: 1 } }, [{ op: "copy", from: "/a", path: "/c" }], { a: { b: 1 }, c: { b: 1 } }],
    [
      "unescapes ~1 and ~0",
      { "x/y": 1, "m~n": 2 },
      [
        { op: "remove", path: "/x~1y" },
        { op: "remove", path: "/m~0n" },
      ],
      {},
    ],
    ["passes a true test", { a: 1 }, [{ op: "test", path: "/a", value: 1 }], { a: 1 }],
    ["takes an absent field for null in a test", {}, [{ op: "test", path: "/a", value: null }], {}],
  ])("%s", (_name, target, patch, wanted) => expect(jsonPatch(target, patch)).toEqual(wanted));

  test.each([
    ["a false test", [{ op: "test", path: "/a", value: 2 }]],
    ["an absent path", [{ op: "remove", path: "/zz" }]],
    ["an index out of bounds", [{ op: "add", path: "/list/9", value: 1 }]],
    ["an unknown operation", [{ op: "frob", path: "/a" }]],
  ])("refuses %s", (_name, patch) => expect(() => jsonPatch({ a: 1, list: [] }, patch)).toThrow());

  test("__proto__ is data, not a prototype", () => {
    const patched = jsonPatch({}, [{ op: "add", path: "/__proto__", value: { polluted: true } }]);
    expect(Object.getPrototypeOf(patched)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("merge patch", () => {
  test.each([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("%j with %j is %j", (target, patch, wanted) => expect(mergePatch(target, patch)).toEqual(wanted));

  const value = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      fc.integer(),
      fc.string(),
      fc.dictionary(fc.string(), tie("node"), { maxKeys: 4 }),
    ),
  })).node;

  test("applying twice is applying once, and the target is not touched", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), value), fc.dictionary(fc.string(), value), (target, patch) => {
        const before = JSON.stringify(target);
        const once = mergePatch(target, patch);
        expect(equal(mergePatch(once, patch), once)).toBe(true);
        expect(JSON.stringify(target)).toBe(before);
      }),
    );
  });
});

describe("strategic merge", () => {
  const pod = {
    metadata: { finalizers: ["a/x"], labels: { l: "1" } },
    spec: {
      containers: [
        {
          name: "a",
          image: "1",
          ports: [
            { containerPort: 80, protocol: "TCP" },
            { containerPort: 80, protocol: "UDP" },
          ],
        },
        { name: "b", image: "2", args: ["x"] },
      ],
      tolerations: [{ key: "k" }],
    },
  };
  const merge = (patch: unknown) => strategicMerge(pod, patch, podSchema) as typeof pod;

  test("merges containers by name", () => {
    const merged = merge({
      spec: {
        containers: [
          { name: "b", image: "3" },
          { name: "c", image: "4" },
        ],
      },
    });
    expect(merged.spec.containers.map((each) => `${each.name}=${each.image}`)).toEqual(["a=1", "b=3", "c=4"]);
    expect(merged.spec.containers[1]?.args).toEqual(["x"]);
  });

  test("deletes an item, replaces a list, replaces a map", () => {
    const merged = merge({
      metadata: { labels: { $patch: "replace", m: "2" } },
      spec: {
        containers: [
          { name: "a", $patch: "delete" },
          { name: "b", ports: [{ $patch: "replace" }, { containerPort: 1 }] },
        ],
      },
    });
    expect(merged.spec.containers).toEqual([
      { name: "b", image: "2", args: ["x"], ports: [{ containerPort: 1 }] },
    ]);
    expect(merged.metadata.labels).toEqual({ m: "2" });
  });

  test("tells ports with the same number by their protocol", () => {
    const merged = merge({
      spec: { containers: [{ name: "a", ports: [{ containerPort: 80, protocol: "UDP", name: "dns" }] }] },
    });
    expect(merged.spec.containers[0]?.ports).toEqual([
      { containerPort: 80, protocol: "TCP" },
      { containerPort: 80, protocol: "UDP", name: "dns" },
    ]);
  });

  test("unites sets of scalars, deletes from them, replaces atomic lists, ignores the element order", () => {
    const merged = merge({
      metadata: {
        finalizers: ["b/y"],
        "$deleteFromPrimitiveList/finalizers": ["a/x"],
        "$setElementOrder/finalizers": ["b/y"],
      },
      spec: {
        tolerations: [{ key: "other" }],
        "$setElementOrder/containers": [{ name: "b" }, { name: "a" }],
      },
    });
    expect(merged.metadata.finalizers).toEqual(["b/y"]);
    expect(merged.spec.tolerations).toEqual([{ key: "other" }]);
  });

  test("keeps only what $retainKeys names", () => {
    const target = { spec: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } } };
    const patch = { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } };
    expect(strategicMerge(target, patch, { ref: "apps.v1.Deployment" })).toEqual({
      spec: { strategy: { type: "Recreate" } },
    });
  });

  test("an item without its merge key is refused by name", () => {
    expect(() => merge({ spec: { containers: [{ image: "x" }] } })).toThrow(/merge key: name/);
  });
});

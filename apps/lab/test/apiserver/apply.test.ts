import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { serverSideApply } from "../../src/apiserver/apply/apply.ts";
import {
  compare,
  difference,
  type FieldSet,
  fieldsOf,
  intersection,
  isEmpty,
  paths,
  union,
} from "../../src/apiserver/apply/fieldset.ts";
import { type Author, trackUpdate } from "../../src/apiserver/apply/managed.ts";
import { ApiError } from "../../src/apiserver/errors.ts";
import { equal, type KubeObject } from "../../src/apiserver/object.ts";

const schema = { ref: "core.v1.Pod" };

function author(manager: string): Author {
  return { manager, apiVersion: "v1", subresource: "", statusApart: true, now: 0 };
}

function pod(metadata: object, spec: object = {}): KubeObject {
  return { apiVersion: "v1", kind: "Pod", metadata: { name: "p", ...metadata }, spec };
}

function apply(live: KubeObject, config: KubeObject, manager: string, force = false): KubeObject {
  const result = serverSideApply(live, config, schema, author(manager), force);
  return { ...result.object, metadata: { ...result.object.metadata, managedFields: result.managedFields } };
}

function keys(set: FieldSet): Set<string> {
  return new Set([...paths(set)].map((path) => path.join(" ")));
}

const labels = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), fc.constantFrom("1", "2", "3"));
const containers = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom("x", "y", "z"),
      image: fc.constantFrom("i", "j"),
      workingDir: fc.option(fc.constantFrom("/", "/w"), { nil: undefined }),
    }),
    {
      selector: (each) => each.name,
      maxLength: 3,
    },
  )
  .map((list) =>
    list.map(({ workingDir, ...rest }) => (workingDir === undefined ? rest : { ...rest, workingDir })),
  );
const config = fc
  .record({ labels, containers })
  .map((each) => pod({ labels: each.labels }, { containers: each.containers }));

describe("field sets", () => {
  const sets = config.map((each) =>
    fieldsOf({ metadata: { labels: each.metadata.labels }, spec: each["spec"] }, schema),
  );
  test("union, intersection and difference are those of sets of paths", () => {
    fc.assert(
      fc.property(sets, sets, (a, b) => {
        const [left, right] = [keys(a), keys(b)];
        expect(keys(union(a, b))).toEqual(new Set([...left, ...right]));
        expect(keys(intersection(a, b))).toEqual(new Set([...left].filter((each) => right.has(each))));
        expect(keys(difference(a, b))).toEqual(new Set([...left].filter((each) => !right.has(each))));
      }),
    );
  });

  test("a comparison is empty exactly when nothing differs", () => {
    fc.assert(
      fc.property(config, config, (a, b) => {
        const { added, modified, removed } = compare(a, b, schema);
        const none = isEmpty(added) && isEmpty(modified) && isEmpty(removed);
        const sorted = (each: KubeObject) =>
          JSON.stringify(
            [each.metadata.labels, (each["spec"] as { containers: { name: string }[] }).containers].map(
              (part) =>
                Array.isArray(part)
                  ? [...part].sort((x, y) => (x.name < y.name ? -1 : 1))
                  : Object.entries(part ?? {}).sort(),
            ),
            undefined,
          );
        if (none) expect(Object.keys(a).length).toBe(Object.keys(b).length);
        if (equal(a, b)) expect(none).toBe(true);
        if (!none) expect(sorted(a) === sorted(b) && JSON.stringify(a) === JSON.stringify(b)).toBe(false);
      }),
    );
  });
});

describe("server-side apply", () => {
  test("what was applied is in the object, and applying it again changes nothing", () => {
    fc.assert(
      fc.property(config, config, (first, second) => {
        let object = apply(pod({}), first, "one");
        object = apply(object, second, "one");
        expect(equal(apply(object, second, "one"), object)).toBe(true);
        // One manager alone: the object is exactly what it applied last.
        expect(equal(object.metadata.labels ?? {}, second.metadata.labels ?? {})).toBe(true);
        const list = (object["spec"] as { containers?: unknown[] }).containers ?? [];
        expect(equal(list, (second["spec"] as { containers: unknown[] }).containers)).toBe(true);
      }),
    );
  });

  test("two managers conflict exactly where they want different values, and force settles it", () => {
    fc.assert(
      fc.property(labels, labels, (a, b) => {
        const live = apply(pod({}), pod({ labels: a }), "one");
        const clash = Object.keys(b).filter((key) => a[key] !== undefined && a[key] !== b[key]);
        let failed: unknown;
        try {
          apply(live, pod({ labels: b }), "two");
        } catch (error) {
          failed = error;
        }
        const causes = failed instanceof ApiError ? (failed.details?.causes ?? []) : [];
        expect(causes.map((cause) => cause.field).sort()).toEqual(
          clash.map((key) => `.metadata.labels.${key}`).sort(),
        );
        const forced = apply(live, pod({ labels: b }), "two", true);
        expect(forced.metadata.labels ?? {}).toEqual({ ...a, ...b });
        const one = forced.metadata.managedFields?.find((entry) => entry.manager === "one");
        for (const key of clash) expect(JSON.stringify(one?.fieldsV1 ?? {})).not.toContain(`"f:${key}"`);
      }),
    );
  });

  test("a field two managers applied stays until both let it go", () => {
    let object = apply(pod({}), pod({ labels: { a: "1", b: "1" } }), "one");
    object = apply(object, pod({ labels: { a: "1" } }), "two");
    object = apply(object, pod({}), "one");
    expect(object.metadata.labels).toEqual({ a: "1" });
    object = apply(object, pod({}), "two");
    expect(object.metadata.labels ?? {}).toEqual({});
  });

  test("an item of a keyed list is removed with its last owner, other items stay where they were", () => {
    const two = {
      containers: [
        { name: "x", image: "i" },
        { name: "y", image: "i" },
      ],
    };
    let object = apply(pod({}), pod({}, two), "one");
    object = apply(
      object,
      pod(
        {},
        {
          containers: [
            { name: "z", image: "i" },
            { name: "x", image: "i" },
          ],
        },
      ),
      "two",
    );
    object = apply(object, pod({}, { containers: [] }), "one");
    expect(
      (object["spec"] as { containers: { name: string }[] }).containers.map((each) => each.name),
    ).toEqual(["z", "x"]);
  });

  test("ports without a protocol are the TCP ones", () => {
    const ports = (list: object[]) => pod({}, { containers: [{ name: "x", ports: list }] });
    let object = apply(pod({}), ports([{ containerPort: 80, protocol: "TCP" }]), "one");
    object = apply(object, ports([{ containerPort: 80, name: "http" }]), "two");
    const [container] = (object["spec"] as { containers: { ports: object[] }[] }).containers;
    expect(container?.ports).toEqual([{ containerPort: 80, protocol: "TCP", name: "http" }]);
  });

  test("atomic lists and selectors have one owner as a whole", () => {
    const tolerations = (key: string) => pod({}, { tolerations: [{ key }] });
    const object = apply(pod({}), tolerations("a"), "one");
    expect(() => apply(object, tolerations("b"), "two")).toThrow(/conflict with "one": .spec.tolerations/);
  });

  test("an update takes over what it changed and no more", () => {
    const applied = apply(pod({}), pod({ labels: { a: "1", b: "1" } }), "one");
    const edited = { ...applied, metadata: { ...applied.metadata, labels: { a: "2", b: "1" } } };
    const entries = trackUpdate(applied, edited, schema, author("editor"));
    const of = (manager: string) => entries.find((entry) => entry.manager === manager)?.fieldsV1;
    expect(of("editor")).toEqual({ "f:metadata": { "f:labels": { "f:a": {} } } });
    expect(of("one")).toEqual({ "f:metadata": { "f:labels": { "f:b": {} } }, "f:spec": {} });
  });
});

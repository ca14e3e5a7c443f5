import fc from "fast-check";
import { expect, test } from "vitest";
import { type Member, Slices } from "../src/slices.ts";

const limit = 5;

type Step =
  | { readonly do: "put"; readonly namespace: string; readonly name: string; readonly id: number }
  | { readonly do: "remove"; readonly namespace: string; readonly name: string }
  | { readonly do: "write"; readonly count: number }
  | { readonly do: "restart" }
  | { readonly do: "touch"; readonly at: number };

const namespace = fc.constantFrom("a", "b", "c");
const name = fc.integer({ min: 0, max: 24 }).map((n) => `p${n}`);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("put" as const), namespace, name, id: fc.nat(3) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("remove" as const), namespace, name }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("write" as const), count: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.constant({ do: "restart" as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("touch" as const), at: fc.nat(9) }) },
);

const memberOf = (ns: string, pod: string, id: number): Member => ({
  namespace: ns,
  core: { name: pod, id },
  labels: [`k8s:app=${pod}`],
});

/** The batcher over what an API server would hold. */
class Model {
  readonly endpoints = new Map<string, Member>();
  readonly written = new Map<string, { namespace: string; members: readonly Member[] }>();
  slices = new Slices(() => this.#newName(), limit);
  #names = 0;

  #newName(): string {
    return `s${this.#names++}`;
  }

  run(each: Step): void {
    const before = new Set(this.slices.dirty);
    if (each.do === "put") {
      const member = memberOf(each.namespace, each.name, each.id);
      this.endpoints.set(`${each.namespace}/${each.name}`, member);
      this.slices.put(member);
    } else if (each.do === "remove") {
      this.endpoints.delete(`${each.namespace}/${each.name}`);
      this.slices.remove(each.namespace, each.name);
    } else if (each.do === "write") this.write(each.count);
    else if (each.do === "restart") this.restart();
    else this.touch(each.at);
    if (each.do !== "put" && each.do !== "remove") return;
    const touched = [...this.slices.dirty].filter((slice) => !before.has(slice));
    expect(touched.length, "a change touches one slice").toBeLessThanOrEqual(1);
  }

  write(count: number): number {
    let writes = 0;
    for (const slice of [...this.slices.dirty].slice(0, count)) {
      const wanted = this.slices.take(slice);
      if (wanted === undefined) this.written.delete(slice);
      else this.written.set(slice, wanted);
      writes++;
    }
    return writes;
  }

  /** Another operator takes over what was written; what was not is lost with the one before. */
  restart(): void {
    this.slices = new Slices(() => this.#newName(), limit);
    for (const [slice, { namespace: ns, members }] of this.written) this.slices.adopt(slice, ns, members);
    for (const member of this.endpoints.values()) this.slices.put(member);
    this.slices.retain(this.endpoints);
  }

  /** Somebody removes an object. */
  touch(at: number): void {
    const slice = [...this.written.keys()][at];
    if (slice === undefined) return;
    this.written.delete(slice);
    this.slices.suspect(slice);
  }
}

test("whatever happens, slices come to hold exactly the endpoints, each once, and no more than they may", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const model = new Model();
      for (const each of steps) model.run(each);
      model.write(Number.POSITIVE_INFINITY);
      expect(model.slices.dirty.size).toBe(0);
      const held = [...model.written.values()].flatMap(({ namespace: ns, members }) => {
        expect(members.length).toBeGreaterThan(0);
        expect(members.length).toBeLessThanOrEqual(limit);
        return members.map((member) => [`${ns}/${member.core.name}`, member] as const);
      });
      expect(held.length, "none twice").toBe(new Set(held.map(([key]) => key)).size);
      expect(new Map(held)).toEqual(model.endpoints);
      // An operator that starts anew finds nothing to do.
      model.restart();
      expect([...model.slices.dirty]).toEqual([]);
    }),
    { numRuns: 300 },
  );
});

test("endpoints that come together share slices, also with those that went", () => {
  const model = new Model();
  for (let i = 0; i < 23; i++) model.run({ do: "put", namespace: "a", name: `p${i}`, id: 1 });
  expect(model.write(99)).toBe(5);
  for (const i of [1, 2, 7, 12]) model.run({ do: "remove", namespace: "a", name: `p${i}` });
  model.write(99);
  for (let i = 100; i < 106; i++) model.run({ do: "put", namespace: "a", name: `p${i}`, id: 1 });
  expect(model.written.size).toBe(5);
  expect(model.write(99), "gaps are filled before there is another slice").toBe(4);
  expect(model.written.size).toBe(5);
  model.run({ do: "put", namespace: "a", name: "p3", id: 1 });
  expect(model.slices.dirty.size, "nothing new, nothing to write").toBe(0);
});

test("an endpoint that two slices name stays in one", () => {
  const slices = new Slices(() => "new", limit);
  const twice = memberOf("a", "p", 1);
  slices.adopt("s1", "a", [twice]);
  slices.adopt("s2", "a", [memberOf("a", "q", 1), twice]);
  expect([...slices.dirty]).toEqual(["s2"]);
  expect(slices.take("s2")?.members.map(({ core }) => core.name)).toEqual(["q"]);
});

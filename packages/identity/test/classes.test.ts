import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  answersFor,
  classLabels,
  IdentityCache,
  identityKey,
  isClassIdentity,
  type Labels,
  labelLines,
  PodClasses,
  parseLabelLines,
  portKey,
  RelevantKeys,
  readPortKey,
  withPorts,
} from "../src/index.ts";

const base = (namespace: string): Labels => ({
  "k8s:io.kubernetes.pod.namespace": namespace,
  "k8s:io.cilium.k8s.policy.cluster": "default",
});
const pod = (labels: Record<string, string>, namespace = "shop"): Labels => ({
  ...base(namespace),
  ...Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value])),
});

describe("labels of a class", () => {
  test("are the namespace's, and those that policies name", () => {
    const relevant = new RelevantKeys();
    const labels = pod({ app: "web", build: "4711", "io.cilium.k8s.policy.serviceaccount": "sa" });
    expect(classLabels(labels, relevant)).toEqual(base("shop"));
    expect(relevant.add(["app", "io.kubernetes.pod.namespace", "app"])).toEqual(["app"]);
    expect(classLabels(labels, relevant)).toEqual(pod({ app: "web" }));
    relevant.delete("app");
    expect(classLabels(labels, relevant)).toEqual(base("shop"));
  });

  test("are all of a pod's in the mode of the field, less what its ports are called", () => {
    const relevant = new RelevantKeys("labels");
    const labels = withPorts(pod({ app: "web", build: "1" }), [{ name: "http", port: 80, protocol: "TCP" }]);
    expect(classLabels(labels, relevant)).toEqual(pod({ app: "web", build: "1" }));
    expect(relevant.add(["x"])).toEqual([]);
  });

  test("what a port is called counts once a rule goes by it", () => {
    const relevant = new RelevantKeys();
    const named = (port: number) =>
      withPorts(pod({}), [
        { name: "http", port, protocol: "TCP" },
        { name: "http", port: 1, protocol: "TCP" },
      ]);
    expect(classLabels(named(80), relevant)).toEqual(base("shop"));
    relevant.add([portKey("http", "TCP")]);
    expect(classLabels(named(80), relevant)).toEqual({
      ...base("shop"),
      "gen:axoneme.io/port.http.TCP": "1_80",
    });
    expect(answersFor(classLabels(named(80), relevant), named(81), relevant)).toBe(false);
  });

  test("a port's key can be read back, another key not", () => {
    expect(readPortKey(portKey("http", "TCP"))).toEqual({ name: "http", protocol: "TCP" });
    expect([readPortKey("app"), readPortKey("axoneme.io/port.x")]).toEqual([undefined, undefined]);
  });
});

/** Selectors on label keys, as policies have them; a deliberately simple evaluation. */
interface Requirement {
  key: string;
  op: "In" | "NotIn" | "Exists" | "DoesNotExist";
  values: string[];
}
const matches = (selector: Requirement[], labels: Labels): boolean =>
  selector.every(({ key, op, values }) => {
    const value = labels[`k8s:${key}`];
    if (op === "In") return value !== undefined && values.includes(value);
    if (op === "NotIn") return value === undefined || !values.includes(value);
    return op === "Exists" ? value !== undefined : value === undefined;
  });

const keys = ["app", "tier", "build", "job", "zone"];
const values = ["a", "b", ""];
const labelsArb = fc
  .tuple(
    fc.constantFrom("red", "blue"),
    fc.uniqueArray(fc.tuple(fc.constantFrom(...keys), fc.constantFrom(...values)), { selector: ([k]) => k }),
  )
  .map(([namespace, entries]) => pod(Object.fromEntries(entries), namespace));
const selectorArb = fc.array(
  fc.record({
    key: fc.constantFrom(...keys),
    op: fc.constantFrom("In", "NotIn", "Exists", "DoesNotExist" as const),
    values: fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 }),
  }) as fc.Arbitrary<Requirement>,
  { maxLength: 3 },
);
const keysOf = (selectors: Requirement[][]) => selectors.flatMap((s) => s.map(({ key }) => key));

describe("classes", () => {
  test("never hold two pods that a selector tells apart, and answer as each of their pods", () => {
    fc.assert(
      fc.property(fc.array(selectorArb), fc.array(labelsArb), (selectors, pods) => {
        const relevant = new RelevantKeys();
        relevant.add(keysOf(selectors));
        for (const labels of pods) {
          const own = classLabels(labels, relevant);
          expect(answersFor(own, labels, relevant)).toBe(true);
          for (const s of selectors) expect(matches(s, own)).toBe(matches(s, labels));
        }
      }),
    );
  });

  test("an identity that is said to answer for a pod does, whatever labels it has beside", () => {
    fc.assert(
      fc.property(fc.array(selectorArb), labelsArb, labelsArb, (selectors, identity, labels) => {
        const relevant = new RelevantKeys();
        relevant.add(keysOf(selectors));
        if (!answersFor(identity, labels, relevant)) return;
        for (const s of selectors) expect(matches(s, identity)).toBe(matches(s, labels));
      }),
      { numRuns: 2000 },
    );
  });

  test("are as few as the values of the keys that policies name", () => {
    fc.assert(
      fc.property(fc.array(selectorArb), fc.array(labelsArb, { maxLength: 60 }), (selectors, pods) => {
        const relevant = new RelevantKeys();
        relevant.add(keysOf(selectors));
        const classes = new Set(pods.map((labels) => identityKey(classLabels(labels, relevant))));
        const named = new Set(keysOf(selectors)).size;
        expect(classes.size).toBeLessThanOrEqual(Math.min(pods.length, 2 * (values.length + 1) ** named));
      }),
    );
  });
});

/** What an agent does with moves: a number has rows from `fresh` until `idle`; pods only carry numbers with rows. */
class Ledger {
  readonly cache = new IdentityCache();
  readonly relevant = new RelevantKeys();
  readonly classes = new PodClasses(this.cache, this.relevant);
  readonly rows = new Map<number, Labels>();
  readonly carried = new Map<string, number>();

  settle(): void {
    for (const { id, labels } of this.classes.takeFresh()) {
      expect(this.rows.has(id)).toBe(false);
      this.rows.set(id, labels);
    }
  }

  set(name: string, labels: Labels | undefined, published: number): number {
    const number = this.classes.set(name, { labels: labels && labelLines(labels), published });
    this.settle();
    this.carried.set(name, number);
    return number;
  }

  apply(moves: readonly { pod: string; from: number; to: number }[]): void {
    this.settle();
    for (const { pod: name, from, to } of moves) {
      expect(this.carried.get(name)).toBe(from);
      this.carried.set(name, to);
    }
  }

  dropIdle(): void {
    for (const id of this.classes.takeIdle()) {
      expect([...this.carried.values()]).not.toContain(id);
      expect(this.rows.delete(id)).toBe(true);
    }
  }
}

describe("the numbers an agent knows pods by", () => {
  test("a published identity is taken as long as it says enough", () => {
    const { cache, relevant, classes } = new Ledger();
    cache.upsert(300, base("shop"));
    const claim = { labels: labelLines(pod({ app: "web" })), published: 300 };
    expect(classes.set("p", claim)).toBe(300);
    const moves = classes.need(["app"]);
    expect(moves).toEqual([{ pod: "p", from: 300, to: expect.toSatisfy(isClassIdentity) }]);
    expect(classes.takeFresh()).toEqual([{ id: moves[0]?.to, labels: pod({ app: "web" }) }]);
    expect(classes.need(["app"])).toEqual([]);
    // The pod's own agent has followed.
    cache.upsert(301, pod({ app: "web" }));
    expect(classes.set("p", { ...claim, published: 301 })).toBe(301);
    expect(classes.takeIdle()).toEqual([moves[0]?.to]);
    // Merged again: the finer identity is as good.
    relevant.delete("app");
    expect(classes.drop(["app"])).toEqual([]);
    expect(classes.numberOf("p")).toBe(301);
  });

  test("one that is not known yet, or contradicts the pod's labels, is not", () => {
    const { cache, classes } = new Ledger();
    const labels = labelLines(pod({ app: "web" }));
    const first = classes.set("early", { labels, published: 400 });
    expect(isClassIdentity(first)).toBe(true);
    cache.upsert(400, pod({ app: "other" }));
    expect(classes.identityChanged(400)).toEqual([]);
    cache.delete(400);
    cache.upsert(400, pod({ app: "web" }));
    expect(classes.identityChanged(400)).toEqual([{ pod: "early", from: first, to: 400 }]);
    cache.delete(400);
    expect(classes.identityChanged(400)).toEqual([{ pod: "early", from: 400, to: first }]);
  });

  test("who publishes no labels is believed by the number", () => {
    const { classes } = new Ledger();
    expect(classes.set("p", { labels: undefined, published: 999 })).toBe(999);
    expect(classes.need(["app"])).toEqual([]);
  });

  test("pods of one class go by one number, which is given up with the last of them", () => {
    const { classes } = new Ledger();
    const claim = (build: string) => ({ labels: labelLines(pod({ build })), published: 0 });
    const number = classes.set("a", claim("1"));
    expect(classes.set("b", claim("2"))).toBe(number);
    expect(classes.ownClasses).toBe(1);
    classes.delete("a");
    expect(classes.hasIdle).toBe(false);
    classes.delete("b");
    expect(classes.set("c", claim("3"))).toBe(number);
    expect(classes.hasIdle).toBe(false);
    classes.delete("c");
    expect(classes.takeIdle()).toEqual([number]);
    expect(classes.set("d", claim("4"))).not.toBe(number);
  });

  test("always answer selectors on relevant keys as the pods do, and have rows while carried", () => {
    const published = [0, 300, 301, 302, 303];
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant("pod" as const),
          name: fc.nat(5),
          labels: labelsArb,
          published: fc.constantFrom(...published),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("unpod" as const), name: fc.nat(5) }) },
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant("identity" as const),
          id: fc.constantFrom(...published.slice(1)),
          labels: labelsArb,
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant("unidentity" as const),
          id: fc.constantFrom(...published.slice(1)),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("need" as const), key: fc.constantFrom(...keys) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("drop" as const), key: fc.constantFrom(...keys) }),
      },
      { weight: 1, arbitrary: fc.constant({ kind: "idle" as const }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const ledger = new Ledger();
        const pods = new Map<string, Labels>();
        ledger.cache.changes.on(({ id }) => ledger.apply(ledger.classes.identityChanged(id)));
        for (const s of steps) {
          if (s.kind === "pod") {
            pods.set(`p${s.name}`, s.labels);
            ledger.set(`p${s.name}`, s.labels, s.published);
          } else if (s.kind === "unpod") {
            pods.delete(`p${s.name}`);
            ledger.carried.delete(`p${s.name}`);
            ledger.classes.delete(`p${s.name}`);
          } else if (s.kind === "identity") ledger.cache.upsert(s.id, s.labels);
          else if (s.kind === "unidentity") ledger.cache.delete(s.id);
          else if (s.kind === "need") ledger.apply(ledger.classes.need([s.key]));
          else if (s.kind === "drop") ledger.apply(ledger.classes.drop([s.key]));
          else ledger.dropIdle();
          for (const [name, number] of ledger.carried) {
            const labels = ledger.cache.get(number)?.labels ?? ledger.rows.get(number);
            expect(labels && answersFor(labels, pods.get(name) ?? {}, ledger.relevant)).toBe(true);
            expect(ledger.classes.numberOf(name)).toBe(number);
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe("two hundred thousand pods with unique labels", () => {
  const count = 200_000;
  const labelsOf = (i: number) =>
    pod(
      { app: `app-${i % 50}`, "job-name": `job-${i}`, [`only-here-${i % 1000}`]: String(i) },
      `ns-${i % 100}`,
    );

  test("make as many classes as there are namespaces and values that policies name", () => {
    const ledger = new Ledger();
    const { cache, classes } = ledger;
    const ids = new Map<string, number>();
    const idFor = (labels: Labels) => {
      const key = identityKey(classes.wanted(labels));
      const id = ids.get(key) ?? 256 + ids.size;
      if (!ids.has(key)) cache.upsert(id, classes.wanted(labels));
      ids.set(key, id);
      return id;
    };
    const heap = () => {
      global.gc?.();
      return process.memoryUsage().heapUsed;
    };
    const before = heap();
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      const labels = labelsOf(i);
      classes.set(`ns-${i % 100}/pod-${i}`, { labels: labelLines(labels), published: idFor(labels) });
    }
    const learned = performance.now() - began;
    const perPod = (heap() - before) / count;
    expect([ids.size, classes.ownClasses, classes.size]).toEqual([100, 0, count]);
    // A key that nobody has, or one that is known: nobody is looked at.
    let start = performance.now();
    expect(classes.need(["unheard-of", "io.kubernetes.pod.namespace"])).toEqual([]);
    expect(performance.now() - start).toBeLessThan(50);
    // One that a thousandth of them has.
    start = performance.now();
    expect(classes.need(["only-here-7"])).toHaveLength(count / 1000);
    const few = performance.now() - start;
    // One that all have: fifty values in a hundred namespaces.
    start = performance.now();
    expect(classes.need(["app"])).toHaveLength(count);
    const all = performance.now() - start;
    expect(classes.ownClasses).toBeLessThanOrEqual(100 + count / 1000);
    console.info(
      `200,000 pods: ${Math.round(learned)} ms to learn, ${Math.round(perPod)} bytes each; split of 200: ${few.toFixed(1)} ms, of all: ${Math.round(all)} ms`,
    );
    expect(learned).toBeLessThan(20_000);
    expect(few).toBeLessThan(500);
    expect(all).toBeLessThan(20_000);
  }, 60_000);
});

test("lines of labels are read back as they were", () => {
  fc.assert(
    fc.property(labelsArb, (labels) => {
      expect(parseLabelLines(labelLines(labels))).toEqual(labels);
    }),
  );
});

/** Classes of learned addresses against a model that works everything out anew. */
import { formatPrefix, parseIp, parsePrefix } from "@axoneme/base";
import { NameIndex } from "@axoneme/dns";
import { LocalIdentities } from "@axoneme/identity";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FqdnClasses } from "../src/index.ts";

const ips = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.9", "2001:db8::1", "::ff"];
const hosts = ["a.b.", "x.a.b.", "c.d."];
const selectors = ["a.b", "*.b", "**.b", "*", "c.d"];
const prefixes = ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "2001:db8::/32", "::/0", "0.0.0.0/0", "::/64"];

type Step =
  | { do: "learn" | "forget"; ip: string; name: string }
  | { do: "addSelector" | "removeSelector"; selector: string }
  | { do: "addPrefix" | "removePrefix"; prefix: string };
const stepArb: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constantFrom("learn", "forget"),
    ip: fc.constantFrom(...ips),
    name: fc.constantFrom(...hosts),
  }),
  fc.record({
    do: fc.constantFrom("addSelector", "removeSelector"),
    selector: fc.constantFrom(...selectors),
  }),
  fc.record({ do: fc.constantFrom("addPrefix", "removePrefix"), prefix: fc.constantFrom(...prefixes) }),
) as fc.Arbitrary<Step>;

/** What is known, without an index. */
class Model {
  readonly names = new Map<string, Set<string>>();
  readonly selectors = new Map<string, number>();
  readonly prefixes = new Set<string>();

  apply(step: Step): void {
    if ("ip" in step) {
      const known = this.names.get(step.ip) ?? new Set();
      this.names.set(step.ip, known);
      if (step.do === "learn") known.add(step.name);
      else known.delete(step.name);
    } else if ("selector" in step) {
      const users = this.selectors.get(step.selector) ?? 0;
      this.selectors.set(step.selector, Math.max(0, users + (step.do === "addSelector" ? 1 : -1)));
    } else if (step.do === "addPrefix") this.prefixes.add(step.prefix);
    else this.prefixes.delete(step.prefix);
  }

  classOf(ip: string): string | undefined {
    const matched = [...this.selectors].filter(([, users]) => users > 0).map(([selector]) => selector);
    const mine = matched.filter((matchPattern) => {
      const index = new NameIndex<true>();
      index.add({ matchPattern }, true);
      return [...(this.names.get(ip) ?? [])].some((name) => index.matches(name));
    });
    if (mine.length === 0) return undefined;
    const v4 = !ip.includes(":");
    const holding = [...this.prefixes]
      .filter((text) => text.includes(":") !== v4 && contains(text, ip))
      .sort((a, b) => Number(b.split("/")[1]) - Number(a.split("/")[1]));
    return `${holding[0] ?? (v4 ? "0.0.0.0/0" : "::/0")} ${mine.sort().join(" ")}`;
  }
}

function contains(text: string, ip: string): boolean {
  const { ip: base, length } = parsePrefix(text);
  const bits = (bytes: Uint8Array) => [...bytes].map((b) => b.toString(2).padStart(8, "0")).join("");
  return bits(base).slice(0, length) === bits(parseIp(ip)).slice(0, length);
}

function take(classes: FqdnClasses, step: Step): void {
  if ("ip" in step) classes[step.do](parseIp(step.ip), step.name);
  else if ("selector" in step) classes[step.do](step.selector);
  else classes[step.do](parsePrefix(step.prefix));
}

const textOf = (classes: FqdnClasses, ip: string): string | undefined => {
  const of = classes.classOf(parseIp(ip));
  return of && `${formatPrefix(of.prefix)} ${of.selectors.join(" ")}`;
};

describe("classes of learned addresses", () => {
  it("are what working them out anew gives, and a class's identity is its own", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(stepArb, fc.integer({ min: 0, max: 3 })), { maxLength: 60 }), (steps) => {
        const classes = new FqdnClasses(new LocalIdentities({ dualStack: true }), { dualStack: true });
        const model = new Model();
        const moved = new Map<string, number | undefined>();
        for (const [step, pause] of steps) {
          take(classes, step);
          model.apply(step);
          if (pause === 0) continue;
          for (const { ip, to } of classes.plan().moves) moved.set(ip.join(), to?.id);
          for (const ip of ips) {
            expect(textOf(classes, ip)).toBe(model.classOf(ip));
            expect(moved.get(parseIp(ip).join())).toBe(classes.classOf(parseIp(ip))?.id);
          }
          if (pause === 3) for (const gone of classes.sweep()) expect(gone.size).toBe(0);
          const ids = [...classes.classes()].map(({ id }) => id);
          expect(new Set(ids).size).toBe(ids.length);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("do not grow with the number of addresses", () => {
    const numbers = new LocalIdentities({ dualStack: true });
    const classes = new FqdnClasses(numbers, { dualStack: true });
    classes.addSelector("*.cdn.example");
    for (let i = 0; i < 10_000; i++) {
      const ip = parseIp(`198.18.${(i >> 8) & 255}.${i & 255}`);
      classes.learn(ip, "e.cdn.example.");
      classes.plan();
      if (i >= 100)
        classes.forget(parseIp(`198.18.${((i - 100) >> 8) & 255}.${(i - 100) & 255}`), "e.cdn.example.");
    }
    classes.plan();
    expect(numbers.size).toBe(1);
    expect([...classes.classes()].map(({ size }) => size)).toEqual([100]);
  });

  it("are put back with their identities, and move on from there", () => {
    const before = new FqdnClasses(new LocalIdentities({ dualStack: true }), { dualStack: true });
    before.addSelector("a.b");
    before.learn(parseIp("10.0.0.1"), "a.b.");
    const [old] = before.plan().created;
    if (old === undefined) throw new Error("no class");
    const after = new FqdnClasses(new LocalIdentities({ dualStack: true }), { dualStack: true });
    expect(
      after.restore(old.id, old.selectors, old.prefix, [parseIp("10.0.0.1"), parseIp("10.0.0.2")])?.labels,
    ).toEqual(old.labels);
    after.learn(parseIp("10.0.0.1"), "a.b.");
    after.addSelector("a.b");
    const { created, moves } = after.plan();
    expect(created).toEqual([]);
    expect(moves.map(({ ip, to }) => [ip.at(-1), to])).toEqual([[2, undefined]]);
    expect(after.classOf(parseIp("10.0.0.1"))?.id).toBe(old.id);
  });

  it("leave addresses out when there are no identities left, and say how many", () => {
    const mint = (): number => new LocalIdentities({ dualStack: true }).mint({});
    const full = new LocalIdentities({ dualStack: true });
    for (let i = 0; i < 65_535; i++) full.mint({});
    const classes = new FqdnClasses(full, { dualStack: true });
    expect(mint()).toBeGreaterThan(0);
    classes.addSelector("*");
    classes.learn(parseIp("10.0.0.1"), "a.b.");
    expect(classes.plan()).toEqual({ created: [], moves: [], exhausted: 1 });
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NameIndex, type NameSelector, normalizeName, normalizePattern } from "../src/index.ts";

const selects = (selector: NameSelector, name: string): boolean => {
  const index = new NameIndex<string>();
  index.add(selector, "x");
  const is = index.matches(name);
  expect(index.matching(name).size).toBe(is ? 1 : 0);
  index.delete(selector, "x");
  expect(index.matches(name)).toBe(false);
  return is;
};

describe("the one form of names", () => {
  it.each([
    ["Example.COM", "example.com."],
    ["example.com.", "example.com."],
    [" _sip._tcp.a-b.c ", "_sip._tcp.a-b.c."],
    [".", "."],
  ])("%s is %s", (text, form) => expect(normalizeName(text)).toBe(form));

  it.each([
    "",
    "a..b",
    ".a",
    "a b",
    "a*b",
    "ex\u00e4mple.com",
    "a/b",
    `${"a".repeat(64)}.b`,
    "ab.".repeat(86),
  ])("%s is no matchName", (text) => expect(() => normalizeName(text)).toThrow(/matchName/));

  it.each(["*", "**", "***", "*.", "**."])("%s is every name", (text) =>
    expect(normalizePattern(text)).toBe("*"),
  );
});

describe("selectors", () => {
  const rows: [NameSelector, string, boolean][] = [
    [{ matchName: "cilium.io" }, "cilium.io.", true],
    [{ matchName: "cilium.io" }, "www.cilium.io.", false],
    [{ matchName: "CILIUM.io." }, "cilium.io.", true],
    [{ matchPattern: "cilium.io" }, "cilium.io.", true],
    [{ matchPattern: "*.cilium.io" }, "www.cilium.io.", true],
    [{ matchPattern: "*.cilium.io" }, "a.www.cilium.io.", false],
    [{ matchPattern: "*.cilium.io" }, "cilium.io.", false],
    [{ matchPattern: "*cilium.io" }, "cilium.io.", true],
    [{ matchPattern: "*cilium.io" }, "sub-cilium.io.", true],
    [{ matchPattern: "*cilium.io" }, "sub.cilium.io.", false],
    [{ matchPattern: "sub*.cilium.io" }, "sub.cilium.io.", true],
    [{ matchPattern: "sub*.cilium.io" }, "subdomain.cilium.io.", true],
    [{ matchPattern: "sub*.cilium.io" }, "su.cilium.io.", false],
    [{ matchPattern: "*.*.cilium.io" }, "a.b.cilium.io.", true],
    [{ matchPattern: "*.*.cilium.io" }, "b.cilium.io.", false],
    [{ matchPattern: "a*b*c.io" }, "abc.io.", true],
    [{ matchPattern: "a*b*c.io" }, "axxbyyc.io.", true],
    [{ matchPattern: "a*b*c.io" }, "acb.io.", false],
    [{ matchPattern: "ab*ba.io" }, "aba.io.", false],
    [{ matchPattern: "**.cilium.io" }, "www.cilium.io.", true],
    [{ matchPattern: "**.cilium.io" }, "a.b.c.cilium.io.", true],
    [{ matchPattern: "**.cilium.io" }, "cilium.io.", false],
    [{ matchPattern: "**.cilium.io" }, "xcilium.io.", false],
    [{ matchPattern: "**.*.io" }, "a.cilium.io.", true],
    [{ matchPattern: "**.*.io" }, "cilium.io.", false],
    [{ matchPattern: "a.**.io" }, "a.b.io.", true],
    [{ matchPattern: "a.**.io" }, "a.b.c.io.", false],
    [{ matchPattern: "**cilium.io" }, "a.cilium.io.", false],
    [{ matchPattern: "**cilium.io" }, "acilium.io.", true],
    [{ matchPattern: "*" }, ".", true],
    [{ matchPattern: "*" }, "a\\.b.c.", true],
    [{ matchPattern: "*.c" }, "a\\.b.c.", false],
    [{ matchPattern: "*.c" }, "a\\000.c.", false],
    [{ matchPattern: "**.c" }, "a.b!.c.", false],
    [{ matchName: "a.b", matchPattern: "*.c" }, "x.c.", true],
    [{ matchName: "a.b", matchPattern: "*.c" }, "a.b.", true],
    [{}, "a.b.", false],
    [{ matchPattern: "**.svc.cluster.local" }, "echo.default.svc.cluster.local.", true],
  ];
  it.each(rows)("%j and %s: %s", (selector, name, is) => expect(selects(selector, name)).toBe(is));

  it("tells all that match, and takes away one of them only", () => {
    const index = new NameIndex<number>();
    index.add({ matchPattern: "*" }, 1);
    index.add({ matchPattern: "*.example.com" }, 2);
    index.add({ matchName: "www.example.com" }, 3);
    index.add({ matchPattern: "**.com" }, 4);
    index.add({ matchPattern: "w*.example.com" }, 5);
    expect([...index.matching("www.example.com.")].sort()).toEqual([1, 2, 3, 4, 5]);
    index.delete({ matchPattern: "w*.example.com" }, 5);
    index.delete({ matchPattern: "*" }, 1);
    expect([...index.matching("www.example.com.")].sort()).toEqual([2, 3, 4]);
    expect([...index.matching("example.com.")]).toEqual([4]);
  });
});

/** The patterns as regular expressions: slow, simple, and independent of the index. */
function reference(pattern: string): RegExp {
  const form = normalizePattern(pattern);
  if (form === "*") return /^/;
  const lead = form.startsWith("**.") ? "([-a-z0-9_]+[.])+" : "";
  const rest = (lead === "" ? form : form.slice(3)).replace(/\*+/g, "#").replaceAll(".", "[.]");
  return new RegExp(`^${lead}${rest.replaceAll("#", "[-a-z0-9_]*")}$`);
}

describe("many selectors at once", { timeout: 60_000 }, () => {
  const label = fc.stringMatching(/^[ab-]{1,3}$/);
  const glob = fc.stringMatching(/^[ab*]{1,4}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => `${labels.join(".")}.`);
  const pattern = fc.oneof(
    fc.array(fc.oneof(label, glob), { minLength: 1, maxLength: 4 }).map((labels) => labels.join(".")),
    fc.array(label, { minLength: 1, maxLength: 2 }).map((labels) => `**.${labels.join(".")}`),
  );

  it("are what each alone is", () => {
    fc.assert(
      fc.property(
        fc.array(pattern, { maxLength: 12 }),
        fc.array(name, { maxLength: 12 }),
        (patterns, names) => {
          const index = new NameIndex<number>();
          for (const [i, text] of patterns.entries()) index.add({ matchPattern: text }, i);
          for (const asked of names) {
            const expected = patterns.flatMap((text, i) => (reference(text).test(asked) ? [i] : []));
            expect([...index.matching(asked)].sort((a, b) => a - b)).toEqual(expected);
            expect(index.matches(asked)).toBe(expected.length > 0);
          }
          for (const [i, text] of patterns.entries()) index.delete({ matchPattern: text }, i);
          for (const asked of names) expect(index.matching(asked).size).toBe(0);
        },
      ),
      { numRuns: 500 },
    );
  });
});

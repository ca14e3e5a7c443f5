import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import {
  formatPrefix,
  hostPrefix,
  type Ip,
  Lpm,
  type Prefix,
  parseInterfaceAddress,
  parseIp,
  parsePrefix,
  parsePrefixOrIp,
  prefixContains,
  prefixCovers,
  prefixKey,
  prefixOverlaps,
  prefixRange,
  prefixSubtract,
} from "../src/index.ts";

/** Few distinct bits, so that generated prefixes meet. */
const v4 = fc
  .tuple(fc.constantFrom(0, 10), fc.constantFrom(0, 1, 128), fc.integer({ min: 0, max: 255 }))
  .map(([a, b, c]) => `${a}.${b}.0.${c}`);
const v6 = fc
  .tuple(fc.constantFrom("", "fd00", "fd80"), fc.integer({ min: 0, max: 3 }))
  .map(([a, b]) => `${a}::${b}`);
const prefix = fc.oneof(
  fc.tuple(v4, fc.integer({ min: 0, max: 32 })).map(([ip, length]) => parsePrefix(`${ip}/${length}`)),
  fc.tuple(v6, fc.integer({ min: 0, max: 128 })).map(([ip, length]) => parsePrefix(`${ip}/${length}`)),
);
const ip = fc.oneof(v4, v6).map(parseIp);

describe("prefixes", () => {
  it("contain what ipaddr.js says they contain, never across families", () => {
    fc.assert(
      fc.property(prefix, ip, (block, address) => {
        const [text = "", length = ""] = formatPrefix(block).split("/");
        const net = ipaddr.parse(text);
        const host = ipaddr.process(ipaddr.fromByteArray([...address]).toString());
        const want = net.kind() === host.kind() && host.match([net, Number(length)] as never);
        expect(prefixContains(block, address)).toBe(want);
        expect(prefixCovers(block, hostPrefix(address))).toBe(want);
      }),
      { numRuns: 3000 },
    );
  });

  it("read back what they print", () => {
    fc.assert(
      fc.property(prefix, prefix, (a, b) => {
        expect(formatPrefix(parsePrefix(formatPrefix(a)))).toBe(formatPrefix(a));
        expect(prefixKey(a) === prefixKey(b)).toBe(formatPrefix(a) === formatPrefix(b));
      }),
    );
  });

  it("subtract exactly the exceptions", () => {
    fc.assert(
      fc.property(prefix, fc.array(prefix, { maxLength: 4 }), fc.array(ip), (whole, except, probes) => {
        const rest = prefixSubtract(whole, except);
        for (let i = 1; i < rest.length; i++) {
          expect(prefixOverlaps(rest[i - 1] as Prefix, rest[i] as Prefix)).toBe(false);
        }
        const edges = [whole, ...except].flatMap((p) => Object.values(prefixRange(p)) as Ip[]);
        for (const probe of [...probes, ...edges]) {
          const want = prefixContains(whole, probe) && !except.some((hole) => prefixContains(hole, probe));
          expect(rest.some((part) => prefixContains(part, probe))).toBe(want);
        }
      }),
    );
  });

  it("print canonically and clear host bits", () => {
    expect(formatPrefix(parsePrefix("10.1.2.3/8"))).toBe("10.0.0.0/8");
    expect(formatPrefix(parsePrefix("0.0.0.0/0"))).toBe("0.0.0.0/0");
    expect(formatPrefix(parsePrefix("::/0"))).toBe("::/0");
    expect(formatPrefix(parsePrefix("::ffff:10.0.0.0/104"))).toBe("10.0.0.0/8");
    expect(formatPrefix(parseInterfaceAddress("10.1.2.3/24"))).toBe("10.1.2.3/24");
    expect(formatPrefix(parsePrefixOrIp("192.0.2.7"))).toBe("192.0.2.7/32");
    expect(parsePrefix("0.0.0.0/0").length).toBe(96);
  });

  it.each([
    "10.0.0.0",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/08",
    "10.0.0.0/",
    "/8",
    "10.0.0.0/-1",
    "a/8",
    "::/1/2",
  ])("refuse %j", (text) =>
    expect(() => parsePrefix(text)).toThrowError(expect.objectContaining({ code: "prefix.invalid" })),
  );
});

describe("Lpm", () => {
  const command = fc.tuple(fc.boolean(), prefix, fc.integer());

  it("finds what a scan over all entries finds, after any history", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), fc.array(ip), prefix, (history, probes, area) => {
        const lpm = new Lpm<number>();
        const model = new Map<string, { prefix: Prefix; value: number }>();
        for (const [add, block, value] of history) {
          if (add) {
            lpm.set(block, value);
            model.set(prefixKey(block), { prefix: block, value });
          } else expect(lpm.delete(block)).toBe(model.delete(prefixKey(block)));
          expect(lpm.size).toBe(model.size);
          expect(lpm.get(block)).toBe(model.get(prefixKey(block))?.value);
        }
        const raw = (outer: Prefix, inner: Prefix) =>
          outer.length <= inner.length &&
          prefixKey({ ip: maskTo(inner.ip, outer.length), length: outer.length }) === prefixKey(outer);
        for (const probe of probes) {
          const matches = [...model.values()].filter((entry) => raw(entry.prefix, hostPrefix(probe)));
          matches.sort((a, b) => b.prefix.length - a.prefix.length);
          expect(lpm.lookup(probe)?.value).toBe(matches[0]?.value);
        }
        const inside = [...model.values()]
          .filter((entry) => raw(area, entry.prefix))
          .map((e) => formatPrefix(e.prefix));
        expect([...lpm.inside(area)].map((e) => formatPrefix(e.prefix)).sort()).toEqual(inside.sort());
        const covering = [...model.values()]
          .filter((entry) => raw(entry.prefix, area))
          .map((e) => formatPrefix(e.prefix));
        expect([...lpm.covering(area)].map((e) => formatPrefix(e.prefix)).sort()).toEqual(covering.sort());
        expect([...lpm.entries()].length).toBe(model.size);
      }),
      { numRuns: 300 },
    );
  });
});

function maskTo(address: Ip, length: number): Ip {
  return address.map((byte, i) => byte & (0xff << (8 - Math.min(8, Math.max(0, length - i * 8)))) & 0xff);
}

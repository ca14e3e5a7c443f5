import fc from "fast-check";
import { expect, it } from "vitest";
import { FlowIds, formatTimestamp, parseTimestamp } from "../src/index.ts";

it("writes and reads the same time", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }), (ns) => {
      expect(parseTimestamp(formatTimestamp(ns))).toBe(ns);
    }),
  );
});

it("writes 0, 3, 6 or 9 digits, as protojson does", () => {
  expect(formatTimestamp(0n)).toBe("1970-01-01T00:00:00Z");
  expect(formatTimestamp(5_000_000n)).toBe("1970-01-01T00:00:00.005Z");
  expect(formatTimestamp(5_000n)).toBe("1970-01-01T00:00:00.000005Z");
  expect(formatTimestamp(5n)).toBe("1970-01-01T00:00:00.000000005Z");
});

it("reads offsets and refuses what is not RFC 3339", () => {
  expect(parseTimestamp("1970-01-01T01:00:00+01:00")).toBe(0n);
  for (const text of ["", "yesterday", "2026-11-20", "2026-13-20T00:00:00Z"]) {
    expect(() => parseTimestamp(text)).toThrow("not RFC 3339");
  }
});

it("gives every flow a UUID of its own, the same each time", () => {
  const ids = new FlowIds(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
  const seen = new Set<string>();
  for (let seq = 0; seq < 1000; seq++) for (let part = 0; part < 3; part++) seen.add(ids.of(seq, part));
  expect(seen.size).toBe(3000);
  expect(ids.of(2 ** 40, 2)).toBe(ids.of(2 ** 40, 2));
  for (const id of [ids.of(0, 0), ids.of(2 ** 47, 15)]) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  }
});

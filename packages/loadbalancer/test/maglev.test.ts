import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ServiceCompiler } from "../src/index.ts";
import { maglevSizeFor, maglevTable } from "../src/maglev.ts";
import { murmur128 } from "../src/murmur.ts";
import { Maps } from "./maps.ts";
import { endpoint, service, slice } from "./objects.ts";

const hex = ({ hi, lo }: { hi: number; lo: number }) =>
  hi.toString(16).padStart(8, "0") + lo.toString(16).padStart(8, "0");
const bytes = (text: string) => new TextEncoder().encode(text);

describe("murmur128", () => {
  it.each([
    ["", "00000000000000000000000000000000"],
    ["hello", "cbd8a7b341bd9b025b1e906a48ae1d19"],
    ["hello, world", "342fac623a5ebc8e4cdcbc079642414d"],
    ["The quick brown fox jumps over the lazy dog.", "cd99481f9ee902c9695da1a38987b6e7"],
  ])("of %j", (text, want) => {
    const { h1, h2 } = murmur128(bytes(text), 0);
    expect(hex(h1) + hex(h2)).toBe(want);
  });
});

const backends = (count: number, weight = (_: number) => 1) =>
  Array.from({ length: count }, (_, i) => ({
    address: `10.0.${i >> 8}.${i & 255}`,
    port: 8080,
    weight: weight(i),
  }));
const shares = (table: Uint32Array, count: number): number[] => {
  const slots = new Array<number>(count).fill(0);
  for (const index of table) slots[index] = (slots[index] ?? 0) + 1;
  return slots.map((n) => n / table.length);
};

describe("maglevTable", () => {
  it.each([
    [1, 16_381, 251],
    [2, 16_381, 509],
    [4, 16_381, 1021],
    [10, 16_381, 4093],
    [100, 16_381, 16_381],
    [1000, 16_381, 16_381],
    [1000, 131_071, 131_071],
    [4, 251, 251],
  ])("for %i backends, at most %i slots, has %i", (count, largest, want) => {
    expect(maglevSizeFor(count, largest)).toBe(want);
  });

  it("does not depend on the order of its backends", () => {
    const all = backends(7);
    const order = [3, 6, 0, 2, 5, 1, 4];
    const mixed = order.flatMap((i) => all[i] ?? []);
    const a = maglevTable(all, 6, 1021, 7);
    const b = maglevTable(mixed, 6, 1021, 7);
    expect([...b].map((i) => order[i])).toEqual([...a]);
    expect([...maglevTable(all, 6, 1021, 8)]).not.toEqual([...a]);
  });

  it("gives no backend much more than its share, and hardly one much less", () => {
    for (const count of [2, 3, 4, 10, 50]) {
      const size = maglevSizeFor(count, 16_381);
      const all = shares(maglevTable(backends(count), 6, size, 7), count).map((share) => share * count);
      expect(Math.max(...all)).toBeLessThan(1 + 1 / 16 + 1 / 64);
      expect(Math.min(...all)).toBeGreaterThan(0.75);
    }
  });

  it("follows weights", () => {
    const weights = [1, 2, 3, 10];
    const table = maglevTable(
      backends(4, (i) => weights[i] ?? 1),
      6,
      16_381,
      7,
    );
    for (const [i, share] of shares(table, 4).entries()) expect(share).toBeCloseTo((weights[i] ?? 0) / 16, 2);
  });

  /** Share of slots that moved although their backend stayed, when one of `count` backends goes. */
  function extraMoves(count: number, gone: number, size: number, seed: number): number {
    const all = backends(count);
    const rest = all.filter((_, i) => i !== gone);
    const before = maglevTable(all, 6, size, seed);
    const after = maglevTable(rest, 6, size, seed);
    let moved = 0;
    for (let slot = 0; slot < size; slot++) {
      const was = before[slot] ?? 0;
      if (was !== gone && rest[after[slot] ?? 0] !== all[was]) moved++;
    }
    return moved / size;
  }

  it("moves at most 1 % more than the removed share when a backend goes, whatever the number of backends", () => {
    const counts = fc.oneof(
      fc.integer({ min: 2, max: 12 }),
      fc.integer({ min: 2, max: 100 }),
      fc.integer({ min: 2, max: 1000 }),
    );
    fc.assert(
      fc.property(counts, fc.nat(), fc.nat(), (count, which, seed) => {
        const size = maglevSizeFor(count, 16_381);
        expect(extraMoves(count, which % count, size, seed)).toBeLessThanOrEqual(0.01);
      }),
      { numRuns: 300 },
    );
  });
});

describe("the table of a Service", () => {
  const annotations = { "service.cilium.io/lb-algorithm": "maglev" };
  const web = service("web", { clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] }, { annotations });

  it("is the same on every node, whatever came first", () => {
    const texts = ["n1", "n2"].map((name) => {
      const compiler = new ServiceCompiler({ node: { name } });
      const parts = [
        slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2")]),
        slice("t", "web", [endpoint("10.0.0.3")]),
      ];
      for (const part of name === "n1" ? parts : parts.reverse()) compiler.upsertSlice(part);
      compiler.upsertService(web);
      const [view] = compiler.maglevOf("shop", "web");
      const port = new Map(view?.backends.map(({ backend }) => [backend.id, backend.addr[15]]));
      return view?.table.map((id) => port.get(id)).join();
    });
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]?.length).toBeGreaterThan(1000);
  });

  it("shows its shares; a weight of 0 takes no new connections", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    maps.apply(compiler.upsertService(web));
    maps.apply(
      compiler.upsertSlice(
        slice("s", "web", [endpoint("10.0.0.1")], undefined, { "service.cilium.io/weight": "3" }),
      ),
    );
    maps.apply(compiler.upsertSlice(slice("t", "web", [endpoint("10.0.0.2")])));
    const counts = () => compiler.maglevOf("shop", "web")[0]?.backends.map(({ slots }) => slots);
    expect(counts()).toEqual([377, 132]);
    maps.apply(
      compiler.upsertSlice(
        slice("t", "web", [endpoint("10.0.0.2")], undefined, { "service.cilium.io/weight": "0" }),
      ),
    );
    expect(counts()).toEqual([251]);
    expect([...maps.backends.values()].map(({ state }) => state)).toEqual([0, 1]);
  });
});

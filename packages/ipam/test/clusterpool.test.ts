import { formatPrefix, type Prefix, parsePrefix, prefixOverlaps } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClusterPool } from "../src/index.ts";

const blocks = (...pairs: [string, number][]) =>
  pairs.map(([cidr, maskSize]) => ({ cidr: parsePrefix(cidr), maskSize }));
const text = (cidrs: readonly Prefix[]) => cidrs.map(formatPrefix);

describe("ClusterPool", () => {
  it("cuts the lowest free piece of each family", () => {
    const pool = new ClusterPool(blocks(["10.200.0.0/16", 24], ["fd10::/48", 64]));
    expect(text(pool.allocate("n1"))).toEqual(["10.200.0.0/24", "fd10::/64"]);
    expect(text(pool.allocate("n2"))).toEqual(["10.200.1.0/24", "fd10:0:0:1::/64"]);
    expect(text(pool.allocate("n1"))).toEqual(["10.200.0.0/24", "fd10::/64"]);
    pool.release("n1");
    expect(text(pool.allocate("n3"))[0]).toBe("10.200.0.0/24");
  });

  it("goes on to the next block and says when all are given out", () => {
    const pool = new ClusterPool(blocks(["10.0.0.0/25", 26], ["10.9.0.0/26", 26]));
    expect(["a", "b", "c"].flatMap((node) => text(pool.allocate(node)))).toEqual([
      "10.0.0.0/26",
      "10.0.0.64/26",
      "10.9.0.0/26",
    ]);
    expect(() => pool.allocate("d")).toThrowError(
      expect.objectContaining({
        code: "ipam.exhausted",
        message: expect.stringMatching(/node d.*10\.9\.0\.0\/26/),
      }),
    );
    expect(pool.usage().map(({ free }) => free)).toEqual([0n, 0n]);
  });

  it("takes nothing when one family is exhausted", () => {
    const pool = new ClusterPool(blocks(["10.0.0.0/24", 24], ["fd00::/64", 64]));
    pool.reserve("other", parsePrefix("fd00::/64"));
    expect(() => pool.allocate("n")).toThrowError(expect.objectContaining({ code: "ipam.exhausted" }));
    expect(pool.cidrsOf("n")).toEqual([]);
    expect(pool.usage()[0]).toMatchObject({ free: 1n });
  });

  it("steers clear of existing nodes, whatever the size of their CIDRs, and names clashes", () => {
    const pool = new ClusterPool(blocks(["10.0.0.0/16", 24]));
    const clashes = pool.restore([
      { node: "z", cidrs: [parsePrefix("10.0.0.128/25")] },
      { node: "big", cidrs: [parsePrefix("10.0.2.0/23")] },
      { node: "old", cidrs: [parsePrefix("192.168.0.0/24")] },
      { node: "zz", cidrs: [parsePrefix("10.0.0.0/24")] },
    ]);
    expect(clashes.map(({ node }) => node)).toEqual(["zz"]);
    expect(clashes[0]?.error.message).toContain("10.0.0.128/25 of node z");
    expect(text(pool.allocate("n"))).toEqual(["10.0.1.0/24"]);
    expect(text(pool.allocate("m"))).toEqual(["10.0.4.0/24"]);
  });

  it("refuses blocks that overlap or cannot be cut", () => {
    expect(() => new ClusterPool(blocks(["10.0.0.0/8", 24], ["10.1.0.0/16", 24]))).toThrowError(/overlap/);
    expect(() => new ClusterPool(blocks(["10.0.0.0/25", 24]))).toThrowError(/cannot cut/);
  });

  it("never overlaps, never loses a piece, and is restored as it was, in any history", () => {
    const node = fc.constantFrom("a", "b", "c", "d", "e");
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom("allocate", "release", "restart"), node)), (commands) => {
        const config = blocks(["10.0.0.0/26", 28], ["fd00::/62", 64]);
        let pool = new ClusterPool(config);
        const held = new Map<string, string[]>();
        for (const [kind, node] of commands) {
          if (kind === "release") {
            pool.release(node);
            held.delete(node);
          } else if (kind === "restart") {
            const nodes = [...held.keys()].map((name) => ({ node: name, cidrs: pool.cidrsOf(name) }));
            pool = new ClusterPool(config);
            expect(pool.restore(nodes)).toEqual([]);
          } else if (!held.has(node) && held.size === 4) expect(() => pool.allocate(node)).toThrow();
          else {
            const got = text(pool.allocate(node));
            expect(held.get(node) ?? got).toEqual(got);
            held.set(node, got);
          }
          const all = [...held.values()].flat().map(parsePrefix);
          all.forEach((a, i) => {
            for (const b of all.slice(i + 1)) expect(prefixOverlaps(a, b)).toBe(false);
          });
          for (const { free } of pool.usage()) expect(free).toBe(BigInt(4 - held.size));
        }
      }),
    );
  });
});

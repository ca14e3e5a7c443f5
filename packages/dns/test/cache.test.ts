/** The cache of answers against a model that keeps a plain list and works everything out by looking at all of it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CacheLimits, DnsCache } from "../src/index.ts";

const limits: CacheLimits = { perName: 3, perEndpoint: 7, minTtlMs: 2000, graceMs: 1000 };

interface Row {
  endpoint: number;
  name: string;
  ip: string;
  expiresAt: number;
  dead: boolean;
  usedAt: number;
  diedAt: number;
}

/** Ties (ends at the same time) are the only thing it leaves open; the generator avoids them. */
class Model {
  rows: Row[] = [];
  #deaths = 0;

  learn(
    endpoint: number,
    name: string,
    addresses: readonly { ip: string; ttl: number }[],
    now: number,
  ): void {
    for (const { ip, ttl } of addresses) {
      const end = now + Math.max(ttl * 1000, limits.minTtlMs);
      const known = this.rows.find((r) => r.endpoint === endpoint && r.name === name && r.ip === ip);
      const row = known ?? { endpoint, name, ip, expiresAt: 0, dead: false, usedAt: 0, diedAt: 0 };
      if (known === undefined) this.rows.push(row);
      if (row.dead) row.usedAt = 0;
      row.dead = false;
      row.expiresAt = Math.max(end, row.expiresAt);
      const alive = this.rows.filter((r) => r.endpoint === endpoint && r.name === name && !r.dead);
      if (alive.length > limits.perName) {
        const first = least(
          alive.filter((r) => r !== row),
          (r) => r.expiresAt,
        );
        first.expiresAt = Math.min(first.expiresAt, now);
        this.#die(first);
      }
      const own = this.rows.filter((r) => r.endpoint === endpoint);
      if (own.length <= limits.perEndpoint) continue;
      const dead = own.filter((r) => r.dead);
      const unused = dead.filter((r) => r.usedAt === 0);
      const victim =
        unused.length > 0
          ? least(unused, (r) => r.diedAt)
          : dead.length > 0
            ? least(dead, (r) => r.diedAt)
            : least(own, (r) => r.expiresAt);
      this.rows = this.rows.filter((r) => r !== victim);
    }
  }

  #die(row: Row): void {
    row.dead = true;
    row.diedAt = ++this.#deaths;
  }

  sweep(now: number, used: ReadonlySet<string>): void {
    const ended = this.rows
      .filter((r) => !r.dead && r.expiresAt <= now)
      .sort((a, b) => a.expiresAt - b.expiresAt);
    for (const row of ended) this.#die(row);
    for (const row of this.rows) if (row.dead && used.has(`${row.endpoint} ${row.ip}`)) row.usedAt = now;
    this.rows = this.rows.filter(
      (r) => !r.dead || used.has(`${r.endpoint} ${r.ip}`) || now - r.expiresAt < limits.graceMs,
    );
  }

  pairs(): string[] {
    return [...new Set(this.rows.map(({ ip, name }) => `${ip} ${name}`))].sort();
  }
}

function least<T>(items: readonly T[], of: (item: T) => number): T {
  const [first] = [...items].sort((a, b) => of(a) - of(b));
  if (first === undefined) throw new Error("none");
  return first;
}

const ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "2001:db8::1"];
const names = ["a.b.", "c.d.", "e."];
const stepArb = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("learn" as const),
      endpoint: fc.constantFrom(1, 2),
      name: fc.constantFrom(...names),
      ips: fc.subarray(ips, { minLength: 1, maxLength: 4 }),
      ttl: fc.integer({ min: 0, max: 20 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("sweep" as const),
      used: fc.subarray([1, 2].flatMap((e) => ips.map((ip) => `${e} ${ip}`))),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("gone" as const), endpoint: fc.constantFrom(1, 2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("clean" as const), name: fc.constantFrom(...names) }) },
);

describe("the cache of answers", () => {
  it("holds what a plain list holds, and tells of each pair that comes and goes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(stepArb, fc.integer({ min: 1, max: 4000 })), { maxLength: 60 }),
        (steps) => {
          const cache = new DnsCache(limits);
          const model = new Model();
          const told = new Set<string>();
          let now = 1_000_000;
          for (const [step, pause] of steps) {
            now += pause;
            let change: { added: { ip: string; name: string }[]; removed: { ip: string; name: string }[] } = {
              added: [],
              removed: [],
            };
            if (step.do === "learn") {
              // Different ends, so that there is one that comes first.
              for (const [i, ip] of step.ips.entries()) {
                const addresses = [{ ip, ttl: step.ttl + i / 1000 }];
                const one = cache.learn(step.endpoint, step.name, addresses, now + i / 7);
                model.learn(step.endpoint, step.name, addresses, now + i / 7);
                for (const { ip: a, name } of one.added) told.add(`${a} ${name}`);
                for (const { ip: a, name } of one.removed) told.delete(`${a} ${name}`);
              }
            } else if (step.do === "sweep") {
              const used = new Set(step.used);
              const dead = cache.dead(now);
              change = {
                added: [],
                removed: cache.sweep(dead, (e) => used.has(`${e.endpoint} ${e.ip}`), now),
              };
              model.sweep(now, used);
            } else if (step.do === "gone") {
              change = { added: [], removed: cache.forgetEndpoint(step.endpoint) };
              model.rows = model.rows.filter((r) => r.endpoint !== step.endpoint);
            } else {
              change = { added: [], removed: cache.remove(({ name }) => name === step.name) };
              model.rows = model.rows.filter((r) => r.name !== step.name);
            }
            for (const { ip, name } of change.removed) told.delete(`${ip} ${name}`);
            const got = [...cache.entries()].map(
              (e) => `${e.endpoint} ${e.name} ${e.ip} ${e.expiresAt} ${e.isDead}`,
            );
            expect(got.sort()).toEqual(
              model.rows.map((r) => `${r.endpoint} ${r.name} ${r.ip} ${r.expiresAt} ${r.dead}`).sort(),
            );
            expect([...told].sort()).toEqual(model.pairs());
            expect(cache.size).toBe(model.rows.length);
            for (const ip of ips) {
              const known = model.rows
                .filter((r) => r.endpoint === 1 && r.ip === ip)
                .map(({ name }) => name.slice(0, -1));
              expect(cache.namesOf(1, ip)).toEqual(known.sort());
            }
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("nets out what comes and goes in one answer", () => {
    const cache = new DnsCache({ ...limits, perName: 10, perEndpoint: 2 });
    cache.learn(
      1,
      "a.",
      [
        { ip: "10.0.0.1", ttl: 1 },
        { ip: "10.0.0.2", ttl: 50 },
      ],
      0,
    );
    const { added, removed } = cache.learn(
      1,
      "a.",
      [
        { ip: "10.0.0.3", ttl: 60 },
        { ip: "10.0.0.1", ttl: 70 },
      ],
      1,
    );
    // .1 went for .3, and came again for .2
    expect(added.map(({ ip }) => ip)).toEqual(["10.0.0.3"]);
    expect(removed.map(({ ip }) => ip)).toEqual(["10.0.0.2"]);
  });

  it("keeps the address of a long connection while its name moves on", () => {
    const cache = new DnsCache({ ...limits, perName: 1000, perEndpoint: 10_000 });
    cache.learn(1, "a.b.", [{ ip: "10.0.0.1", ttl: 5 }], 0);
    for (let now = 10_000; now < 100_000; now += 10_000) {
      cache.learn(1, "a.b.", [{ ip: "10.0.0.2", ttl: 15 }], now);
      expect(cache.sweep(cache.dead(now), ({ ip }) => ip === "10.0.0.1", now)).toEqual([]);
    }
    expect(cache.sweep(cache.dead(100_000), () => false, 100_000)).toEqual([
      { ip: "10.0.0.1", name: "a.b." },
    ]);
  });

  it("is put back with at least some time left, and the longer end where one is known", () => {
    const before = new DnsCache(limits);
    before.learn(1, "a.b.", [{ ip: "10.0.0.1", ttl: 5 }], 0);
    before.learn(1, "c.d.", [{ ip: "10.0.0.2", ttl: 500 }], 0);
    const after = new DnsCache(limits);
    expect(after.restore(before.entries(), 60_000)).toHaveLength(2);
    expect([...after.entries()].map(({ ip, ttl, expiresAt }) => [ip, ttl, expiresAt])).toEqual([
      ["10.0.0.1", 5, 60_000],
      ["10.0.0.2", 500, 500_000],
    ]);
    expect(after.dead(59_999)).toEqual([]);
    expect(after.dead(60_000).map(({ ip }) => ip)).toEqual(["10.0.0.1"]);
  });

  it("costs the same however many addresses are known", () => {
    const cache = new DnsCache({ perName: 1000, perEndpoint: 10_000, minTtlMs: 0, graceMs: 0 });
    const started = performance.now();
    for (let i = 0; i < 100_000; i++) {
      cache.learn(
        i % 20,
        `n${i % 5000}.example.`,
        [{ ip: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, ttl: 30 }],
        i,
      );
      if (i % 10_000 === 0) cache.sweep(cache.dead(i), () => false, i);
    }
    expect(performance.now() - started).toBeLessThan(5000);
    expect(cache.size).toBeLessThanOrEqual(40_000);
  });
});

import { FakeClock, formatIp, type Ip, ipKey, parseIp, parsePrefix, prefixContains } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NodePool, type NodePoolOptions } from "../src/index.ts";

const make = (cidrs: string[], options: Partial<NodePoolOptions> = {}) =>
  new NodePool({ name: "node1", cidrs: cidrs.map(parsePrefix), clock: new FakeClock(0), ...options });
const text = (ip: Ip | undefined) => (ip === undefined ? undefined : formatIp(ip));

describe("NodePool", () => {
  it("gives one address of each family, past the network and router addresses", () => {
    const pool = make(["10.0.1.0/24", "fd00:1::/64"]);
    const { v4, v6 } = pool.allocate("a");
    expect([text(v4), text(v6)]).toEqual(["10.0.1.2", "fd00:1::2"]);
    expect([text(pool.routerIp(4)), text(pool.routerIp(6))]).toEqual(["10.0.1.1", "fd00:1::1"]);
  });

  it("gives the same again to the same owner", () => {
    const pool = make(["10.0.1.0/24"]);
    expect(pool.allocate("a")).toEqual(pool.allocate("a"));
    expect(pool.usage()[0]).toMatchObject({ used: 2, capacity: 254n });
  });

  it("never gives out network or broadcast, and names pool and counts when full", () => {
    const pool = make(["10.0.1.0/29"]);
    const got = Array.from({ length: 5 }, (_, i) => text(pool.allocate(`p${i}`).v4));
    expect(got).toEqual(["10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"]);
    expect(() => pool.allocate("one too many")).toThrowError(
      expect.objectContaining({
        code: "ipam.exhausted",
        message: expect.stringMatching(/node1 .*IPv4.*10\.0\.1\.0\/29: 6 in use of 6/),
      }),
    );
  });

  it("takes nothing when one family is exhausted", () => {
    const pool = make(["10.0.1.0/30", "fd00::/120"]);
    pool.allocate("a");
    const before = pool.snapshot();
    expect(() => pool.allocate("b")).toThrowError(expect.objectContaining({ code: "ipam.exhausted" }));
    expect(pool.snapshot().allocations).toEqual(before.allocations);
  });

  it("lets a freed address rest, and takes the longest rested one when nothing else is left", () => {
    const clock = new FakeClock(0);
    const pool = make(["10.0.1.0/29"], { clock, cooldownMs: 1000 });
    for (const owner of ["a", "b", "c", "d"]) pool.allocate(owner);
    pool.release("b");
    pool.release("a");
    expect(text(pool.allocate("e").v4)).toBe("10.0.1.6");
    expect(text(pool.allocate("f").v4)).toBe("10.0.1.3");
    clock.advance(1000);
    expect(text(pool.allocate("g").v4)).toBe("10.0.1.2");
  });

  it("goes round: a freed address comes last even after its rest", () => {
    const clock = new FakeClock(0);
    const pool = make(["10.0.1.0/29"], { clock, cooldownMs: 0 });
    pool.allocate("a");
    pool.release("a");
    expect(text(pool.allocate("b").v4)).toBe("10.0.1.3");
  });

  it("honours a wished address, and refuses one that is taken or outside", () => {
    const pool = make(["10.0.1.0/24"]);
    expect(text(pool.allocate("a", parseIp("10.0.1.77")).v4)).toBe("10.0.1.77");
    expect(() => pool.allocate("b", parseIp("10.0.1.77"))).toThrowError(
      expect.objectContaining({ code: "ipam.taken", message: expect.stringMatching(/belongs to a/) }),
    );
    expect(() => pool.allocate("b", parseIp("10.0.2.1"))).toThrowError(
      expect.objectContaining({ code: "ipam.outside" }),
    );
    expect(pool.get("b")).toBeUndefined();
    expect(() => pool.allocate("a", parseIp("10.0.1.78"))).toThrowError(/already has 10\.0\.1\.77/);
  });

  it("uses several CIDRs one after the other", () => {
    const pool = make(["10.0.1.0/30", "10.0.9.0/30"]);
    expect(Array.from({ length: 3 }, (_, i) => text(pool.allocate(`p${i}`).v4))).toEqual([
      "10.0.1.2",
      "10.0.9.1",
      "10.0.9.2",
    ]);
  });

  it("reconciles with the endpoints that exist", () => {
    const pool = make(["10.0.1.0/24"]);
    pool.allocate("gone");
    const kept = pool.allocate("kept");
    const report = pool.reconcile([
      { owner: "kept", ips: [kept.v4 as Ip] },
      { owner: "unknown", ips: [parseIp("10.0.1.50")] },
      { owner: "thief", ips: [kept.v4 as Ip] },
    ]);
    expect(report.released.map(({ owner }) => owner)).toEqual(["gone"]);
    expect(report.adopted).toEqual([{ owner: "unknown", ip: parseIp("10.0.1.50") }]);
    expect(report.conflicts).toEqual([{ owner: "thief", ip: kept.v4, holder: "kept" }]);
    expect(pool.ownerOf(parseIp("10.0.1.50"))).toBe("unknown");
  });

  it("keeps what runs when the CIDRs change", () => {
    const pool = make(["10.0.1.0/24"]);
    const a = pool.allocate("a");
    pool.setCidrs([parsePrefix("10.0.2.0/24")]);
    expect(pool.get("a")).toEqual(a);
    expect(text(pool.allocate("b").v4)).toBe("10.0.2.2");
    expect(text(pool.routerIp(4))).toBe("10.0.2.1");
    const fresh = make(["10.0.1.0/24"], {});
    fresh.restore(pool.snapshot());
    expect(fresh.get("b")).toEqual(pool.get("b"));
  });

  it("refuses a snapshot it does not know, and an owner named as the router", () => {
    const pool = make(["10.0.1.0/24"]);
    expect(() => pool.restore({ version: 2 } as never)).toThrowError(
      expect.objectContaining({ code: "ipam.snapshot" }),
    );
    expect(() => pool.release("router")).toThrowError(expect.objectContaining({ code: "ipam.owner" }));
  });

  it("never gives an address twice, never leaks one, also across snapshots, in any history", () => {
    const owner = fc.constantFrom("a", "b", "c", "d", "e", "f");
    const command = fc.oneof(
      fc.record({ kind: fc.constant("allocate" as const), owner }),
      fc.record({ kind: fc.constant("release" as const), owner }),
      fc.record({ kind: fc.constant("restart" as const), owner }),
      fc.record({ kind: fc.constant("wait" as const), owner }),
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const clock = new FakeClock(0);
        const cidrs = ["10.0.1.0/29", "fd00::/125"];
        let pool = make(cidrs, { clock, cooldownMs: 50 });
        const model = new Map<string, string>(); // address -> owner
        const held = new Set<string>();
        for (const { kind, owner } of commands) {
          if (kind === "wait") clock.advance(20);
          if (kind === "release") {
            pool.release(owner);
            held.delete(owner);
            for (const [ip, who] of model) if (who === owner) model.delete(ip);
          }
          if (kind === "restart") {
            const snapshot = JSON.parse(JSON.stringify(pool.snapshot()));
            pool = make(cidrs, { clock, cooldownMs: 50 });
            pool.restore(snapshot);
          }
          if (kind === "allocate") {
            if (!held.has(owner) && held.size === 5) {
              expect(() => pool.allocate(owner)).toThrowError(
                expect.objectContaining({ code: "ipam.exhausted" }),
              );
              continue;
            }
            const { v4, v6 } = pool.allocate(owner); // must succeed: five fit
            held.add(owner);
            for (const ip of [v4, v6] as Ip[]) {
              expect(model.get(ipKey(ip)) ?? owner).toBe(owner);
              expect(cidrs.some((cidr) => prefixContains(parsePrefix(cidr), ip))).toBe(true);
              model.set(ipKey(ip), owner);
            }
          }
          expect(model.size).toBe(held.size * 2);
          expect([...pool.allocations()].filter((entry) => entry.owner !== "router").length).toBe(held.size);
          for (const usage of pool.usage()) expect(usage.used).toBe(held.size + 1);
        }
      }),
      { numRuns: 500 },
    );
  });
});

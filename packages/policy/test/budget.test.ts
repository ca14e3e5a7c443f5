/** Maps with less room than the policies ask for: never too many rows at any moment, and never half a policy. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Direction, Verdict } from "../src/index.ts";
import { outsiders, pod, podArb, policyArb, probes, type RawPolicy } from "./generate.ts";
import { parse, World } from "./world.ts";

const web = pod("web", "red", { app: "web" });
const db = pod("db", "red", { app: "db" });

/** Lets `count` ports of web in. */
const ports = (name: string, app: string, count: number, first = 1000): RawPolicy => ({
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "red" },
  spec: {
    endpointSelector: { matchLabels: { app } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: "db" } }],
        toPorts: [
          {
            ports: Array.from({ length: count }, (_, i) => ({
              port: String(first + 2 * i),
              protocol: "TCP",
            })),
          },
        ],
      },
    ],
  },
});

const space = (rows: number) => ({ capacity: { rows, heads: 100 } });

function world(rows: number, ...policies: RawPolicy[]): World {
  const made = new World(space(rows));
  made.setPod(web);
  made.setPod(db);
  for (const policy of policies) made.setPolicy(policy);
  return made;
}

const idOf = (made: World, name: string) => made.pods.get(name)?.id ?? 0;

describe("a policy that asks for too much", () => {
  it("is known before anything is written, and can be taken back without a trace", () => {
    const made = world(20, ports("small", "web", 3));
    const used = made.engine.used;
    made.engine.upsertPolicy(parse(ports("large", "web", 30)));
    made.engine.prepare();
    expect(made.engine.demand().rows).toBeGreaterThan(20);
    made.engine.deletePolicy(parse(ports("large", "web", 30)).ref);
    expect(made.engine.demand()).toEqual(used);
    expect(made.engine.commit().changes).toEqual([]);
  });

  it("can be put back to its former text without a trace", () => {
    const made = world(20, ports("it", "web", 3));
    made.engine.upsertPolicy(parse(ports("it", "web", 30)));
    expect(made.engine.demand().rows).toBeGreaterThan(20);
    made.engine.upsertPolicy(parse(ports("it", "web", 3)));
    expect(made.engine.commit().changes).toEqual([]);
    expect(made.decide(web, db, true, 6, 1000).verdict).toBe(Verdict.ALLOW);
  });

  it("counts the rows that go after those that come", () => {
    const made = world(20, ports("it", "web", 8));
    const before = made.engine.used.rows;
    made.engine.upsertPolicy(parse(ports("it", "web", 8, 5001)));
    expect(made.engine.demand().rows).toBe(before + 8);
  });

  it("denies everything at its endpoints when it is written all the same, and others go on", () => {
    const made = world(20, ports("small", "db", 3));
    made.setPolicy(ports("large", "web", 30));
    expect(made.engine.withdrawn).toEqual([idOf(made, "web")]);
    expect(made.decide(web, db, true, 6, 1000)).toEqual({ verdict: Verdict.DEFAULT_DENY, ruleId: 0 });
    expect(made.decide(web, db, false, 6, 1000).verdict).toBe(Verdict.DEFAULT_DENY);
    expect(made.decide(db, db, true, 6, 1000).verdict).toBe(Verdict.ALLOW);
    expect(made.engine.head(made.engine.policyIdOf(idOf(made, "web")), Direction.INGRESS)).toBeUndefined();
  });

  it("comes back as a whole when there is room", () => {
    const made = world(20, ports("small", "web", 3));
    made.setPolicy(ports("large", "web", 30));
    expect(made.maps.rowCount).toBe(0);
    made.deletePolicy(ports("large", "web", 30));
    expect(made.engine.withdrawn).toEqual([]);
    expect(made.decide(web, db, true, 6, 1000).verdict).toBe(Verdict.ALLOW);
    expect(made.maps.rowCount).toBe(made.engine.used.rows);
  });
});

const action = fc.oneof(
  {
    weight: 3,
    arbitrary: policyArb.map((policy) => ({ do: "policy" as const, policy: policy as RawPolicy })),
  },
  {
    weight: 1,
    arbitrary: policyArb.map((policy) => ({ do: "remove" as const, policy: policy as RawPolicy })),
  },
  { weight: 3, arbitrary: podArb.map((made) => ({ do: "pod" as const, pod: made })) },
);

describe("whatever happens", () => {
  it("rows fit at every moment, and each endpoint is under all of its policy or closed", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 12 }), fc.integer({ min: 5, max: 60 }), (steps, room) => {
        const small = new World({ capacity: { rows: room, heads: 6 } });
        const large = new World();
        small.onChange = () => {
          expect(small.maps.rowCount).toBeLessThanOrEqual(room);
          expect(small.maps.headCount).toBeLessThanOrEqual(6);
        };
        for (const step of steps) {
          for (const one of [small, large]) {
            if (step.do === "pod") one.setPod(step.pod);
            else if (step.do === "policy") one.setPolicy(step.policy);
            else one.deletePolicy(step.policy);
          }
          const closed = new Set(small.engine.withdrawn);
          expect(small.engine.used).toEqual({ rows: small.maps.rowCount, heads: small.maps.headCount });
          for (const { pod: of, id } of small.pods.values()) {
            for (const peer of [...outsiders, ...[...small.pods.values()].map((entry) => entry.pod)]) {
              for (const [proto, port] of probes) {
                for (const ingress of [true, false]) {
                  const is = small.decide(of, peer, ingress, proto, port).verdict;
                  if (closed.has(id)) expect(is).toBe(Verdict.DEFAULT_DENY);
                  else expect(is).toBe(large.decide(of, peer, ingress, proto, port).verdict);
                }
              }
            }
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

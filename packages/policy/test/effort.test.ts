/** What a change costs among ten thousand policies, counted and not timed: it may touch what it concerns, nothing else. */
import { parsePrefix } from "@axoneme/base";
import { beforeAll, describe, expect, it } from "vitest";
import { noEffort } from "../src/effort.ts";
import { type Effort, PolicyEngine, parseNetworkPolicy } from "../src/index.ts";

const POLICIES = 10_000;
const IDENTITIES = 2000;
const ENDPOINTS = 100;
const NAMESPACES = 50;
const APPS = IDENTITIES / NAMESPACES;

const labels = (app: string, namespace: string) => ({
  "k8s:app": app,
  "k8s:io.kubernetes.pod.namespace": namespace,
  "k8s:io.cilium.k8s.policy.cluster": "default",
});
const labelsOf = (i: number) => labels(`app-${i % APPS}`, `ns-${Math.floor(i / APPS) % NAMESPACES}`);

interface Shape {
  namespace: string;
  name: string;
  subject: string | undefined;
  peer: string;
  port?: number;
}

/** Lets one app in the namespace in, on one port. */
const policy = ({ namespace, name, subject, peer, port = 8080 }: Shape) =>
  parseNetworkPolicy({
    metadata: { namespace, name },
    spec: {
      podSelector: subject === undefined ? {} : { matchLabels: { app: subject } },
      policyTypes: ["Ingress"],
      ingress: [{ from: [{ podSelector: { matchLabels: { app: peer } } }], ports: [{ port }] }],
    },
  });

function populated(policyOf: (i: number) => Shape): PolicyEngine {
  const engine = new PolicyEngine();
  for (let i = 0; i < IDENTITIES; i++) engine.addIdentity(1000 + i, labelsOf(i));
  for (let i = 0; i < ENDPOINTS; i++) {
    const of = (i * IDENTITIES) / ENDPOINTS;
    engine.upsertEndpoint({ id: i + 1, identity: 1000 + of, labels: labelsOf(of) });
  }
  for (let i = 0; i < POLICIES; i++) engine.upsertPolicy(policy(policyOf(i)));
  engine.commit();
  return engine;
}

/** What a change and its commit took. */
function spent(engine: PolicyEngine, change: () => void): Effort & { changes: number } {
  const before = engine.effort;
  change();
  const { changes } = engine.commit();
  const after = engine.effort;
  return {
    trials: after.trials - before.trials,
    contributions: after.contributions - before.contributions,
    rules: after.rules - before.rules,
    placements: after.placements - before.placements,
    changes: changes.length,
  };
}

describe("among 10,000 policies spread over 50 namespaces", () => {
  const spread = (i: number): Shape => {
    const slot = (i * 37) % IDENTITIES;
    const [app, peer] = [slot % APPS, (i * 7) % APPS];
    return {
      namespace: `ns-${Math.floor(slot / APPS)}`,
      name: `p-${i}`,
      subject: `app-${app}`,
      peer: `app-${peer}`,
    };
  };
  let engine: PolicyEngine;
  beforeAll(() => {
    engine = populated(spread);
  }, 60_000);
  /** Selects endpoint 1, whose labels are those of identity 0. */
  const here: Shape = { namespace: "ns-0", name: "z-new", subject: "app-0", peer: "app-1" };
  const nowhere: Shape = { namespace: "ns-0", name: "far", subject: "app-7", peer: "app-1" };

  it("only the rules of policies that select an endpoint here were looked up", () => {
    const selecting = POLICIES / (IDENTITIES / ENDPOINTS);
    expect(engine.effort.rules).toBe(selecting);
  });

  it("a policy that comes, changes and goes looks up its rule and places its endpoint", () => {
    const added = spent(engine, () => engine.upsertPolicy(policy(here)));
    expect(added).toMatchObject({ rules: 1, placements: 1, contributions: 1 });
    // Whoever has the app it names, in whatever namespace, is held against its selectors.
    expect(added.trials).toBeLessThanOrEqual(NAMESPACES + ENDPOINTS);
    const changed = spent(engine, () => engine.upsertPolicy(policy({ ...here, port: 9090 })));
    expect(changed).toMatchObject({ rules: 1, placements: 1, contributions: 2, changes: 2 });
    const removed = spent(engine, () => engine.deletePolicy(policy(here).ref));
    expect(removed).toMatchObject({ trials: 0, rules: 0, placements: 1, contributions: 1, changes: 1 });
  });

  it("a policy that selects no endpoint here does nothing but that", () => {
    const { trials, ...rest } = spent(engine, () => engine.upsertPolicy(policy(nowhere)));
    expect(rest).toEqual({ rules: 0, placements: 0, contributions: 0, changes: 0 });
    expect(trials).toBeLessThanOrEqual(ENDPOINTS);
    engine.deletePolicy(policy(nowhere).ref);
    engine.commit();
  });

  it("a policy that is stated again costs nothing", () => {
    const again = spent(engine, () => engine.upsertPolicy(policy(spread(0))));
    expect(again).toEqual({ trials: 0, rules: 0, placements: 0, contributions: 0, changes: 0 });
  });

  it("an identity touches the rows of the rules that name it", () => {
    const named = [...Array(POLICIES).keys()].map(spread).filter(({ namespace, subject, peer }) => {
      return namespace === "ns-0" && peer === "app-20" && (subject === "app-0" || subject === "app-20");
    }).length;
    expect(named).toBeGreaterThan(0);
    const added = spent(engine, () => engine.addIdentity(70_000, labels("app-20", "ns-0")));
    expect(added).toMatchObject({ rules: 0, placements: 0, contributions: named });
    expect(added.trials).toBeLessThanOrEqual(2 * NAMESPACES);
    expect(spent(engine, () => engine.deleteIdentity(70_000)).contributions).toBe(named);
  });

  it("an identity that no rule names touches nothing", () => {
    const { trials, ...rest } = spent(engine, () => {
      engine.addIdentity(70_001, labels("unheard-of", "ns-0"));
    });
    expect(rest).toEqual({ rules: 0, placements: 0, contributions: 0, changes: 0 });
    // Selectors by namespace alone.
    expect(trials).toBeLessThanOrEqual(2);
  });

  it("a pod looks up the rules of its own policies, and one like another looks up none", () => {
    const pod = { id: 500, identity: 1007, labels: labelsOf(7) };
    const first = spent(engine, () => engine.upsertEndpoint(pod));
    expect(first).toMatchObject({ placements: 1, rules: POLICIES / IDENTITIES });
    expect(first.contributions).toBeLessThanOrEqual(2 * (POLICIES / IDENTITIES));
    expect(first.trials).toBeLessThanOrEqual(1000);
    const second = spent(engine, () => engine.upsertEndpoint({ ...pod, id: 501 }));
    expect(second).toMatchObject({ rules: 0, placements: 1, contributions: 0, changes: 1 });
  });
});

describe("among 10,000 policies that all select the same 100 endpoints", () => {
  const crowded = (i: number): Shape => ({
    namespace: "ns-0",
    name: `p-${i}`,
    subject: undefined,
    peer: `app-${i % APPS}`,
    port: 1 + i,
  });
  const more = { ...crowded(0), name: "z-new", port: 20_000 };
  let engine: PolicyEngine;
  beforeAll(() => {
    engine = populated(crowded);
    for (let id = 1; id <= ENDPOINTS; id++) {
      engine.upsertEndpoint({ id, identity: 1000, labels: labelsOf(0) });
    }
    engine.commit();
  }, 60_000);

  it("one more is one rule and one row: what they have already is not gone through", () => {
    const added = spent(engine, () => engine.upsertPolicy(policy(more)));
    expect(added).toMatchObject({ rules: 1, placements: ENDPOINTS, contributions: 1, changes: 1 });
    const removed = spent(engine, () => engine.deletePolicy(policy(more).ref));
    expect(removed).toMatchObject({ rules: 0, placements: ENDPOINTS, contributions: 1, changes: 1 });
  });

  it("all of them are one distinct policy", () => {
    expect([...engine.distincts()].map(({ endpoints }) => endpoints.length)).toEqual([ENDPOINTS]);
  });

  it("an identity in a prefix costs nothing where rules add up, and a prefix one row, whoever is in it", () => {
    const engine = populated((i) => ({
      namespace: `ns-${i % NAMESPACES}`,
      name: `p${i}`,
      subject: undefined,
      peer: "app-1",
    }));
    const prefix = parsePrefix("10.0.0.0/8");
    const block = { from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] };
    const spec = {
      podSelector: { matchLabels: { app: "app-0" } },
      policyTypes: ["Ingress"],
      ingress: [block],
    };
    engine.upsertPolicy(parseNetworkPolicy({ metadata: { namespace: "ns-0", name: "block" }, spec }));
    expect(engine.prepare()).toEqual([prefix]);
    const placed = spent(engine, () => {
      engine.addPrefix(prefix, 0x100_0001);
      for (let i = 0; i < IDENTITIES; i++) engine.addPlacement(1000 + i, 0x100_0001);
    });
    expect(placed.contributions).toBeLessThan(10 + POLICIES / NAMESPACES);
    expect(spent(engine, () => engine.addPlacement(4000, 0x100_0001))).toEqual({ ...noEffort(), changes: 0 });
    const rows = [...engine.allRows()].filter(({ key }) => key.cidr !== 0);
    expect(rows.length).toBe(1);
  });
});

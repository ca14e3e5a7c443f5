import { reservedLabels } from "@axoneme/identity";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  NodeSelectors,
  type Policy,
  parseCiliumPolicy,
  parseTierPolicy,
  type Selector,
} from "../src/index.ts";
import { labelMap, selects } from "../src/selector.ts";

/** Nodes by labels: what rules say, and how far nodes are told apart. */

const REMOTE = { source: "reserved", key: "remote-node", op: "Exists", values: [] };
const HOST = { ...REMOTE, key: "host" };

const fromNodes = (...selectors: object[]): Policy =>
  parseCiliumPolicy({
    kind: "CiliumNetworkPolicy",
    metadata: { namespace: "default", name: "p" },
    spec: { endpointSelector: {}, ingress: [{ fromNodes: selectors }] },
  });

const selectorsOf = ({ specs }: Policy): Selector[] =>
  specs
    .flatMap(({ rules }) => rules.flatMap(({ peers }) => peers))
    .flatMap((peer) => (peer.kind === "labels" ? [peer.selector] : []));

describe("rules that name nodes", () => {
  it("fromNodes are other nodes, toNodes too, with or without labels", () => {
    const policy = fromNodes({}, { matchLabels: { role: "db" } });
    expect(policy.problems).toEqual([]);
    expect(selectorsOf(policy)).toEqual([
      { requirements: [REMOTE] },
      { requirements: [{ source: "any", key: "role", op: "In", values: ["db"] }, REMOTE] },
    ]);
  });

  it("nodes of a tier are this one and the others", () => {
    const policy = parseTierPolicy({
      kind: "ClusterNetworkPolicy",
      metadata: { name: "p" },
      spec: {
        ...{ tier: "Admin", priority: 1, subject: { namespaces: {} } },
        egress: [{ action: "Deny", to: [{ nodes: { matchLabels: { role: "db" } } }] }],
      },
    });
    expect(policy.problems).toEqual([]);
    const role = { source: "node", key: "role", op: "In", values: ["db"] };
    expect(selectorsOf(policy)).toEqual([{ requirements: [role, HOST] }, { requirements: [role, REMOTE] }]);
  });

  it("a selector that is not understood selects no node", () => {
    const policy = fromNodes(
      { matchLabels: { role: 5 } },
      { matchExpressions: [{ key: "a", operator: "Gt" }] },
    );
    expect(selectorsOf(policy)).toEqual([]);
    expect(policy.problems.map(({ path }) => path)).toEqual([
      "spec.ingress[0].fromNodes[0].matchLabels.role",
      "spec.ingress[0].fromNodes[1].matchExpressions[0].operator",
    ]);
  });
});

describe("classes of nodes", () => {
  it("labels that no rule names are of no class", () => {
    const selectors = new NodeSelectors();
    expect(selectors.add(fromNodes({}))).toBe(false);
    expect(selectors.classOf({ role: "db", zone: "a" })).toEqual({});
    expect(selectors.add(fromNodes({ matchLabels: { role: "db" } }))).toBe(true);
    expect(selectors.classOf({ role: "db", zone: "a" })).toEqual({ "node:role": "db" });
    expect(selectors.classOf({ role: "web", zone: "a" })).toEqual({});
  });

  it("a policy that goes takes along what it alone asked", () => {
    const selectors = new NodeSelectors();
    const [one, other] = [
      fromNodes({ matchLabels: { role: "db" } }),
      fromNodes({ matchLabels: { role: "db" } }),
    ];
    selectors.add(one);
    expect(selectors.add(other)).toBe(false);
    expect(selectors.remove(one)).toBe(false);
    expect(selectors.remove(other)).toBe(true);
    expect(selectors.classOf({ role: "db" })).toEqual({});
  });

  it("rules that ask for a key alone do not tell its values apart", () => {
    const selectors = new NodeSelectors();
    selectors.add(fromNodes({ matchExpressions: [{ key: "host", operator: "Exists" }] }));
    expect(selectors.classOf({ host: "a" })).toEqual(selectors.classOf({ host: "b" }));
    expect(selectors.classOf({ host: "a" })).not.toEqual(selectors.classOf({}));
  });

  const key = fc.constantFrom("role", "zone", "host");
  const value = fc.constantFrom("a", "b", "c", "*");
  const expression = fc.oneof(
    fc.record({
      key,
      operator: fc.constantFrom("In", "NotIn"),
      values: fc.array(value, { minLength: 1, maxLength: 3 }),
    }),
    fc.record({ key, operator: fc.constantFrom("Exists", "DoesNotExist") }),
  );
  const policies = fc.array(
    fc.array(expression, { maxLength: 3 }).map((matchExpressions) => fromNodes({ matchExpressions })),
    { maxLength: 5 },
  );
  const nodeLabels = fc.dictionary(key, fc.constantFrom("a", "b", "c", "d", "e"));

  it("a class is selected by the very selectors that select its node, and no rule tells its nodes apart", () => {
    fc.assert(
      fc.property(policies, nodeLabels, nodeLabels, (all, labels, otherLabels) => {
        const selectors = new NodeSelectors();
        for (const policy of all) selectors.add(policy);
        const whole = (own: Record<string, string>) => ({
          ...reservedLabels(6),
          ...Object.fromEntries(Object.entries(own).map(([name, text]) => [`node:${name}`, text])),
        });
        const seen = (own: object) =>
          all.flatMap(selectorsOf).map((selector) => selects(selector, labelMap(own as never)));
        const classed = { ...reservedLabels(6), ...selectors.classOf(labels) };
        expect(seen(classed)).toEqual(seen(whole(labels)));
        const other = selectors.classOf(otherLabels);
        if (JSON.stringify(other) === JSON.stringify(selectors.classOf(labels)))
          expect(seen(whole(otherLabels))).toEqual(seen(whole(labels)));
        for (const policy of all) selectors.remove(policy);
        expect(selectors.classOf(labels)).toEqual({});
      }),
      { numRuns: 500 },
    );
  });
});

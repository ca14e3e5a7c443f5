import { describe, expect, it } from "vitest";
import {
  auditAnnotation,
  parseCiliumPolicy,
  parseNetworkPolicy,
  parseTierPolicy,
  Verdict,
} from "../src/index.ts";
import { pod, type RawPolicy } from "./generate.ts";
import { World } from "./world.ts";

const everybody = { namespaces: {} };
const admin = (spec: object, kind = "AdminNetworkPolicy") =>
  parseTierPolicy({ kind, metadata: { name: "p" }, spec: { priority: 5, subject: everybody, ...spec } });
const problems = (policy: ReturnType<typeof admin>) =>
  policy.problems.map(({ severity, path }) => `${severity} ${path}`);

describe("a part of a tiered rule that is not understood", () => {
  const bad: [string, object, string?][] = [
    ["unsupported spec.egress[0].to[0].somebody", { to: [{ somebody: {} }] }],
    ["invalid spec.egress[0].to[0].domainNames[0]", { to: [{ domainNames: ["a..b"] }] }],
    ["invalid spec.egress[0].to[0].domainNames", { to: [{ domainNames: [] }] }],
    ["invalid spec.egress[0].to[0].nodes.matchLabels", { to: [{ nodes: { matchLabels: [] } }] }],
    ["invalid spec.egress[0].to[0].networks[0]", { to: [{ networks: ["10.0.0.0/33"] }] }],
    ["invalid spec.egress[0].to[0]", { to: [{ namespaces: {}, networks: ["10.0.0.0/8"] }] }],
    ["invalid spec.egress[0].to", { to: [] }],
    ["invalid spec.egress[0].ports", { to: [everybody], ports: "all" }],
    ["invalid spec.egress[0].ports[0]", { to: [everybody], ports: [{}] }],
    ["invalid spec.egress[0].ports[0].portNumber", { to: [everybody], ports: [{ portNumber: { port: 0 } }] }],
    [
      "invalid spec.egress[0].protocols[0].tcp.destinationPort",
      { to: [everybody], protocols: [{ tcp: { destinationPort: { number: 70_000 } } }] },
      "ClusterNetworkPolicy",
    ],
    ["unsupported spec.egress[0].also", { to: [everybody], also: 1 }],
  ];
  it.each(bad)("%s: allows nothing, and makes Deny and Pass deny everything", (problem, rule, kind) => {
    for (const action of ["Allow", "Deny", "Pass"]) {
      const policy = admin({ tier: "Admin", egress: [{ action, ...rule }] }, kind);
      expect(problems(policy)).toContain(problem);
      const [read] = policy.specs[0]?.rules ?? [];
      if (action === "Allow") {
        expect((read?.peers.length ?? 0) * ((read?.l4.length ?? 0) + (read?.named.length ?? 0))).toBe(0);
      } else {
        expect(read).toMatchObject({
          verdict: Verdict.DENY,
          peers: [{ kind: "all" }],
          l4: [{ proto: 0, port: 0, shape: 0 }],
        });
      }
    }
  });

  it("leaves its neighbours in an allowing rule in force", () => {
    const policy = admin({ egress: [{ action: "Allow", to: [{ other: {} }, everybody] }] });
    expect(policy.specs[0]?.rules[0]?.peers.length).toBe(1);
  });

  it.each<[string, object, string?]>([
    ["invalid spec.priority", { priority: 1001 }],
    ["invalid spec.tier", { tier: "Middle" }, "ClusterNetworkPolicy"],
    ["invalid spec.subject", { subject: {} }],
    ["unsupported spec.subject.nodes", { subject: { nodes: {} } }],
  ])("%s: the policy has no spec", (problem, spec, kind) => {
    const policy = admin(spec, kind);
    expect(problems(policy)).toContain(problem);
    expect(policy.specs).toEqual([]);
  });

  it.each(["Permit", "Pass"])("an action %s that a baseline does not know denies", (action) => {
    const policy = admin({ ingress: [{ action, from: [everybody] }] }, "BaselineAdminNetworkPolicy");
    expect(policy.specs[0]?.rules[0]?.verdict).toBe(Verdict.DENY);
    expect(problems(policy)).toEqual(["invalid spec.ingress[0].action"]);
  });
});

describe("policies on trial", () => {
  const metadata = (value?: string) => ({
    name: "p",
    namespace: "red",
    ...(value !== undefined && { annotations: { [auditAnnotation]: value } }),
  });
  const isAudited = (namespace: string) => namespace === "red";

  it("are so by their own annotation, else by their namespace's", () => {
    const spec = { podSelector: {} };
    const on = (value?: string) =>
      parseNetworkPolicy({ metadata: metadata(value), spec }, { isAudited }).specs[0]?.audited ?? false;
    expect([on(), on("true"), on("false")]).toEqual([true, true, false]);
    const clusterwide = { kind: "CiliumClusterwideNetworkPolicy", metadata: { name: "p" } };
    const body = { endpointSelector: {}, ingress: [{}] };
    expect(
      parseCiliumPolicy({ ...clusterwide, spec: body }, { isAudited }).specs[0]?.audited,
    ).toBeUndefined();
  });

  it("are enforced when the annotation says neither, with a warning", () => {
    const policy = parseNetworkPolicy(
      { metadata: metadata("yes"), spec: { podSelector: {} } },
      { isAudited },
    );
    expect([policy.specs[0]?.audited, policy.problems[0]?.severity]).toEqual([undefined, "warning"]);
  });

  it("name the rule that would have denied, and never soften one that does", () => {
    const world = new World();
    const web = pod("web", "red", { app: "web" });
    const db = pod("db", "red", { app: "db" });
    world.setPod(web);
    world.setPod(db);
    const policy = (name: string, spec: object, audit?: string): RawPolicy => ({
      kind: "CiliumNetworkPolicy",
      metadata: { ...metadata(audit), name },
      spec: { endpointSelector: { matchLabels: { app: "web" } }, ...spec },
    });
    world.setPolicy(policy("trial", { ingress: [{ fromEntities: ["host"] }] }, "true"));
    const onTrial = world.decide(web, db, true, 6, 80);
    expect(onTrial.verdict).toBe(Verdict.AUDIT);
    expect(world.engine.rule(onTrial.ruleId)?.policy.name).toBe("trial");
    const enforced = () => world.engine.enforcementOf(world.engine.policyIdOf(1)).ingress;
    expect(enforced()).toBe(false);
    world.setPolicy(policy("real", { ingressDeny: [{ fromEndpoints: [{}] }] }));
    const denied = world.decide(web, db, true, 6, 80);
    expect([denied.verdict, world.engine.rule(denied.ruleId)?.policy.name]).toEqual([Verdict.DENY, "real"]);
    world.deletePolicy(policy("real", {}));
    expect(world.decide(web, db, true, 6, 80).verdict).toBe(Verdict.AUDIT);
    world.setPolicy(policy("trial", { ingress: [{ fromEntities: ["host"] }] }));
    expect(world.decide(web, db, true, 6, 80).verdict).toBe(Verdict.DEFAULT_DENY);
    expect(enforced()).toBe(true);
  });
});

describe("policies of one priority", () => {
  const web = pod("web", "red", { app: "web" });
  const tier = (name: string, egress: object[]): RawPolicy => ({
    kind: "AdminNetworkPolicy",
    metadata: { name },
    spec: { priority: 1, subject: everybody, egress },
  });
  const nodes = [{ nodes: {} }];
  const elsewhere = { action: "Allow", to: [{ networks: ["fd00::/8"] }] };
  const verdictOf = (...policies: RawPolicy[]) => {
    const world = new World();
    world.setPod(web);
    for (const policy of policies) world.setPolicy(policy);
    return world.decide(web, { kind: "host" }, false, 6, 80).verdict;
  };

  it("deny before they allow, wherever the rules stand in them", () => {
    const denying = tier("one", [elsewhere, { action: "Deny", to: nodes }]);
    const allowing = tier("two", [{ action: "Allow", to: nodes }]);
    expect(verdictOf(denying, allowing)).toBe(Verdict.DENY);
  });

  it("allow before they pass; within one the first rule decides", () => {
    const passing = tier("one", [{ action: "Pass", to: nodes }]);
    const allowing = tier("two", [elsewhere, { action: "Allow", to: nodes }, { action: "Deny", to: nodes }]);
    const isolated = {
      kind: "NetworkPolicy",
      metadata: { name: "closed", namespace: "red" },
      spec: { podSelector: {}, policyTypes: ["Egress"] },
    };
    expect(verdictOf(passing, allowing, isolated)).toBe(Verdict.ALLOW);
  });
});

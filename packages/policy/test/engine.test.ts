import { parseIp, parsePrefix } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { Direction, decide, PolicyEngine, PolicyMaps, Verdict } from "../src/index.ts";
import { pod, type RawPolicy } from "./generate.ts";
import { parse, World } from "./world.ts";

const web = pod("web", "red", { app: "web" });
const web2 = pod("web2", "red", { app: "web" });
const db = pod("db", "red", { app: "db" });

const raw = (name: string, spec: object): RawPolicy => ({
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "red" },
  spec,
});
const webFromDb = raw("web-from-db", {
  endpointSelector: { matchLabels: { app: "web" } },
  ingress: [
    {
      fromEndpoints: [{ matchLabels: { app: "db" } }],
      toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }],
    },
  ],
});

function world(...policies: RawPolicy[]): World {
  const made = new World();
  for (const one of [web, web2, db]) made.setPod(one);
  for (const policy of policies) made.setPolicy(policy);
  return made;
}

describe("rule ids", () => {
  it("name the policy, the rule and the direction that decided, default deny included", () => {
    const made = world(webFromDb);
    const allowed = made.decide(web, db, true, 6, 80);
    expect(made.engine.rule(allowed.ruleId)).toMatchObject({
      policy: { kind: "CiliumNetworkPolicy", namespace: "red", name: "web-from-db" },
      path: "spec.ingress[0]",
      direction: Direction.INGRESS,
    });
    const denied = made.decide(web, db, true, 6, 81);
    expect(denied.verdict).toBe(Verdict.DEFAULT_DENY);
    expect(made.engine.rule(denied.ruleId)).toMatchObject({ path: "spec", policy: { name: "web-from-db" } });
    const local = made.decide(web, { kind: "host" }, true, 6, 81);
    expect(made.engine.rule(local.ruleId)?.policy).toEqual({ kind: "Builtin", name: "allow-localhost" });
  });

  it("stay while the policy lives, also through an update, and are explained after it", () => {
    const made = world(webFromDb);
    const id = made.decide(web, db, true, 6, 80).ruleId;
    const updated = structuredClone(webFromDb) as { spec: { ingress: object[] } } & RawPolicy;
    updated.spec.ingress.push({ fromEntities: ["world"] });
    made.setPolicy(updated);
    expect(made.decide(web, db, true, 6, 80).ruleId).toBe(id);
    made.deletePolicy(updated);
    expect(made.engine.rule(id)?.path).toBe("spec.ingress[0]");
    expect(made.engine.rules().map(({ policy }) => policy.kind)).toEqual(["Builtin", "Builtin", "Builtin"]);
  });

  it("survive a restart when they are written down", () => {
    const before = world(webFromDb);
    const id = before.decide(web, db, true, 6, 80).ruleId;
    const engine = new PolicyEngine({ firstPolicyId: 100 });
    engine.restoreRules(JSON.parse(JSON.stringify(before.engine.rules())));
    engine.upsertPolicy(parse(raw("aaa-other", { endpointSelector: {}, ingress: [{}] })));
    engine.upsertPolicy(parse(webFromDb));
    expect(engine.rule(id)).toMatchObject({ path: "spec.ingress[0]", policy: { name: "web-from-db" } });
  });
});

describe("distinct policies", () => {
  it("are shared by endpoints with the same rules, and 0 where nothing selects", () => {
    const made = world(webFromDb);
    const id = (name: string) => made.engine.policyIdOf(made.pods.get(name)?.id ?? 0);
    expect(id("web")).toBeGreaterThan(0);
    expect(id("web2")).toBe(id("web"));
    expect(id("db")).toBe(0);
    expect([...made.engine.distincts()].length).toBe(1);
  });

  it("part when a named port means another number", () => {
    const named = raw("named", {
      endpointSelector: {},
      ingress: [{ fromEntities: ["all"], toPorts: [{ ports: [{ port: "http", protocol: "TCP" }] }] }],
    });
    const made = world(named);
    const id = (name: string) => made.engine.policyIdOf(made.pods.get(name)?.id ?? 0);
    expect(id("web")).toBe(id("web2"));
    expect(id("db")).not.toBe(id("web"));
    expect(made.decide(db, web, true, 6, 8080).verdict).toBe(Verdict.ALLOW);
    expect(made.decide(web, db, true, 6, 8080).verdict).toBe(Verdict.DEFAULT_DENY);
  });

  it("are changed in place when all their endpoints go the same way: a delta, no new id", () => {
    const made = world(webFromDb);
    const id = made.engine.policyIdOf(made.pods.get("web")?.id ?? 0);
    made.engine.upsertPolicy(
      parse(
        raw("more", {
          endpointSelector: { matchLabels: { app: "web" } },
          ingress: [{ fromEntities: ["world"] }],
        }),
      ),
    );
    const { changes } = made.engine.commit();
    expect(made.engine.policyIdOf(made.pods.get("web")?.id ?? 0)).toBe(id);
    expect(changes.filter(({ op }) => op === "setEndpoint")).toEqual([]);
    expect(changes.filter(({ op }) => op === "putRow").length).toBe(3); // identities 2, 9 and 10
  });

  it("write nothing for a policy that is stated again, or an identity no rule selects", () => {
    const made = world(webFromDb);
    made.engine.upsertPolicy(parse(structuredClone(webFromDb)));
    made.engine.addIdentity(4000, { "k8s:app": "cache", "k8s:io.kubernetes.pod.namespace": "blue" });
    expect(made.engine.commit().changes).toEqual([]);
  });

  it("leave nothing behind", () => {
    const made = world(webFromDb);
    for (const name of ["web", "web2", "db"]) made.deletePod(name);
    made.deletePolicy(webFromDb);
    expect([made.maps.rowCount, made.maps.headCount]).toEqual([0, 0]);
  });
});

describe("precedence", () => {
  it("a deny of a whole block beats an allow of one address and port in it", () => {
    const made = world(
      raw("deny", { endpointSelector: {}, egressDeny: [{ toCIDR: ["10.0.0.0/8"] }] }),
      raw("allow", {
        endpointSelector: {},
        egress: [{ toCIDR: ["10.0.0.1/32"], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }] }],
      }),
    );
    const decision = made.decide(web, { kind: "world", ip: "10.0.0.1" }, false, 6, 80);
    expect(decision.verdict).toBe(Verdict.DENY);
    expect(made.engine.rule(decision.ruleId)?.policy.name).toBe("deny");
    expect(
      made.engine
        .matches({
          policyId: made.engine.policyIdOf(1),
          direction: Direction.EGRESS,
          identity: made.carried({ kind: "world", ip: "10.0.0.1" }),
          cidr: made.engine.cidrOf(parseIp("10.0.0.1")),
          proto: 6,
          port: 80,
        })
        .map(({ rule }) => rule.policy.name),
    ).toEqual(["allow", "deny"]);
  });
});

describe("modes", () => {
  const endpoint = { id: 1, identity: 300, labels: { "k8s:app": "x" } };
  const judge = (engine: PolicyEngine, identity: number) =>
    engine.decide({
      policyId: engine.policyIdOf(1),
      direction: Direction.INGRESS,
      identity,
      cidr: 0,
      proto: 6,
      port: 80,
    });

  it("always: default deny without any policy", () => {
    const engine = new PolicyEngine({ enforcement: "always" });
    engine.upsertEndpoint(endpoint);
    engine.commit();
    const decision = judge(engine, 1);
    expect(decision.verdict).toBe(Verdict.DEFAULT_DENY);
    expect(engine.rule(decision.ruleId)?.policy.name).toBe("enforcement-always");
    expect(engine.enforcementOf(engine.policyIdOf(1))).toEqual({ ingress: true, egress: true });
  });

  it("never: everything passes, whatever policies say", () => {
    const engine = new PolicyEngine({ enforcement: "never" });
    engine.upsertPolicy(
      parse({
        kind: "CiliumClusterwideNetworkPolicy",
        metadata: { name: "p" },
        spec: { endpointSelector: {}, ingress: [{}] },
      }),
    );
    engine.upsertEndpoint(endpoint);
    engine.commit();
    expect([engine.policyIdOf(1), judge(engine, 2).verdict]).toEqual([0, Verdict.ALLOW]);
  });

  it("audit: what would be denied is said, not done", () => {
    const engine = new PolicyEngine({ audit: true });
    engine.upsertPolicy(
      parse({
        kind: "CiliumClusterwideNetworkPolicy",
        metadata: { name: "p" },
        spec: { endpointSelector: {}, ingressDeny: [{ fromEntities: ["world"] }] },
      }),
    );
    engine.upsertEndpoint(endpoint);
    engine.commit();
    expect([judge(engine, 2).verdict, judge(engine, 300).verdict]).toEqual([Verdict.AUDIT, Verdict.AUDIT]);
    const flow = {
      source: { identity: 2, cidr: 2 },
      destination: { identity: 300, cidr: 0, endpointId: 1 },
      proto: 6,
      port: 80,
    };
    expect(engine.evaluate(flow).verdict).toBe("audit");
  });

  it("an endpoint with identity init is denied by default until its labels are known", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 5, labels: { "reserved:init": "" } });
    engine.commit();
    expect(judge(engine, 1).verdict).toBe(Verdict.DEFAULT_DENY);
    engine.upsertEndpoint(endpoint);
    engine.commit();
    expect(judge(engine, 1).verdict).toBe(Verdict.ALLOW);
  });

  it("localhost may be made to need a rule", () => {
    const engine = new PolicyEngine({ allowLocalhost: "policy" });
    engine.upsertPolicy(
      parse({
        kind: "CiliumClusterwideNetworkPolicy",
        metadata: { name: "p" },
        spec: { endpointSelector: {}, ingress: [{}] },
      }),
    );
    engine.upsertEndpoint(endpoint);
    engine.commit();
    expect(judge(engine, 1).verdict).toBe(Verdict.DEFAULT_DENY);
  });
});

describe("CIDRs", () => {
  const policy = raw("cidr", {
    endpointSelector: {},
    egress: [{ toCIDRSet: [{ cidr: "0.0.0.0/0", except: ["10.0.0.0/8"] }] }],
  });

  it("are asked for, exceptions included, a /0 not", () => {
    const engine = new PolicyEngine();
    engine.upsertPolicy(parse(policy));
    expect(engine.commit().cidrs).toEqual({ added: [], removed: [] }); // it selects nobody here
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    expect(engine.commit().cidrs).toEqual({ added: [parsePrefix("10.0.0.0/8")], removed: [] });
    expect(engine.neededCidrs()).toEqual([parsePrefix("10.0.0.0/8")]);
    engine.deletePolicy(parse(policy).ref);
    expect(engine.commit().cidrs).toEqual({ added: [], removed: [parsePrefix("10.0.0.0/8")] });
  });

  it("are told before they are needed, and once", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.commit();
    engine.upsertPolicy(parse(policy));
    expect(engine.prepare()).toEqual([parsePrefix("10.0.0.0/8")]);
    expect(engine.prepare()).toEqual([]);
    engine.addPrefix(parsePrefix("10.0.0.0/8"), 900);
    expect(engine.commitRows().changes).toEqual([]); // nothing of the new policy
    expect(engine.commit().cidrs).toEqual({ added: [], removed: [] });
  });

  it("that were told and are not needed after all are given back", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.upsertPolicy(parse(policy));
    expect(engine.prepare().length).toBe(1);
    engine.deletePolicy(parse(policy).ref);
    expect(engine.commit().cidrs).toEqual({ added: [], removed: [parsePrefix("10.0.0.0/8")] });
    expect(engine.neededCidrs()).toEqual([]);
  });

  it.each([
    { cidrMatch: "address", node: Verdict.ALLOW, pod: Verdict.ALLOW },
    { cidrMatch: "nodes", node: Verdict.ALLOW, pod: Verdict.DEFAULT_DENY },
    { cidrMatch: "identity", node: Verdict.DEFAULT_DENY, pod: Verdict.DEFAULT_DENY },
  ] as const)("0.0.0.0/0 is all of IPv4 that is matched by $cidrMatch, and none of IPv6", (mode) => {
    const made = new World(mode);
    made.setPod(web);
    made.setPod(db);
    made.setPolicy(policy);
    const verdict = (peer: Parameters<World["decide"]>[1]) => made.decide(web, peer, false, 6, 80).verdict;
    expect(verdict({ kind: "world", ip: "192.0.2.1" })).toBe(Verdict.ALLOW);
    expect(verdict({ kind: "world", ip: "10.0.0.1" })).toBe(Verdict.DEFAULT_DENY);
    expect(verdict({ kind: "world", ip: "2001:db8::1" })).toBe(Verdict.DEFAULT_DENY);
    expect(verdict({ kind: "remote-node", ip: "172.30.0.12" })).toBe(mode.node);
    expect(verdict({ kind: "remote-node", ip: "fd00:172:30::12" })).toBe(Verdict.DEFAULT_DENY);
    expect(verdict({ ...db, ip: "192.0.2.7" })).toBe(mode.pod);
    expect(verdict({ ...db, ip: "fd44::1" })).toBe(Verdict.DEFAULT_DENY);
  });

  it("one row is enough for all pods in a prefix, however many identities they have", () => {
    const made = world(policy);
    const [, egress] = [0, 1].map(() => [...made.maps.rows()].length);
    for (let i = 0; i < 50; i++) made.engine.addIdentity(5000 + i, { "k8s:app": `app${i}` });
    made.commit();
    expect([...made.maps.rows()].length).toBe(egress);
  });

  it("in a cluster of one family identity 2 is that family's world", () => {
    const engine = new PolicyEngine({ families: { ipv4: true, ipv6: false } });
    engine.upsertPolicy(
      parse({
        kind: "CiliumClusterwideNetworkPolicy",
        metadata: { name: "p" },
        spec: { endpointSelector: {}, egress: [{ toCIDR: ["0.0.0.0/0"] }] },
      }),
    );
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:app": "x" } });
    engine.commit();
    const query = { policyId: engine.policyIdOf(1), direction: Direction.EGRESS, proto: 6, port: 80 };
    expect(engine.decide({ ...query, identity: 2, cidr: 2 }).verdict).toBe(Verdict.ALLOW);
  });
});

describe("a peer that is named by identity and by prefix", () => {
  const raw = {
    kind: "ClusterNetworkPolicy",
    metadata: { name: "tier" },
    spec: {
      tier: "Admin",
      priority: 1,
      subject: { namespaces: {} },
      egress: [
        { action: "Deny", to: [{ networks: ["10.0.0.0/8"] }] },
        {
          action: "Accept",
          to: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: "db" } } } }],
        },
      ],
    },
  };
  const engineOf = () => {
    const engine = new PolicyEngine();
    const labels = {
      "k8s:io.kubernetes.pod.namespace": "red",
      "k8s:io.cilium.k8s.policy.cluster": "default",
      "k8s:app": "db",
    };
    engine.addIdentity(301, labels);
    engine.upsertPolicy(parse(raw));
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { ...labels, "k8s:app": "web" } });
    for (const prefix of engine.prepare()) engine.addPrefix(prefix, 7);
    engine.commit();
    const ask = (identity: number, cidr: number) =>
      engine.decide({
        policyId: engine.policyIdOf(1),
        direction: Direction.EGRESS,
        identity,
        cidr,
        proto: 6,
        port: 80,
      });
    return { engine, ask };
  };
  const rows = (engine: PolicyEngine) =>
    [...engine.allRows()].filter(({ key }) => key.cidr * key.identity !== 0);

  it("has a row of its own in tiers, as long as it is there", () => {
    const { engine, ask } = engineOf();
    expect([ask(301, 9).verdict, ask(9, 7).verdict]).toEqual([Verdict.ALLOW, Verdict.DENY]);
    expect(rows(engine)).toEqual([]);
    engine.addPlacement(301, 7);
    engine.commitRows();
    expect(rows(engine).map(({ key }) => [key.identity, key.cidr])).toEqual([[301, 7]]);
    expect(ask(301, 7).verdict).toBe(Verdict.DENY);
    engine.deletePlacement(301, 7);
    engine.commitRows();
    expect(rows(engine)).toEqual([]);
  });

  it("has a row of its own by the name of a port in the prefix, and follows what is said of the identity", () => {
    const named = { ...raw, metadata: { name: "named" } };
    const ports = { protocols: [{ destinationNamedPort: "http" }] };
    const to = [{ networks: ["10.0.0.0/8"] }];
    const made = new World();
    made.setPod({ ...pod("p1", "red", { app: "web" }), ports: [] });
    made.setPod(pod("p2", "red", { app: "db" }));
    const spec = { tier: "Baseline", priority: 1, subject: { namespaces: {} } };
    made.setPolicy({ ...named, spec: { ...spec, egress: [{ action: "Deny", to, ...ports }] } });
    const p1 = { ...pod("p1", "red", { app: "web" }) };
    const p2 = { ...pod("p2", "red", { app: "db" }), ip: "10.244.0.2" };
    expect(made.decide(p1, p2, false, 6, 8080).verdict).toBe(Verdict.DENY);
    made.setPolicy({
      ...raw,
      spec: { ...spec, tier: "Admin", egress: [{ action: "Accept", to: [{ namespaces: {} }] }] },
    });
    expect(made.decide(p1, p2, false, 6, 8080).verdict).toBe(Verdict.ALLOW);
  });

  it("is denied before it is known, where one of both denies", () => {
    const { ask } = engineOf();
    expect(ask(301, 7).verdict).toBe(Verdict.DENY);
  });
});

describe("named ports of destinations", () => {
  it("are those of each peer; pods of one identity that disagree are all meant", () => {
    const made = world(
      raw("out", {
        endpointSelector: { matchLabels: { app: "web" } },
        egress: [{ toEndpoints: [{}], toPorts: [{ ports: [{ port: "http", protocol: "TCP" }] }] }],
      }),
    );
    const open = (peer: typeof db, port: number) =>
      made.decide(web, peer, false, 6, port).verdict === Verdict.ALLOW;
    expect([open(db, 8080), open(db, 80), open(web2, 80)]).toEqual([true, false, true]);
    made.engine.setPeerPorts("red/db-elsewhere", made.identityOf(db), [
      { name: "http", proto: 6, port: 9090 },
    ]);
    made.commit();
    expect([open(db, 8080), open(db, 9090)]).toEqual([true, true]);
    made.engine.deletePeerPorts("red/db-elsewhere");
    made.commit();
    expect(open(db, 9090)).toBe(false);
  });
});

describe("resync", () => {
  it("fills empty maps with all there is", () => {
    const made = world(webFromDb);
    const maps = new PolicyMaps();
    for (const change of made.engine.resync()) maps.apply(change);
    expect([...maps.rows()].length).toBe(made.maps.rowCount);
    expect(maps.headCount).toBe(made.maps.headCount);
    expect(maps.endpoints).toEqual(made.maps.endpoints);
  });

  it("a policy id without a head denies", () =>
    expect(
      decide(new PolicyMaps(), { policyId: 7, direction: 0, identity: 1, cidr: 0, proto: 6, port: 1 })
        .verdict,
    ).toBe(Verdict.DEFAULT_DENY));
});

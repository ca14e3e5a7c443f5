import { describe, expect, it } from "vitest";
import { PolicyEngine, parseCidrGroup, parseCiliumPolicy } from "../src/index.ts";

const group = (name: string, externalCIDRs: unknown[], labels: Record<string, string> = {}) =>
  parseCidrGroup({ metadata: { name, labels }, spec: { externalCIDRs } });

const policy = (name: string, cidrGroupRef: string) =>
  parseCiliumPolicy({
    kind: "CiliumNetworkPolicy",
    metadata: { name, namespace: "red" },
    spec: { endpointSelector: {}, egress: [{ toCIDRSet: [{ cidrGroupRef }] }] },
  });

describe("CIDR groups", () => {
  it("leave out what is no prefix, and name it", () => {
    const { group: read, problems } = group("g", ["10.0.0.0/8", "x", "10.0.0.0/8", 5]);
    expect(read.prefixes.length).toBe(1);
    expect(problems.map(({ path }) => path)).toEqual(["spec.externalCIDRs[1]", "spec.externalCIDRs[3]"]);
  });

  it("cannot pass for another group by a label", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.upsertPolicy(policy("p", "office"));
    engine.commit();
    const label = { "io.cilium.policy.cidrgroupname/office": "" };
    engine.upsertCidrGroup(group("mine", ["0.0.0.0/0", "192.0.2.0/24"], label).group);
    expect(engine.neededCidrs()).toEqual([]);
  });

  it("cost one row for one prefix more, however large they are", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.upsertPolicy(policy("p", "office"));
    const prefixes = Array.from({ length: 2000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
    const learn = () => {
      const { changes, cidrs } = engine.commit();
      for (const [i, prefix] of cidrs.added.entries()) engine.addPrefix(prefix, base + i);
      base += cidrs.added.length;
      return changes.length + engine.commit().changes.length;
    };
    let base = 0x0100_0001;
    engine.upsertCidrGroup(group("office", prefixes).group);
    expect(learn()).toBeGreaterThan(2000);
    engine.upsertCidrGroup(group("other", ["198.51.100.0/24"]).group);
    expect(learn()).toBe(0);
    engine.upsertCidrGroup(group("office", [...prefixes, "192.0.2.0/24"]).group);
    expect(learn()).toBe(1);
    engine.upsertCidrGroup(group("office", prefixes).group);
    const { changes, cidrs } = engine.commit();
    expect([changes.map(({ op }) => op), cidrs.removed.length]).toEqual([["deleteRow"], 1]);
  });
});

describe("Services", () => {
  it("the API server's own is the entity, whatever identity its addresses carry", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.upsertPolicy(
      parseCiliumPolicy({
        kind: "CiliumNetworkPolicy",
        metadata: { name: "p", namespace: "red" },
        spec: {
          endpointSelector: {},
          egress: [{ toServices: [{ k8sService: { serviceName: "kubernetes", namespace: "default" } }] }],
        },
      }),
    );
    const service = { namespace: "default", name: "kubernetes", labels: {}, cluster: "default" };
    engine.upsertService({ ...service, addresses: [] });
    engine.commit();
    expect([...engine.allRows()].map(({ key }) => key.identity)).toEqual([7]);
  });

  it("and the host, where it runs one: entity rules follow when it begins to and when it ceases", () => {
    const engine = new PolicyEngine();
    engine.upsertEndpoint({ id: 1, identity: 300, labels: { "k8s:io.kubernetes.pod.namespace": "red" } });
    engine.upsertPolicy(
      parseCiliumPolicy({
        kind: "CiliumNetworkPolicy",
        metadata: { name: "p", namespace: "red" },
        spec: { endpointSelector: {}, egress: [{ toEntities: ["kube-apiserver"] }] },
      }),
    );
    const reached = () => [...engine.allRows()].map(({ key }) => key.identity).sort();
    engine.commit();
    expect(reached()).toEqual([7]);
    engine.addIdentity(1, { "reserved:host": "", "reserved:kube-apiserver": "" });
    expect(engine.commit().changes.map(({ op }) => op)).toEqual(["putRow"]);
    expect(reached()).toEqual([1, 7]);
    engine.addIdentity(1, { "reserved:host": "" });
    expect(engine.commit().changes.map(({ op }) => op)).toEqual(["deleteRow"]);
    expect(reached()).toEqual([7]);
  });
});

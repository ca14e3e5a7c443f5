import { waitFor } from "@axoneme/base";
import { builtinResources, type CiliumNode, crdManifests, isNotFound, resources } from "@axoneme/kube";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Cluster } from "./cluster.ts";

// An API server and an operator to each test: on a busy machine their start alone takes seconds.
vi.setConfig({ testTimeout: 20_000 });

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
}, 30_000);
afterEach(() => cluster.close(), 30_000);

const pool = {
  clusterPoolIpv4Cidrs: ["10.0.0.0/22"],
  clusterPoolIpv6Cidrs: ["fd10::/48"],
  clusterPoolIpv6MaskSize: 64,
};

const nodes = () => cluster.client.resource(resources.ciliumnodes);
const events = () => cluster.client.resource(resources.events);

async function makeNode(name: string, spec: CiliumNode["spec"] = {}): Promise<CiliumNode> {
  return nodes().create({ metadata: { name }, spec });
}

async function cidrsOf(name: string): Promise<readonly string[]> {
  return (await nodes().get(name)).spec.ipam?.podCIDRs ?? [];
}

const errorOf = async (name: string): Promise<string> =>
  (await nodes().get(name)).status?.ipam?.["operator-status"]?.error ?? "";

/** Until our definitions are served and the leader works. */
async function ready(operator: { term: { health: { healthy: boolean } } | undefined }): Promise<void> {
  await waitFor(() => operator.term?.health.healthy, { what: "the leader's modules", timeoutMs: 10_000 });
}

describe("cluster pool", () => {
  test("installs the definitions and gives every node CIDRs of both families that nobody else has", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const crds = await cluster.client.resource(resources.customresourcedefinitions).list();
    expect(crds.items.map((crd) => crd.metadata?.name).sort()).toEqual(
      crdManifests.map((crd) => crd.metadata?.name).sort(),
    );
    await Promise.all(["a", "b", "c"].map((name) => makeNode(name)));
    const all = await Promise.all(
      ["a", "b", "c"].map((name) => waitFor(async () => (await cidrsOf(name)).length === 2 && cidrsOf(name))),
    );
    expect(all.flat().sort()).toEqual([
      "10.0.0.0/24",
      "10.0.1.0/24",
      "10.0.2.0/24",
      "fd10:0:0:1::/64",
      "fd10:0:0:2::/64",
      "fd10::/64",
    ]);
  });

  test("keeps what nodes have, completes what they lack, and a successor goes on with it", async () => {
    const first = cluster.operator({ ...pool, clusterPoolIpv6Cidrs: [] });
    await ready(first.operator);
    await makeNode("taken", { ipam: { podCIDRs: ["10.0.0.0/24"] } });
    await makeNode("foreign", { ipam: { podCIDRs: ["192.168.0.0/24"] } });
    await makeNode("fresh");
    await waitFor(async () => (await cidrsOf("fresh"))[0] === "10.0.1.0/24");
    await cluster.stopOperators();
    const second = cluster.operator(pool);
    await ready(second.operator);
    await makeNode("later");
    await waitFor(async () => (await cidrsOf("later")).length === 2);
    expect((await cidrsOf("later"))[0]).toBe("10.0.2.0/24");
    await waitFor(async () => (await cidrsOf("foreign")).length === 2);
    expect((await cidrsOf("foreign"))[0]).toBe("192.168.0.0/24");
    expect((await cidrsOf("fresh"))[0]).toBe("10.0.1.0/24");
    const v6 = (await Promise.all(["taken", "foreign", "fresh", "later"].map(cidrsOf))).map(
      (cidrs) => cidrs[1],
    );
    expect(new Set(v6).size).toBe(4);
  });

  test("a node whose addresses run out gets a further CIDR, and keeps the ones it has", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    await makeNode("a");
    const [first = ""] = await waitFor(async () => (await cidrsOf("a")).length === 2 && cidrsOf("a"));
    const requested = [{ pool: "default", needed: { "ipv4-addrs": 300, "ipv6-addrs": 300 } }];
    await nodes().patch("a", { spec: { ipam: { pools: { requested } } } });
    const all = await waitFor(async () => (await cidrsOf("a")).length === 3 && cidrsOf("a"));
    expect(all).toEqual([first, expect.stringMatching(/\/64$/), "10.0.1.0/24"]);
  });

  test("an empty pool is told in status and by an event, and mended when a node goes", async () => {
    const { operator } = cluster.operator({
      ...pool,
      clusterPoolIpv4Cidrs: ["10.0.0.0/24"],
      clusterPoolIpv6Cidrs: [],
    });
    await ready(operator);
    await makeNode("a");
    await waitFor(async () => (await cidrsOf("a")).length === 1);
    await makeNode("b");
    await waitFor(async () => (await errorOf("b")).includes("no CIDR is left for node b"));
    expect(await cidrsOf("b")).toEqual([]);
    const [event] = await waitFor(async () => {
      const { items } = await events().list({ fieldSelector: "involvedObject.name=b" });
      return items.length > 0 && items;
    });
    expect(event).toMatchObject({
      type: "Warning",
      reason: "PodCIDRAllocationFailed",
      involvedObject: { kind: "CiliumNode" },
    });
    expect(operator.term?.nodeCidrs?.starving).toBe(1);
    expect(operator.term?.health.modules().find((module) => module.name === "node-cidrs")?.state).toBe(
      "degraded",
    );
    await nodes().delete("a");
    await waitFor(async () => (await cidrsOf("b"))[0] === "10.0.0.0/24");
    await waitFor(async () => (await errorOf("b")) === "");
    expect((await events().list({ fieldSelector: "involvedObject.name=b" })).items).toHaveLength(1);
  });

  test("two nodes that claim the same block: the second is told, the first keeps it", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    await makeNode("a");
    await waitFor(async () => (await cidrsOf("a")).length === 2);
    await makeNode("b", { ipam: { podCIDRs: ["10.0.0.0/25"] } });
    await waitFor(async () => (await errorOf("b")).includes("overlaps 10.0.0.0/24 of node a"));
    expect(await errorOf("a")).toBe("");
  });

  test("a burst of nodes gets blocks without overlap", async () => {
    const { operator } = cluster.operator({ ...pool, clusterPoolIpv4Cidrs: ["10.0.0.0/16"] });
    await ready(operator);
    const names = Array.from({ length: 100 }, (_, i) => `n${i}`);
    await Promise.all(names.map((name) => makeNode(name)));
    const all = await waitFor(async () => {
      const { items } = await nodes().list();
      const cidrs = items.map((node) => node.spec.ipam?.podCIDRs?.[0] ?? "");
      return cidrs.every((cidr) => cidr !== "") && cidrs;
    });
    expect(new Set(all).size).toBe(100);
  });
});

test("in Kubernetes mode nothing is handed out", async () => {
  const { operator } = cluster.operator({ ipamMode: "kubernetes" });
  await ready(operator);
  expect(operator.term?.nodeCidrs).toBeUndefined();
  await makeNode("a");
  expect(operator.term?.health.modules().map((module) => module.name)).toEqual([
    "crds",
    "sources",
    "endpoint-slices",
    "fixed-address-gc",
    "node-readiness",
    "policy-validity",
    "hubble-certificates",
    "lb-ipam",
  ]);
});

test("only one leads; the other takes over at once when it stops", async () => {
  const first = cluster.operator(pool);
  await waitFor(() => first.operator.leading);
  const second = cluster.operator(pool);
  await waitFor(() => second.records.some((record) => record.message === "another operator leads"));
  expect(second.operator.leading).toBe(false);
  await ready(first.operator);
  await first.operator.stop();
  expect(first.operator.term).toBeUndefined();
  await ready(second.operator);
  await makeNode("a");
  await waitFor(async () => (await cidrsOf("a")).length === 2);
});

describe("what is left over is removed", () => {
  const gone = async (find: Promise<unknown>): Promise<boolean> =>
    find.then(
      () => false,
      (error: unknown) => isNotFound(error),
    );

  async function makeEndpoint(name: string, podUid: string | undefined, identity: number): Promise<void> {
    const owner = { apiVersion: "v1", kind: "Pod", name, uid: podUid ?? "" };
    await cluster.client.resource(resources.ciliumendpoints).create({
      metadata: { name, namespace: "default", ...(podUid === undefined ? {} : { ownerReferences: [owner] }) },
      status: { id: 1, identity: { id: identity, labels: [] }, state: "ready" },
    });
  }

  async function makePod(name: string): Promise<string> {
    const pod = {
      metadata: { name, namespace: "default" },
      spec: { containers: [{ name: "c", image: "host" }] },
    };
    return (await cluster.client.resource(resources.pods).create(pod)).metadata?.uid ?? "";
  }

  test("CiliumEndpoints whose pod is gone, or another", async () => {
    const { operator } = cluster.operator({ endpointGcIntervalS: 1 });
    await ready(operator);
    await makeEndpoint("living", await makePod("living"), 300);
    await makePod("remade");
    await makeEndpoint("remade", "the-uid-of-a-former-pod", 300);
    const endpoints = cluster.client.resource(resources.ciliumendpoints);
    await endpoints.create({
      metadata: { name: "machine", namespace: "default", labels: { "axoneme.io/external": "true" } },
      status: { identity: { id: 300, labels: [] } },
    });
    await makeEndpoint("orphan", undefined, 300);
    const at = { namespace: "default" };
    await waitFor(() => gone(endpoints.get("orphan", at)));
    await waitFor(() => gone(endpoints.get("remade", at)));
    expect((await endpoints.get("living", at)).metadata?.name).toBe("living");
    expect((await endpoints.get("machine", at)).metadata?.name).toBe("machine");
  });

  test("CiliumNodes without a Node, not before the second look", async () => {
    const { operator } = cluster.operator({ ...pool, nodesGcIntervalS: 1 });
    await ready(operator);
    await cluster.client.resource(resources.nodes).create({ metadata: { name: "living" } });
    await makeNode("living");
    await nodes().create({
      metadata: { name: "machine", labels: { "axoneme.io/external": "true" } },
      spec: { addresses: [] },
    });
    await makeNode("lost");
    await waitFor(() => gone(nodes().get("lost")));
    expect((await nodes().get("living")).metadata?.name).toBe("living");
    expect((await nodes().get("machine")).metadata?.name).toBe("machine");
  });

  test("identities nobody uses, after a mark that whoever takes them up removes", async () => {
    const { operator } = cluster.operator({ identityGcIntervalS: 1, identityHeartbeatTimeoutS: 2 });
    await ready(operator);
    const identities = cluster.client.resource(resources.ciliumidentities);
    for (const name of ["300", "301"]) {
      await identities.create({ metadata: { name }, "security-labels": { "k8s:a": name } });
    }
    await makeEndpoint("user", undefined, 300);
    await waitFor(async () => {
      const { metadata } = await identities.get("301");
      return metadata?.annotations?.["io.cilium.heartbeat"];
    });
    await waitFor(() => gone(identities.get("301")));
    const kept = await identities.get("300");
    expect(kept.metadata?.annotations?.["io.cilium.heartbeat"]).toBeUndefined();
    expect(operator.term?.identityGc.counts.failures).toBe(0);
  }, 15_000);
});

describe("validity of policies", () => {
  const policies = () => cluster.client.resource(resources.ciliumnetworkpolicies);
  const validOf = async (name: string) =>
    (await policies().get(name, { namespace: "default" })).status?.conditions?.find(
      ({ type }) => type === "Valid",
    );

  test("what the schema cannot refuse is told in the condition Valid, with the field; mending clears it", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const metadata = { name: "mixed", namespace: "default" };
    const rule = { toEndpoints: [{}], toCIDR: ["10.0.0.0/8"] };
    await policies().create({ metadata, spec: { endpointSelector: {}, egress: [rule] } });
    await policies().create({
      metadata: { ...metadata, name: "good" },
      spec: { endpointSelector: {}, egress: [{ toEntities: ["world"] }] },
    });
    const invalid = await waitFor(() => validOf("mixed"), { what: "the condition of mixed" });
    expect(invalid).toMatchObject({ status: "False", message: expect.stringContaining("spec.egress[0]: ") });
    expect(await waitFor(() => validOf("good"))).toMatchObject({ status: "True", message: "" });
    await policies().patch("mixed", { spec: { egress: [{ toEndpoints: [{}] }] } }, { namespace: "default" });
    await waitFor(async () => (await validOf("mixed"))?.status === "True", { what: "mixed to become valid" });
  });

  test("it is also an event on the policy, once for each change; a NetworkPolicy has no other word", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const namespace = "default";
    const network = cluster.client.resource(builtinResources.networkpolicies);
    const events = async (name: string) => {
      const { items } = await cluster.client.resource(builtinResources.events).list({ namespace });
      return items
        .filter(({ involvedObject }) => involvedObject.name === name)
        .map(({ involvedObject: { kind }, type, reason, message, count }) => ({
          kind,
          type,
          reason,
          message,
          count,
        }));
    };
    const ipBlock = { cidr: "10.0.0.0/8", except: ["192.0.2.0/24"] };
    const spec = { podSelector: {}, policyTypes: ["Ingress"], ingress: [{ from: [{ ipBlock }] }] };
    await network.create({ metadata: { name: "outside", namespace }, spec });
    const rule = { toEndpoints: [{}], toCIDR: ["10.0.0.0/8"] };
    await policies().create({
      metadata: { name: "both", namespace },
      spec: { endpointSelector: {}, egress: [rule] },
    });
    const first = {
      kind: "NetworkPolicy",
      type: "Warning",
      reason: "InvalidPolicy",
      message: expect.stringContaining("spec.ingress[0].from[0].ipBlock.except[0] is not inside of cidr"),
      count: 1,
    };
    await waitFor(async () => (await events("outside")).length > 0, { what: "the event of outside" });
    expect(await events("outside")).toEqual([first]);
    await waitFor(async () => (await events("both")).length > 0, { what: "the event of both" });
    expect(await events("both")).toMatchObject([
      { kind: "CiliumNetworkPolicy", reason: "InvalidPolicy", count: 1 },
    ]);

    // Something else changes, and the operator starts anew: nothing is said again.
    await network.patch("outside", { metadata: { labels: { seen: "yes" } } }, { namespace });
    await cluster.stopOperators();
    const { operator: next } = cluster.operator(pool);
    await ready(next);
    await network.create({ metadata: { name: "later", namespace }, spec });
    await waitFor(async () => (await events("later")).length > 0, { what: "the event of later" });
    expect(await events("outside")).toEqual([first]);
    // Other words for another mistake.
    const worse = [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "192.0.2.0/24"] } }] }];
    await network.patch("outside", { spec: { ingress: worse } }, { namespace });
    await waitFor(async () => (await events("outside")).length === 2, {
      what: "the event of the other mistake",
    });
  }, 30_000);

  test("a CIDR group names the prefixes that are none", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const groups = cluster.client.resource(resources.ciliumcidrgroups);
    const spec = { externalCIDRs: ["192.0.2.0/24", "1:2:3::4:5::6/64"] };
    await groups.create({ metadata: { name: "office" }, spec });
    const valid = async () => (await groups.get("office")).status?.conditions?.[0];
    expect(await waitFor(valid)).toMatchObject({
      type: "Valid",
      status: "False",
      message: expect.stringContaining("spec.externalCIDRs[1]: "),
    });
    await groups.patch("office", { spec: { externalCIDRs: ["192.0.2.0/24"] } });
    await waitFor(async () => (await valid())?.status === "True", { what: "the group to become valid" });
  });

  test("an L2 announcement policy names what makes no sense, and says nothing once it does", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const l2 = cluster.client.resource(resources.ciliuml2announcementpolicies);
    const conditions = async () => (await l2.get("p")).status?.conditions ?? [];
    await l2.create({ metadata: { name: "p" }, spec: { loadBalancerIPs: true, interfaces: ["eth("] } });
    const [bad] = await waitFor(async () => (await conditions()).length > 0 && conditions());
    expect(bad).toMatchObject({
      type: "io.cilium/bad-interface-regex",
      status: "True",
      message: expect.stringContaining('interfaces: "eth(" is no regular expression'),
    });
    await l2.patch("p", { spec: { interfaces: ["eth"] } });
    await waitFor(async () => (await conditions()).length === 0, { what: "the condition to go" });
  });

  test("a deny list counts its prefixes, and names those that are none", async () => {
    const { operator } = cluster.operator(pool);
    await ready(operator);
    const lists = cluster.client.resource(resources.edgedenylists);
    // The schema's pattern is coarse for IPv6.
    const cidrs = ["192.0.2.0/24", "192.0.2.77/24", "2001:db8::/32", "1:2:3::4:5::6/64"];
    await lists.create({ metadata: { name: "bots" }, spec: { cidrs } });
    const status = await waitFor(async () => (await lists.get("bots")).status);
    expect(status.prefixes).toBe(2);
    expect(status.conditions?.[0]).toMatchObject({
      status: "False",
      reason: "InvalidPrefix",
      message: expect.stringContaining('spec.cidrs[3]: "1:2:3::4:5::6/64" is not a prefix'),
    });
    await lists.patch("bots", { spec: { cidrs: cidrs.slice(0, 3) } });
    await waitFor(async () => (await lists.get("bots")).status?.conditions?.[0]?.status === "True");
  });
});

import { waitFor } from "@axoneme/base";
import { type CiliumLoadBalancerIPPool, resources, type Service } from "@axoneme/kube";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { makeMetrics } from "../src/metrics.ts";
import type { Operator } from "../src/operator.ts";
import { Cluster } from "./cluster.ts";

// An API server and an operator to each test: on a busy machine their start alone takes seconds.
vi.setConfig({ testTimeout: 20_000 });

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
}, 30_000);
afterEach(() => cluster.close(), 30_000);

const at = { namespace: "default" };
const pools = () => cluster.client.resource(resources.ciliumloadbalancerippools);
const services = () => cluster.client.resource(resources.services);

async function started(options: Parameters<Cluster["operator"]>[0] = {}): Promise<Operator> {
  const { operator } = cluster.operator(options);
  await waitFor(() => operator.term?.health.healthy, { what: "the leader's modules", timeoutMs: 10_000 });
  return operator;
}

function makePool(name: string, cidr: string, spec: object = {}): Promise<CiliumLoadBalancerIPPool> {
  return pools().create({ metadata: { name }, spec: { blocks: [{ cidr }], ...spec } });
}

function makeService(name: string, spec: object = {}, metadata: object = {}): Promise<Service> {
  const ports = [{ port: 80 }];
  return services().create({
    metadata: { name, ...at, ...metadata },
    spec: { type: "LoadBalancer", ports, ...spec },
  });
}

const addressesOf = async (name: string): Promise<string[]> =>
  ((await services().get(name, at)).status?.loadBalancer?.ingress ?? []).map(({ ip = "" }) => ip);
const conditionOf = async (name: string) =>
  (await services().get(name, at)).status?.conditions?.find(
    ({ type }) => type === "cilium.io/IPAMRequestSatisfied",
  );
const poolSays = async (name: string, type: string) =>
  (await pools().get(name)).status?.conditions?.find((condition) => condition.type === `cilium.io/${type}`);

const has = (name: string, ...wanted: string[]) =>
  waitFor(async () => JSON.stringify(await addressesOf(name)) === JSON.stringify(wanted), {
    what: `${name} to have ${wanted.join(", ") || "no address"}`,
  });

describe("addresses of load balancers", () => {
  test("a Service gets one, says so, and the pool counts it; all is undone when it stops to be one", async () => {
    const operator = await started();
    await makePool("blue", "10.0.10.0/30");
    await makeService("web");
    await has("web", "10.0.10.0");
    expect(await conditionOf("web")).toMatchObject({ status: "True", reason: "satisfied" });
    await waitFor(async () => (await poolSays("blue", "IPsUsed"))?.message === "1", {
      what: "the pool's numbers",
    });
    expect((await poolSays("blue", "IPsAvailable"))?.message).toBe("3");
    expect((await poolSays("blue", "IPsTotal"))?.message).toBe("4");
    expect((await poolSays("blue", "PoolConflict"))?.status).toBe("False");
    const text = await makeMetrics(operator).metrics();
    expect(text).toContain('cilium_operator_lbipam_ips_used{pool="blue"} 1');
    expect(text).toContain("cilium_operator_lbipam_services_matching 1");
    await services().patch("web", { spec: { type: "ClusterIP" } }, at);
    await has("web");
    await waitFor(async () => (await conditionOf("web")) === undefined, { what: "the condition to go" });
    await waitFor(async () => (await poolSays("blue", "IPsUsed"))?.message === "0");
  });

  test("without a pool nothing is touched; other classes never are", async () => {
    await started();
    await makeService("metal");
    await makeService("foreign", { loadBalancerClass: "example.com/lb" });
    for (const name of ["metal", "foreign"]) {
      const patch = { status: { loadBalancer: { ingress: [{ ip: "192.0.2.7", ipMode: "Proxy" }] } } };
      await services().patch(name, patch, { ...at, subresource: "status" });
    }
    await makePool("v6", "2001:db8::/64", { serviceSelector: { matchLabels: { a: "b" } } });
    await makeService("ours", {}, { labels: { a: "b" } });
    await waitFor(() => conditionOf("ours"), { what: "our Service to be seen" });
    expect(await addressesOf("foreign")).toEqual(["192.0.2.7"]);
    expect(await conditionOf("foreign")).toBeUndefined();
    // The first pool puts Services without a class in our charge; before, this one was another's.
    await has("metal");
    expect(await conditionOf("metal")).toMatchObject({ status: "False", reason: "no_pool" });
  });

  test("what cannot be given is told in the condition and by an event, and given when it can be", async () => {
    await started();
    await makePool("tiny", "10.0.10.1/32");
    await makeService("first");
    await has("first", "10.0.10.1");
    await makeService("second");
    const condition = await waitFor(() => conditionOf("second"));
    expect(condition).toMatchObject({
      status: "False",
      reason: "out_of_ips",
      message: "all IPv4 addresses of pool tiny are in use",
    });
    const [event] = await waitFor(async () => {
      const { items } = await cluster.client
        .resource(resources.events)
        .list({ fieldSelector: "involvedObject.name=second" });
      return items.length > 0 && items;
    });
    expect(event).toMatchObject({
      type: "Warning",
      reason: "IPAMRequestNotSatisfied",
      message: condition.message,
    });
    await services().delete("first", at);
    await has("second", "10.0.10.1");
    expect(await conditionOf("second")).toMatchObject({ status: "True" });
  });

  test("a restarted operator moves no address, and removes those that no pool has any more", async () => {
    await started();
    await makePool("a", "10.0.10.0/24");
    await makeService("one");
    await has("one", "10.0.10.0");
    await makeService("two");
    await has("two", "10.0.10.1");
    await services().delete("one", at);
    await cluster.stopOperators();
    await makeService("three");
    await pools().patch("a", { spec: { blocks: [{ start: "10.0.10.1", stop: "10.0.10.9" }] } });
    await started();
    await has("three", "10.0.10.2");
    expect(await addressesOf("two")).toEqual(["10.0.10.1"]);
    await cluster.stopOperators();
    await pools().delete("a");
    await started();
    await has("two");
    expect(await conditionOf("two")).toMatchObject({ status: "False", reason: "no_pool" });
  });

  test("a status that somebody else changes is mended; what else an entry says is kept", async () => {
    await started();
    await makePool("a", "10.0.10.0/24");
    await makeService("web");
    await has("web", "10.0.10.0");
    const set = (ingress: object[]) =>
      services().patch("web", { status: { loadBalancer: { ingress } } }, { ...at, subresource: "status" });
    await set([{ ip: "192.0.2.9" }]);
    await has("web", "10.0.10.0");
    await set([{ ip: "10.0.10.0", ipMode: "Proxy" }]);
    await makeService("later");
    await has("later", "10.0.10.1");
    expect((await services().get("web", at)).status?.loadBalancer?.ingress).toEqual([
      { ip: "10.0.10.0", ipMode: "Proxy" },
    ]);
  });

  test("pools that overlap: the younger one says so", async () => {
    await started();
    await makePool("a", "10.0.10.0/24");
    await waitFor(() => poolSays("a", "PoolConflict"));
    await makePool("b", "10.0.10.128/25");
    const conflict = await waitFor(async () => {
      const condition = await poolSays("b", "PoolConflict");
      return condition?.status === "True" && condition;
    });
    expect(conflict).toMatchObject({
      reason: "cidr_overlap",
      message: expect.stringContaining("10.0.10.128"),
    });
    await pools().delete("a");
    await waitFor(async () => (await poolSays("b", "PoolConflict"))?.status === "False");
  });

  test("two hundred Services at once get as many addresses", async () => {
    await started();
    await makePool("a", "10.0.10.0/24");
    const names = Array.from({ length: 200 }, (_, i) => `s${i}`);
    await Promise.all(names.map((name) => makeService(name)));
    const all = await waitFor(
      async () => {
        const { items } = await services().list(at);
        const given = items.flatMap(({ status }) => status?.loadBalancer?.ingress?.map(({ ip }) => ip) ?? []);
        return given.length === 200 && given;
      },
      { timeoutMs: 20_000 },
    );
    expect(new Set(all).size).toBe(200);
    await waitFor(async () => (await poolSays("a", "IPsUsed"))?.message === "200");
  }, 30_000);
});

test("where Services without a class are somebody else's, only the classes that are ours get addresses", async () => {
  await started({ defaultLbServiceIpam: "none" });
  await makePool("a", "10.0.10.0/24");
  await makeService("plain");
  await makeService("ours", { loadBalancerClass: "io.cilium/bgp-control-plane" });
  await has("ours", "10.0.10.0");
  expect(await conditionOf("plain")).toBeUndefined();
});

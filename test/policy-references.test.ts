/** Rules that name objects, policies on trial and tiers, with real packets: live changes of what is named. */
import { waitFor } from "@axoneme/base";
import { builtinResources, type KubeObject, tierPolicyResources } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { labName, type Place, port, TestLab, type TestPod } from "./support/lab.ts";

const [, admin] = tierPolicyResources;

describe("policies that name objects, on trial, and of tiers", () => {
  const name = labName("it-policy-refs");
  let lab: TestLab | undefined;
  let server: TestPod;
  let near: TestPod;
  let far: TestPod;
  const applied: KubeObject[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode: "native" });
    [server, near, far] = (await lab.pods(
      { name: "server", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    for (const place of [lab.world, lab.node("node1"), lab.node("node2")]) await lab.serve(place);
    for (const from of [near, far]) await lab.reached(from, ["tcp", server.v4, port]);
  });

  afterEach(async () => {
    await the().remove(...applied.splice(0));
    await the().reached(server, ask(the().world));
  });

  afterAll(() => TestLab.down(lab, name));

  async function apply(...objects: object[]): Promise<void> {
    applied.push(...(objects as KubeObject[]));
    await the().apply(...(objects as KubeObject[]));
  }

  const ask = (to: Place, family: "v4" | "v6" = "v4") => ["tcp", to[family], port];
  const egress = (policy: string, rule: object, metadata: object = {}) => ({
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name: policy, namespace: "default", ...metadata },
    spec: { endpointSelector: { matchLabels: { app: "server" } }, egress: [rule] },
  });

  it("a CIDR group's change is the policy's", async () => {
    const group = (...externalCIDRs: string[]) => ({
      apiVersion: "cilium.io/v2",
      kind: "CiliumCIDRGroup",
      metadata: { name: "outside" },
      spec: { externalCIDRs },
    });
    await apply(egress("to-group", { toCIDRSet: [{ cidrGroupRef: "outside", except: ["192.0.2.128/25"] }] }));
    await the().cutOff(server, ask(the().world));
    await apply(group("192.0.2.0/24"));
    await the().reached(server, ask(the().world));
    await the().cutOff(server, ask(the().world, "v6"));
    await apply(group("2001:db8::/32"));
    await the().reached(server, ask(the().world, "v6"));
    await the().cutOff(server, ask(the().world));
  });

  it("a Service is its pods, or the addresses of its EndpointSlices", async () => {
    const service = (serviceName: string, selector?: object) => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: serviceName, namespace: "default" },
      spec: { ports: [{ port: Number(port) }], ...(selector && { selector }) },
    });
    const named = (serviceName: string) => ({ k8sService: { serviceName } });
    await apply(service("far", { app: "far" }), service("outside"));
    await apply(egress("to-services", { toServices: [named("far"), named("outside")] }));
    await the().cutOff(server, ask(near));
    await the().reached(server, ask(far));
    await the().cutOff(server, ask(the().world));
    await apply({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        name: "outside-1",
        namespace: "default",
        labels: { "kubernetes.io/service-name": "outside" },
      },
      addressType: "IPv4",
      ports: [{ port: Number(port) }],
      endpoints: [{ addresses: [the().world.v4] }],
    });
    await the().reached(server, ask(the().world));
  });

  it("on trial a policy reports and drops nothing, until the annotation goes", async () => {
    const trial = (value: string) => ({ annotations: { "policy.axoneme.io/audit": value } });
    const far = { toEndpoints: [{ matchLabels: { app: "far" } }] };
    await apply(egress("trial", far, trial("true")));
    const reported = async () => {
      await the().reached(server, ask(near));
      const flows = await the()
        .agent("node1")
        .flows([{ destination_pod: ["default/near"] }]);
      return flows.some((flow) => flow.verdict === "AUDIT");
    };
    await waitFor(reported, { timeoutMs: 10_000, what: "a flow with the verdict AUDIT" });
    await apply(egress("trial", far, trial("false")));
    await the().cutOff(server, ask(near));
  });

  it("an AdminNetworkPolicy decides before the others, Pass leaves it to them", async () => {
    const { group, version, plural, kind } = admin;
    const openAPIV3Schema = {
      type: "object",
      properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
    };
    await the().apply({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.${group}` },
      spec: {
        group,
        scope: "Cluster",
        names: { kind, plural },
        versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }],
      },
    } as KubeObject);
    const app = (label: string) => ({
      pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: label } } },
    });
    const policies = the().client.resource(admin);
    const write = (action: string) => {
      const spec = { priority: 1, subject: app("server"), egress: [{ action, to: [app("near")] }] };
      const object = { apiVersion: `${group}/${version}`, kind, metadata: { name: "near" }, spec };
      return policies.apply(object, { fieldManager: "test", force: true });
    };
    await waitFor(() => write("Deny").then(Boolean, () => false), {
      timeoutMs: 10_000,
      what: "the definition",
    });
    // Agents ask every half minute whether such a definition is there.
    const denied = async () => (await the().probe(server, [...ask(near), "--timeout", "400"])).code !== 0;
    await waitFor(denied, { timeoutMs: 45_000, everyMs: 500, what: "the denial" });
    await the().cutOff(server, ask(near));
    await the().reached(server, ask(far));
    await apply(egress("nobody", {}));
    await the().cutOff(server, ask(far));
    await write("Allow");
    await the().reached(server, ask(near));
    await write("Pass");
    await the().cutOff(server, ask(near));
    const label = (role: string | null) =>
      the()
        .client.resource(builtinResources.nodes)
        .patch("node1", { metadata: { labels: { role } } });
    const rule = (action: string, role: string) => ({ action, to: [{ nodes: { matchLabels: { role } } }] });
    const about = {
      priority: 1,
      subject: app("server"),
      egress: [rule("Deny", "db"), rule("Allow", "front")],
    };
    const object = { apiVersion: `${group}/${version}`, kind, metadata: { name: "near" }, spec: about };
    await policies.apply(object, { fieldManager: "test", force: true });
    await label("front");
    await the().reached(server, ask(the().node("node1")));
    await the().cutOff(server, ask(the().node("node2")));
    await label("db");
    await the().cutOff(server, ask(the().node("node1")));
    await label(null);
    await policies.delete("near");
    expect(await policies.find("near")).toBeUndefined();
  });
});

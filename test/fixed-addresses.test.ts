import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, port, probe, TestLab, type TestPod } from "./support/lab.ts";

const pool = { cidrs: ["10.9.0.0/24", "fd09::/120"] };
const template = (node: string) => ({
  metadata: { labels: { app: "db" }, annotations: { "ipam.axoneme.io/fixed": "true" } },
  spec: {
    nodeSelector: { "kubernetes.io/hostname": node },
    terminationGracePeriodSeconds: 0,
    containers: [{ name: "main", image: "host", command: [probe, "serve", port, "--name", "db"] }],
  },
});
const statefulSet = (node: string): KubeObject =>
  ({
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: "db", namespace: "default" },
    spec: {
      replicas: 1,
      serviceName: "db",
      selector: { matchLabels: { app: "db" } },
      template: template(node),
    },
  }) as KubeObject;

describe.each(["native", "tunnel"] as const)("fixed addresses, %s routing", (routingMode) => {
  const name = labName(`it-fixed-${routingMode}`);
  let lab: TestLab;
  let up: TestLab | undefined;
  beforeAll(async () => {
    up = await TestLab.up(name, { nodes: 2, routingMode });
    lab = up;
    const fixedPool = {
      apiVersion: "axoneme.io/v1alpha1",
      kind: "FixedAddressPool",
      metadata: { name: "db" },
      spec: pool,
    };
    await lab.apply(fixedPool);
  }, 120_000);
  afterAll(() => TestLab.down(up, name));

  /** The StatefulSet's pod once it runs on a node. */
  async function podOn(node: string): Promise<{ v4: string; v6: string; uid: string }> {
    await lab.apply(statefulSet(node));
    const pods = lab.client.resource(resources.pods);
    let state = "";
    const pod = await waitFor(
      async () => {
        const found = await pods.find("db-0", { namespace: "default" });
        state = JSON.stringify(found?.status ?? {});
        const isReady = found?.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True");
        return (
          isReady &&
          found?.spec?.nodeName === node &&
          found.metadata?.deletionTimestamp === undefined &&
          found
        );
      },
      { timeoutMs: 30_000, everyMs: 50, what: `db-0 on ${node}` },
    ).catch((cause: unknown) => {
      throw new Error(`db-0 does not run on ${node}: ${state}`, { cause });
    });
    const [v4 = "", v6 = ""] = (pod.status?.podIPs ?? []).map(({ ip }) => ip ?? "");
    return { v4, v6, uid: pod.metadata?.uid ?? "" };
  }

  async function everybodyReaches(
    clients: readonly TestPod[],
    vips: readonly string[],
    pod: { v4: string; v6: string },
  ) {
    for (const from of [...clients, lab.node("node1"), lab.node("node2")]) {
      for (const ip of [...vips, pod.v4, pod.v6])
        expect(await lab.reached(from, ["tcp", ip, port])).toContain("db");
    }
  }

  it("a StatefulSet's pod moves to another node and is reached at its addresses, and through its Service", async () => {
    const spec = {
      selector: { app: "db" },
      ipFamilyPolicy: "RequireDualStack",
      ports: [{ port: Number(port) }],
    };
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "db", namespace: "default" },
      spec,
    };
    await lab.apply(service);
    const { clusterIPs = [] } =
      (await lab.client.resource(resources.services).get("db", { namespace: "default" })).spec ?? {};
    const [clients, before] = await Promise.all([
      lab.pods({ name: "c1", node: "node1" }, { name: "c2", node: "node2" }),
      podOn("node1"),
    ]);
    expect(before.v4).toMatch(/^10\.9\.0\./);
    expect(before.v6).toMatch(/^fd09::/);
    await everybodyReaches(clients, clusterIPs, before);

    const after = await podOn("node2");
    expect(after).toEqual({ ...before, uid: after.uid });
    expect(after.uid).not.toBe(before.uid);
    await everybodyReaches(clients, clusterIPs, after);

    const binding = await lab.client.resource(resources.fixedaddresses).get("db-0", { namespace: "default" });
    expect(binding.spec.holder).toEqual({ node: "node2", podUid: after.uid });
    expect(binding.spec.owner).toMatchObject({ kind: "StatefulSet", name: "db" });
    expect(await lab.axon(["ipam", "fixed", "-o", "json"])).toEqual([
      expect.objectContaining({ node: "node2", pod: "db-0", addresses: [after.v4, after.v6] }),
    ]);
    const { items } = await lab.client.resource(resources.addressclaims).list();
    expect(items.map(({ spec: claim }) => claim.address).sort()).toEqual([before.v4, before.v6].sort());
  });
});

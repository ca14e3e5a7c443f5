import { existsSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { afterAll, describe, expect, it } from "vitest";
import { labName, pathsOf, port, TestLab } from "./support/lab.ts";

const name = "it-ipam";
const root = join(import.meta.dirname, "..");

/** Plays the part of the cloud's controller: writes Node.spec.podCIDRs once the node has registered. */
async function giveCidrs(cidrs: readonly string[]): Promise<void> {
  const { kubeconfig } = pathsOf(name);
  await waitFor(() => existsSync(kubeconfig), { timeoutMs: 30_000, what: "the lab's kubeconfig" });
  const client = new KubeClient(loadKubeconfig({ path: kubeconfig }));
  const nodes = client.resource(resources.nodes);
  const patch = { spec: { podCIDR: cidrs[0], podCIDRs: cidrs } };
  const given = await waitFor(() => nodes.patch("node1", patch, { type: "merge" }), {
    timeoutMs: 30_000,
    everyMs: 100,
    what: "the node to register",
  });
  expect(given.spec?.podCIDRs).toEqual(cidrs);
  await client.close();
}

describe("IPAM mode kubernetes", () => {
  let lab: TestLab | undefined;
  afterAll(() => TestLab.down(lab, name));

  it("gives pods addresses of Node.spec.podCIDRs, and the operator hands out none", async () => {
    const operatorCommand = [
      process.execPath,
      join(root, "dist/operator.mjs"),
      "--kubeconfig",
      "{{kubeconfig}}",
      "--set",
      "ipamMode=kubernetes",
    ];
    const options = { nodes: 1, agentConfig: { ipamMode: "kubernetes" }, operatorCommand };
    const [up] = await Promise.all([TestLab.up(name, options), giveCidrs(["10.77.3.0/24", "fd77:3::/64"])]);
    lab = up;
    const [pod] = await lab.pods({ name: "one", node: "node1" });
    expect(pod?.v4).toMatch(/^10\.77\.3\./);
    expect(pod?.v6).toMatch(/^fd77:3::/);
  });
});

describe("IPAM mode multi-pool", () => {
  const poolLab = labName("it-pools");
  let lab: TestLab | undefined;
  afterAll(() => TestLab.down(lab, poolLab));

  /** Pools come once the operator has installed their definition. */
  async function definePools(): Promise<void> {
    const { kubeconfig } = pathsOf(poolLab);
    await waitFor(() => existsSync(kubeconfig), { timeoutMs: 30_000, what: "the lab's kubeconfig" });
    const client = new KubeClient(loadKubeconfig({ path: kubeconfig }));
    const define = (name_: string, v4: string, v6: string) => ({
      metadata: { name: name_ },
      spec: { ipv4: { cidrs: [v4], maskSize: 28 }, ipv6: { cidrs: [v6], maskSize: 124 } },
    });
    for (const pool of [
      define("default", "10.66.0.0/24", "fd66::/112"),
      define("green", "10.67.0.0/24", "fd67::/112"),
    ]) {
      await waitFor(() => client.resource(resources.ciliumpodippools).create(pool), {
        timeoutMs: 30_000,
        everyMs: 100,
        what: "the definition of pools",
      });
    }
    await client.close();
  }

  it("pods get addresses of the pools they ask for, and nodes further blocks when theirs are full", async () => {
    const operatorCommand = [
      process.execPath,
      join(root, "dist/operator.mjs"),
      "--config={{config}}",
      "--kubeconfig={{kubeconfig}}",
      "--ipam=multi-pool",
    ];
    const options = {
      nodes: 2,
      agentConfig: { ipamMode: "multi-pool", ipamPreAllocate: 2 },
      operatorCommand,
    };
    const [up] = await Promise.all([TestLab.up(poolLab, options), definePools()]);
    lab = up;
    await up.namespace("greens");
    const greens = { apiVersion: "v1", kind: "Namespace", metadata: { name: "greens" } };
    await up.apply({
      ...greens,
      metadata: { ...greens.metadata, annotations: { "ipam.cilium.io/ip-pool": "green" } },
    });
    const many = Array.from({ length: 16 }, (_, at) => ({ name: `p${at}`, node: "node1" }));
    const [green, client, ...pods] = await up.pods(
      { name: "green", node: "node1", namespace: "greens" },
      { name: "client", node: "node2" },
      ...many,
    );
    expect([green?.v4, green?.v6].join()).toMatch(/^10\.67\.0\.\d+,fd67::/);
    const blocks = new Set(
      pods.map(({ v4 }) => v4.split(".").map(Number)).map(([, , , last = 0]) => last >> 4),
    );
    expect(blocks.size, "one block has 14 addresses").toBeGreaterThan(1);
    expect(new Set(pods.map(({ v4 }) => v4)).size).toBe(pods.length);
    if (!client) throw new Error("no client");
    for (const pod of [green, ...pods.slice(-2)])
      for (const ip of [pod?.v4 ?? "", pod?.v6 ?? ""]) await up.reached(client, ["tcp", ip, port]);
    const node = await up.client.resource(resources.ciliumnodes).get("node1");
    const allocated = node.spec.ipam?.pools?.allocated ?? [];
    expect(allocated.map(({ pool }) => pool)).toEqual(["default", "green"]);
    expect(allocated.find(({ pool }) => pool === "default")?.cidrs?.length).toBeGreaterThanOrEqual(3);
  });
});

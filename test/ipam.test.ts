import { existsSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { afterAll, describe, expect, it } from "vitest";
import { pathsOf, TestLab } from "./support/lab.ts";

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

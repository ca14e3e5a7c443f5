/** The socket layer knows the pods of its node, whatever the agent goes through. */
import { join } from "node:path";
import { parseIp, waitFor } from "@axoneme/base";
import { openMaps } from "@axoneme/datapath";
import type { KubeObject } from "@axoneme/kube";
import { netnsCookie } from "@axoneme/netlink";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, type Place, port, TestLab, type TestPod, world } from "./support/lab.ts";
import { namespaceRows } from "./support/runtime.ts";

const name = labName("it-sock");
const node = "node1";

describe("the socket layer and the agent", () => {
  let lab: TestLab | undefined;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const row = ({ netns, v4, v6 }: TestPod) => ({ cookie: netnsCookie(netns), ips: `${v4} ${v6}` });
  const sorted = (pods: TestPod[]) => pods.map(row).sort((a, b) => a.ips.localeCompare(b.ips));

  beforeAll(async () => {
    lab = await TestLab.up(name, { nodes: 1 });
  });
  afterAll(() => TestLab.down(lab, name));

  it("rows of namespaces are there from ADD to DEL", async () => {
    const pods = await the().pods({ name: "a", node }, { name: "b", node });
    expect(namespaceRows(the(), node)).toEqual(sorted(pods));
    await the().deletePod("a");
    await waitFor(async () => namespaceRows(the(), node).length === 1, { what: "the row of a to go" });
    expect(namespaceRows(the(), node)).toEqual(sorted(pods.filter((pod) => pod.name === "b")));
  });

  it("rows of namespaces outlive the agent; one whose pod went while no agent ran goes with the next one's start", async () => {
    const [c, d] = (await the().pods({ name: "c", node }, { name: "d", node })) as [TestPod, TestPod];
    const before = namespaceRows(the(), node);
    expect(before).toHaveLength(3);
    const pid = the().agentPid(node);
    if (pid === undefined) throw new Error("no agent runs");
    process.kill(pid, "SIGSTOP");
    const { maps, close } = openMaps(join(the().paths.bpffs(node), "maps"));
    maps.netns.put(1n << 40n, { ip4: parseIp(world.v4), ip6: parseIp(world.v6) });
    close();
    expect(namespaceRows(the(), node)).toHaveLength(4);
    process.kill(pid, "SIGKILL");
    await waitFor(() => (the().agentPid(node) ?? pid) !== pid, { timeoutMs: 30_000, what: "another agent" });
    const pruned = async () => {
      const rows = namespaceRows(the(), node);
      expect(rows).toEqual(expect.arrayContaining(before));
      return rows.length === before.length;
    };
    await waitFor(pruned, { timeoutMs: 30_000, everyMs: 5, what: "the row without a pod to go" });
    await the().deletePod("c");
    await waitFor(async () => namespaceRows(the(), node).length === 2, { what: "the row of c to go" });
    expect(namespaceRows(the(), node)).toContainEqual(row(d));
    expect(namespaceRows(the(), node).map(({ ips }) => ips)).not.toContain(`${c.v4} ${c.v6}`);
  });

  it("connections to a backend that a Service loses are closed; who dialled the pod itself stays", async () => {
    const [client, e, f] = (await the().pods(
      { name: "client", node },
      { name: "e", node },
      { name: "f", node },
    )) as [TestPod, TestPod, TestPod];
    const clusterIP = "10.96.77.7";
    const slice = (...pods: TestPod[]): KubeObject =>
      ({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: "by-hand-1",
          namespace: "default",
          labels: { "kubernetes.io/service-name": "by-hand" },
        },
        addressType: "IPv4",
        ports: [{ port: Number(port), protocol: "TCP" }],
        endpoints: pods.map(({ v4 }) => ({ addresses: [v4], conditions: { ready: true } })),
      }) as KubeObject;
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "by-hand", namespace: "default" },
      spec: {
        clusterIP,
        clusterIPs: [clusterIP],
        ports: [{ port: 80, targetPort: Number(port), protocol: "TCP" }],
      },
    } as KubeObject;
    await the().apply(service, slice(e));
    expect(await the().reached(client, ["tcp", clusterIP, "80"])).toContain("e sees");
    const hold = (from: Place, to: string, at: string) =>
      the().start(from, ["hold", to, at, "--for", "60000", "--every", "2000"], { timeoutMs: 60_000 });
    const lost = [hold(client, clusterIP, "80"), hold(the().node(node), clusterIP, "80")];
    const direct = hold(client, e.v4, port);
    for (const one of [...lost, direct])
      await waitFor(() => one.stdout.includes("connected"), { what: "a held connection" });
    await the().apply(slice(f));
    for (const one of lost) {
      const { code, stderr } = await one.ended;
      expect([code, stderr]).toEqual([2, expect.stringMatching(/abort/i)]);
    }
    expect(direct.process.exitCode).toBeNull();
    direct.kill();
    expect(await the().reached(client, ["tcp", clusterIP, "80"])).toContain("f sees");
  });
});

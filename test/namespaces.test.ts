/** The socket layer knows the pods of its node, whatever the agent goes through. */
import { join } from "node:path";
import { parseIp, waitFor } from "@axoneme/base";
import { openMaps } from "@axoneme/datapath";
import { netnsCookie } from "@axoneme/netlink";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, TestLab, type TestPod, world } from "./support/lab.ts";
import { namespaceRows } from "./support/runtime.ts";

const name = labName("it-netns");
const node = "node1";

describe("rows of pods' namespaces", () => {
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

  it("are there from ADD to DEL", async () => {
    const pods = await the().pods({ name: "a", node }, { name: "b", node });
    expect(namespaceRows(the(), node)).toEqual(sorted(pods));
    await the().deletePod("a");
    await waitFor(async () => namespaceRows(the(), node).length === 1, { what: "the row of a to go" });
    expect(namespaceRows(the(), node)).toEqual(sorted(pods.filter((pod) => pod.name === "b")));
  });

  it("outlive the agent; one whose pod went while no agent ran goes with the next one's start", async () => {
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
});

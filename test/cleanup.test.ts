/** A lab with agents at work leaves nothing, whether it is taken down in order or after a crash. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { isClean, labDown, leftovers } from "@axoneme/lab";
import { afterEach, describe, expect, it } from "vitest";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const name = labName("it-clean");
const nothing = { namespaces: [], mounts: [], links: [], cgroups: [], pins: [], processes: [], files: [] };

describe.each(["native", "tunnel"] as const)("cleaning up a lab with agents, %s routing", (routingMode) => {
  let lab: TestLab | undefined;

  afterEach(() => TestLab.down(lab, name));

  /** A lab whose agents have pods, policies' rows, connections and pins. */
  async function busy(): Promise<TestLab> {
    lab = await TestLab.up(name, { routingMode });
    const [a, b] = (await lab.pods({ name: "a", node: "node1" }, { name: "b", node: "node2" })) as [
      TestPod,
      TestPod,
    ];
    await lab.reached(a, ["tcp", b.v4, port]);
    const there = await leftovers(name);
    for (const [kind, list] of Object.entries(there)) {
      if (kind !== "links") expect(list, kind).not.toHaveLength(0);
    }
    expect(there.pins).toHaveLength(2);
    return lab;
  }

  it("lab down leaves nothing", async () => {
    await busy();
    expect(await labDown({ name })).toBe(true);
    expect(await leftovers(name)).toEqual(nothing);
  });

  it("lab down after the supervisor was killed leaves nothing", async () => {
    const { paths } = await busy();
    process.kill(Number(readFileSync(paths.supervisorPid, "utf8")), "SIGKILL");
    expect(await labDown({ name })).toBe(true);
    expect(await leftovers(name)).toEqual(nothing);
  });

  it("lab down after everything was killed at once leaves nothing", async () => {
    const { paths } = await busy();
    const groups = [
      "control",
      "operator",
      "relay",
      "node1/agent",
      "node2/agent",
      "node1/kubelet",
      "node2/kubelet",
    ];
    const pids = groups.flatMap((group) => pidsOf(join(paths.cgroup, group)));
    expect(pids.length).toBeGreaterThanOrEqual(7);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await waitFor(() => pidsOf(join(paths.cgroup, "control")).length === 0, {
      what: "the supervisor to die",
    });
    expect(isClean(await leftovers(name))).toBe(false);
    expect(await labDown({ name })).toBe(true);
    expect(await leftovers(name)).toEqual(nothing);
  });
});

function pidsOf(cgroup: string): number[] {
  const lines = readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n");
  return lines.filter((line) => line !== "").map(Number);
}

import { rmSync, writeFileSync } from "node:fs";
import { delay, waitFor } from "@axoneme/base";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { isClean, labDown, labPaths, labStatus, labUp, leftovers } from "../../src/index.ts";
import { cgroupPids } from "../../src/lab/cgroup.ts";
import { hostRoots } from "../../src/lab/config.ts";
import { Kubectl, plainLab, supervisorOfSources } from "../support/lab.ts";

const name = `t-crash-${process.pid}`;
const nothing = { namespaces: [], mounts: [], links: [], cgroups: [], pins: [], processes: [], files: [] };

describe("lab down after a crash", () => {
  const paths = labPaths(name, hostRoots());
  const control = `${paths.cgroup}/control`;
  let supervisor: readonly string[];

  beforeAll(async () => {
    supervisor = await supervisorOfSources();
  });

  afterEach(async () => {
    await labDown({ name });
  });

  it.each([0, 150, 300, 450, 600, 900])(
    "leaves nothing when the supervisor was killed %d ms into its start",
    async (ms) => {
      const up = labUp(plainLab(name, supervisor)).then(
        () => "up",
        (error: { code?: string }) => error.code,
      );
      await waitFor(() => cgroupPids(control).length > 0, { everyMs: 1, what: "the supervisor to start" });
      await delay(ms);
      for (const pid of cgroupPids(control)) process.kill(pid, "SIGKILL");
      expect(["up", "lab.failed"]).toContain(await up);
      expect(await labDown({ name })).toBe(true);
      expect(await leftovers(name)).toEqual(nothing);
    },
  );

  it("leaves nothing although pods run and the state directory is damaged", async () => {
    const lab = await labUp(plainLab(name, supervisor));
    const kubectl = new Kubectl(lab.kubeconfig);
    // A process that does not heed SIGTERM, and children of its own.
    const command = ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000 & wait"];
    const template = {
      metadata: { labels: { app: "x" } },
      spec: { containers: [{ name: "c", image: "host", command }] },
    };
    const spec = { replicas: 4, selector: { matchLabels: { app: "x" } }, template };
    await kubectl.apply({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "x" }, spec });
    await kubectl.run("rollout", "status", "deployment/x", "--timeout=30s");
    for (const pid of cgroupPids(control)) process.kill(pid, "SIGKILL");
    writeFileSync(paths.config, "{ damaged");
    rmSync(paths.apiserver, { recursive: true });
    expect((await labStatus({ name })).state).toBe("crashed");
    expect((await leftovers(name)).processes.length).toBeGreaterThanOrEqual(8);
    expect(await labDown({ name })).toBe(true);
    expect(await leftovers(name)).toEqual(nothing);
  });

  it("lets the next up begin on clear ground", async () => {
    await labUp(plainLab(name, supervisor));
    for (const pid of cgroupPids(control)) process.kill(pid, "SIGKILL");
    writeFileSync(paths.config, "{ damaged");
    await labUp({ ...plainLab(name, supervisor), nodes: 1 });
    expect((await labStatus({ name })).nodes.map((node) => node.name)).toEqual(["node1"]);
  });

  it("says which node is not ready and why when up takes too long", async () => {
    const broken = { ...plainLab(name, supervisor), timeoutMs: 6_000 };
    const cni = { ...plainLab(name, supervisor).cni, path: ["/nowhere"] } as NonNullable<typeof broken.cni>;
    await expect(labUp({ ...broken, cni })).rejects.toThrow(
      /not ready after 6 s: nodes not ready: node1: .*the CNI plugin ptp is not in \/nowhere/,
    );
  });

  it("finds nothing to do where there is nothing", async () => {
    expect(isClean(await leftovers(name))).toBe(true);
    expect(await labDown({ name })).toBe(false);
  });
});

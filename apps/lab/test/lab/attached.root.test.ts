/** A lab on an API server that is not its own. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { waitFor } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { launch } from "@axoneme/netlink";
import pino from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ApiServer } from "../../src/apiserver/index.ts";
import { labDown, labPaths, labUp } from "../../src/index.ts";
import { hostRoots } from "../../src/lab/config.ts";
import { plainLab, supervisorOfSources } from "../support/lab.ts";

const run = promisify(execFile);
const name = `t-attached-${process.pid}`;

describe("a lab on an API server that runs elsewhere", () => {
  const dir = mkdtempSync(join(tmpdir(), "ax-attached-"));
  const kubeconfig = join(dir, "kubeconfig");
  let server: ApiServer;
  let client: KubeClient;

  beforeAll(async () => {
    server = await ApiServer.start({
      stateDir: dir,
      listen: [{ host: "127.0.0.1", port: 0 }],
      serviceCidrs: ["10.96.0.0/16"],
      logger: pino({ level: "silent" }),
    });
    writeFileSync(kubeconfig, await server.kubeconfig());
    client = new KubeClient(loadKubeconfig({ path: kubeconfig }));
  });

  afterAll(async () => {
    await labDown({ name });
    await client.close();
    await server.stop();
    rmSync(dir, { recursive: true });
  });

  it("has its nodes there, reaches it from the nodes, and runs no pods of a foreign node", async () => {
    const supervisor = await supervisorOfSources();
    const foreignNodes = ["node1"];
    await labUp({ ...plainLab(name, supervisor), nodes: 1, foreignNodes, kubeconfig });
    const { items } = await client.resource(resources.nodes).list();
    expect(items.map(({ metadata }) => metadata?.name)).toEqual(["node1"]);
    const paths = labPaths(name, hostRoots());
    const command = ["kubectl", "--kubeconfig", paths.nodeKubeconfig, "get", "nodes", "-o", "name"];
    const { file, args } = launch({ netns: paths.netns("node1") }, command);
    expect((await run(file, args)).stdout).toBe("node/node1\n");
    const pods = client.resource(resources.pods);
    const pod = { metadata: { name: "p", namespace: "default" } };
    const spec = { nodeName: "node1", containers: [{ name: "c", image: "host", command: ["true"] }] };
    await pods.create({ apiVersion: "v1", kind: "Pod", ...pod, spec });
    // What a runner does first is to say that a pod is pending.
    await expect(
      waitFor(async () => (await pods.get("p", { namespace: "default" })).status?.startTime, {
        timeoutMs: 700,
        what: "a runner",
      }),
    ).rejects.toThrow("a runner");
  });
});

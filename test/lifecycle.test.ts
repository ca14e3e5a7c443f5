/** What traffic and policy notice when an agent or the API server dies: nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { labUp } from "@axoneme/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Running } from "./support/command.ts";
import { labName, type Place, port, TestLab, type TestPod } from "./support/lab.ts";

const serverOnlyFromClient = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "servers-only-from-client", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { role: "server" } },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
  },
} as KubeObject;

describe.each(["native", "tunnel"] as const)("lifecycle, %s routing", (routingMode) => {
  const name = labName(`it-life-${routingMode}`);
  let lab: TestLab | undefined;
  let pods: { client: TestPod; intruder: TestPod; near: TestPod; far: TestPod };
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode });
    const [client, intruder, near, far] = (await lab.pods(
      { name: "client", node: "node1" },
      { name: "intruder", node: "node1" },
      { name: "near", node: "node1", labels: { app: "near", role: "server" } },
      { name: "far", node: "node2", labels: { app: "far", role: "server" } },
    )) as [TestPod, TestPod, TestPod, TestPod];
    pods = { client, intruder, near, far };
    await lab.apply(serverOnlyFromClient);
    for (const server of [near, far]) {
      await lab.cutOff(intruder, ["tcp", server.v4, port]);
      await lab.reached(client, ["tcp", server.v4, port]);
    }
  });

  afterEach(() => {
    for (const running of held.splice(0)) running.kill();
  });

  afterAll(() => TestLab.down(lab, name));

  /** Connections that ask every few milliseconds and end with an error at the first answer that is missing. */
  async function hold(...paths: [Place, string][]): Promise<Running[]> {
    const started = paths.map(([from, to]) =>
      the().start(from, ["hold", to, port, "--for", "90000", "--every", "5", "--timeout", "3000"], {
        timeoutMs: 120_000,
      }),
    );
    held.push(...started);
    for (const one of started)
      await waitFor(() => one.stdout.includes("connected"), { what: "a held connection" });
    return started;
  }

  async function release(connections: readonly Running[]): Promise<void> {
    for (const one of connections) {
      expect(one.process.exitCode, one.stderr).toBeNull();
      one.process.kill("SIGTERM");
      const { code, stdout, stderr } = await one.ended;
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(Number(/(\d+) answers/.exec(stdout)?.[1])).toBeGreaterThan(20);
    }
  }

  /** Tries without a pause whether the intruder gets through, until told to stop; counts its tries. */
  function intrude(): { stop(): Promise<number> } {
    const stopped = new AbortController();
    const tries = (async () => {
      let count = 0;
      for (; !stopped.signal.aborted; count++) {
        for (const [protocol, to] of [
          ["tcp", pods.near.v4],
          ["udp", pods.near.v6],
          ["tcp", pods.far.v6],
          ["udp", pods.far.v4],
        ] as const) {
          const outcome = await the().probe(pods.intruder, [protocol, to, port, "--timeout", "60"]);
          expect(outcome).toMatchObject({ code: 1, stdout: "" });
        }
      }
      return count;
    })();
    tries.catch(() => undefined);
    return {
      stop: () => {
        stopped.abort();
        return tries;
      },
    };
  }

  async function restarted(node: string, former: number): Promise<void> {
    await waitFor(() => (the().agentPid(node) ?? former) !== former, {
      timeoutMs: 30_000,
      what: `another agent on ${node}`,
    });
    await waitFor(() => the().agent(node).isReady(), { timeoutMs: 30_000, what: `the agent of ${node}` });
  }

  function kill(node: string): number {
    const pid = the().agentPid(node);
    if (pid === undefined) throw new Error(`no agent runs on ${node}`);
    process.kill(pid, "SIGKILL");
    return pid;
  }

  it.each(["node1", "node2"])(
    "the agent of %s is killed: no answer is missing, nobody gets in",
    async (node) => {
      const connections = await hold(
        [pods.client, pods.near.v4],
        [pods.client, pods.near.v6],
        [pods.client, pods.far.v4],
        [pods.client, pods.far.v6],
        [the().node("node1"), pods.near.v4],
      );
      const intruder = intrude();
      await restarted(node, kill(node));
      const [fresh] = (await the().pods({ name: `after-${node}`, node, labels: { role: "server" } })) as [
        TestPod,
      ];
      await the().reached(pods.client, ["tcp", fresh.v4, port]);
      await the().reached(pods.client, ["tcp", fresh.v6, port]);
      await the().cutOff(pods.intruder, ["tcp", fresh.v4, port]);
      expect(await intruder.stop()).toBeGreaterThan(1);
      await release(connections);
    },
  );

  it("an idle connection outlives the agent's restart and goes on", async () => {
    const idle = the().start(pods.client, ["hold", pods.far.v4, port, "--for", "90000", "--every", "2500"]);
    held.push(idle);
    await waitFor(() => idle.stdout.includes("connected"), { what: "a held connection" });
    const [first, second] = [kill("node1"), kill("node2")];
    await restarted("node1", first);
    await restarted("node2", second);
    expect(idle.process.exitCode, idle.stderr).toBeNull();
    idle.process.kill("SIGTERM");
    expect(await idle.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("a policy that arrives while the agent is away is in force once it is back", async () => {
    const former = kill("node1");
    await the().apply({
      ...serverOnlyFromClient,
      spec: { podSelector: { matchLabels: { role: "server" } }, policyTypes: ["Ingress"] },
    } as KubeObject);
    await restarted("node1", former);
    await the().cutOff(pods.client, ["tcp", pods.near.v4, port]);
    await the().apply(serverOnlyFromClient);
    await the().reached(pods.client, ["tcp", pods.near.v4, port]);
  });

  it("the API server goes and comes, an agent dies meanwhile: traffic does not notice", async () => {
    const connections = await hold([pods.client, pods.near.v4], [pods.client, pods.far.v6]);
    const intruder = intrude();
    const supervisor = Number(readFileSync(the().paths.supervisorPid, "utf8"));
    process.kill(supervisor, "SIGTERM");
    await waitFor(() => readControl(the()).length === 0, {
      timeoutMs: 20_000,
      what: "the supervisor to end",
    });
    const former = kill("node1");
    for (const to of [pods.near.v4, pods.far.v6]) await the().reached(pods.client, ["tcp", to, port]);
    await labUp({ name, routingMode, timeoutMs: 60_000 });
    await restarted("node1", former);
    expect(await intruder.stop()).toBeGreaterThan(1);
    await release(connections);
    const added = await the().pods(
      { name: "later-near", node: "node1" },
      { name: "later-far", node: "node2" },
    );
    for (const pod of added) await the().reached(pods.client, ["tcp", pod.v4, port]);
  }, 120_000);
});

function readControl(lab: TestLab): string[] {
  const text = readFileSync(join(lab.paths.cgroup, "control/cgroup.procs"), "utf8");
  return text.split("\n").filter((line) => line !== "");
}

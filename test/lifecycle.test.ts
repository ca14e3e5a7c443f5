/**
 * What traffic and policy notice when an agent is killed, restarted, upgraded or downgraded, or the API server dies:
 * nothing. In long, with trends: `make soak`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { labUp } from "@axoneme/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Running } from "./support/command.ts";
import { labName, type Place, port, TestLab, type TestPod } from "./support/lab.ts";
import {
  Asking,
  Crowd,
  crowdSize,
  type Dialing,
  datagrams,
  dialing,
  soakMs,
  usageOf,
  Versions,
} from "./support/life.ts";
import { Runtime } from "./support/runtime.ts";
import {
  endpointsListed,
  type ServiceFacts,
  serviceFacts,
  serviceObject,
  settled,
} from "./support/services.ts";

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

/**
 * Connections that may fail where two nodes turn to programs with other maps: one whose first packet comes in the last
 * milliseconds before a turn is unknown to the next programs until its row has followed (decision 33).
 */
const turnFailures = 2;

describe.each(["native", "tunnel"] as const)("lifecycle, %s routing", (routingMode) => {
  const name = labName(`it-life-${routingMode}`);
  let lab: TestLab | undefined;
  let pods: Record<"client" | "intruder" | "near" | "far" | "perPacket", TestPod>;
  let service: ServiceFacts;
  const versions = new Versions();
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    await Versions.build();
    lab = await TestLab.up(name, { routingMode, agentCommand: versions.agentCommand });
    const [client, intruder, near, far, perPacket] = (await lab.pods(
      { name: "client", node: "node1" },
      { name: "intruder", node: "node1" },
      { name: "near", node: "node1", labels: { app: "near", role: "server" } },
      { name: "far", node: "node2", labels: { app: "far", role: "server" } },
      // Of its own: the sockets of another pod would not know which ports its packets already use towards a backend.
      { name: "per-packet", node: "node1" },
      { name: "open-near", node: "node1", labels: { role: "open" } },
      { name: "open-far", node: "node2", labels: { role: "open" } },
    )) as [TestPod, TestPod, TestPod, TestPod, TestPod];
    pods = { client, intruder, near, far, perPacket };
    await lab.apply(
      serverOnlyFromClient,
      serviceObject({ name: "open", selector: { role: "open" }, spec: { type: "NodePort" } }),
    );
    await endpointsListed(lab, "open", 2);
    await settled(lab, client);
    service = await serviceFacts(lab, "open");
    for (const server of [near, far]) {
      await lab.cutOff(intruder, ["tcp", server.v4, port]);
      await lab.reached(client, ["tcp", server.v4, port]);
    }
  });

  afterEach(() => {
    for (const running of held.splice(0)) running.kill();
  });

  afterAll(async () => {
    await TestLab.down(lab, name);
    versions.remove();
  });

  /** Connections that ask every few milliseconds and end with an error at the first answer that is missing. */
  async function hold(...paths: [Place, string, string?][]): Promise<Running[]> {
    const forMs = 90_000 + soakMs;
    const started = paths.map(([from, to, at = port]) =>
      the().start(from, ["hold", to, at, "--for", String(forMs), "--every", "5", "--timeout", "3000"], {
        timeoutMs: forMs + 30_000,
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

  function kill(node: string, signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): number {
    const pid = the().agentPid(node);
    if (pid === undefined) throw new Error(`no agent runs on ${node}`);
    process.kill(pid, signal);
    return pid;
  }

  /** Both agents end and come back as that version. */
  async function become(which: "this" | "next"): Promise<void> {
    versions.use(which);
    const nodes = ["node1", "node2"] as const;
    const former = nodes.map((node) => kill(node, "SIGTERM"));
    for (const [i, node] of nodes.entries()) await restarted(node, former[i] ?? 0);
    for (const node of nodes) {
      const { modules } = await the().agent(node).json<{ modules: Record<string, unknown> }>("/v1/status");
      expect(JSON.stringify(modules)).toContain("maps of another version converted");
    }
  }

  /** Everything that can happen to an agent; printed after each step: what it uses, and how fast names are answered. */
  async function story(asking: Asking, dials: readonly Dialing[]): Promise<void> {
    const steps: readonly [string, () => Promise<void>, failures: number][] = [
      ["killed", () => restarted("node1", kill("node1")), 0],
      ["restarted", () => restarted("node2", kill("node2", "SIGTERM")), 0],
      ["upgraded", () => become("next"), turnFailures],
      ["downgraded", () => become("this"), turnFailures],
    ];
    const start = performance.now();
    do {
      for (const [what, step, failures] of steps) {
        const before = dials.map(({ failed }) => failed.length);
        await step();
        for (const [i, { failed }] of dials.entries())
          expect(failed.slice(before[i]).length, `${what}: ${failed.join(", ")}`).toBeLessThanOrEqual(
            failures,
          );
        if (soakMs === 0) continue;
        await delay(5000);
        const minute = ((performance.now() - start) / 60_000).toFixed(1);
        const usage = ["node1", "node2"].map((node) => usageOf(the(), node));
        console.log(
          JSON.stringify({ routingMode, minute, what, names: asking.count, ms: asking.latency(), usage }),
        );
      }
    } while (performance.now() - start < soakMs);
  }

  it(
    "killed, restarted, upgraded, downgraded: no connection ends, no query is lost, nobody gets in",
    async () => {
      const { client, near, far } = pods;
      const nodePort = service.nodePort.tcp;
      const node1 = the().node("node1");
      const crowd = await Crowd.start(the(), [
        [client, service.v4, 80],
        [{ ...pods.perPacket, cgroup: undefined }, service.v6, 80],
        [the().world, node1.v4, nodePort],
        [the().world, node1.v6, nodePort],
      ]);
      const asking = await Asking.start(client, far);
      const streams = [near.v4, far.v4, far.v6].map((to) => datagrams(the(), client, to));
      const dials = [dialing(the(), the().world, node1.v4, nodePort), dialing(the(), client, service.v6, 80)];
      const connections = await hold(
        [client, near.v4],
        [client, far.v6],
        [the().world, node1.v4, String(nodePort)],
      );
      const intruder = intrude();
      try {
        await story(asking, dials);
        expect(await intruder.stop()).toBeGreaterThan(1);
        const { count } = asking;
        expect(await asking.stop(), `of ${count} queries`).toEqual([]);
        for (const stream of streams) expect(await stream.stop()).toBe("0 missing, 0 refused");
        for (const dial of dials) expect((await dial.stop()).count).toBeGreaterThan(10);
        await release(connections);
        const { alive, troubles } = await crowd.stop();
        expect({ alive, troubles }).toEqual({ alive: crowdSize, troubles: [] });
      } finally {
        crowd.kill();
      }
    },
    120_000 + soakMs,
  );

  it.each(["node2"])("the agent of %s is killed: no answer is missing, nobody gets in", async (node) => {
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
  });

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

  /** The runtime of node1 makes pods while nobody can ask the API: one the agent knows, and one it has never heard of. */
  async function addedWithoutApi(): Promise<void> {
    const runtime = new Runtime(the(), "node1");
    const { namespace, name: known, uid } = pods.client;
    const again = await runtime.sandbox({ namespace, name: known, uid });
    const stranger = await runtime.sandbox({ namespace, name: "stranger", uid: "never-heard-of" });
    const places = await Promise.all(
      [again, stranger].map(async (sandbox) => runtime.place(sandbox, await runtime.add(sandbox))),
    );
    const [client, unknown] = places as [Place, Place];
    await the().reached(client, ["tcp", pods.near.v4, port], "a server with the labels of its Pod");
    await the().serve(unknown);
    for (const [from, to] of [
      [unknown, pods.client],
      [pods.client, unknown],
      [the().world, unknown],
    ] as const)
      await the().cutOff(from, ["tcp", to.v4, port]);
    for (const sandbox of [again, stranger]) await runtime.del(sandbox);
  }

  it("the API server goes and comes, an agent dies meanwhile: traffic does not notice", async () => {
    const connections = await hold([pods.client, pods.near.v4], [pods.client, pods.far.v6]);
    const intruder = intrude();
    const supervisor = Number(readFileSync(the().paths.supervisorPid, "utf8"));
    process.kill(supervisor, "SIGTERM");
    await waitFor(() => readControl(the()).length === 0, {
      timeoutMs: 20_000,
      what: "the supervisor to end",
    });
    await addedWithoutApi();
    const former = kill("node1");
    for (const to of [pods.near.v4, pods.far.v6]) await the().reached(pods.client, ["tcp", to, port]);
    await labUp({ name, routingMode, agentCommand: versions.agentCommand, timeoutMs: 60_000 });
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

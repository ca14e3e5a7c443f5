/**
 * Identities are classes of the labels that policies select: they split and merge while connections run, agents hang or
 * die, and no packet that the old and the new policies allow is lost, none that both forbid passes.
 */
import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import type { IpcacheEntryView } from "@axoneme/observe";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Running } from "./support/command.ts";
import { labName, type Place, port, TestLab, type TestPod } from "./support/lab.ts";

function ingressOf(name: string, ...from: Readonly<Record<string, string>>[]): KubeObject {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: {
      podSelector: { matchLabels: { role: "server" } },
      policyTypes: ["Ingress"],
      ingress: from.map((matchLabels) => ({ from: [{ podSelector: { matchLabels } }] })),
    },
  } as KubeObject;
}

const fromClients = ingressOf("from-clients", { app: "client" });
const fromGold = ingressOf("from-gold", { tier: "gold" });
const notFromSilver = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "not-from-silver", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { role: "server" } },
    ingressDeny: [{ fromEndpoints: [{ matchLabels: { tier: "silver" } }] }],
  },
} as KubeObject;

describe.each(["native", "tunnel"] as const)("classes, %s routing", (routingMode) => {
  const name = labName(`it-classes-${routingMode}`);
  let lab: TestLab | undefined;
  let server: TestPod;
  let gold: TestPod[];
  let silver: TestPod[];
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    // Through a tunnel agents learn of each other's pods from slices, otherwise from the endpoints themselves.
    const enableCiliumEndpointSlice = routingMode === "tunnel";
    const agentConfig = { identityMergeDelay: 1, enableCiliumEndpointSlice };
    lab = await TestLab.up(name, { routingMode, agentConfig });
    const client = (tier: string, node: string) => ({
      name: `${tier}-${node}`,
      node,
      labels: { app: "client", tier, build: `${tier}-${node}` },
    });
    const [serving, ...clients] = await lab.pods(
      { name: "server", node: "node1", labels: { role: "server", build: "server" } },
      client("gold", "node1"),
      client("gold", "node2"),
      client("silver", "node1"),
      client("silver", "node2"),
    );
    if (serving === undefined) throw new Error("no server");
    server = serving;
    gold = clients.filter((pod) => pod.name.startsWith("gold"));
    silver = clients.filter((pod) => pod.name.startsWith("silver"));
    await lab.apply(fromClients);
    await all(clients);
  });

  afterEach(async () => {
    for (const running of held.splice(0)) running.kill();
    await the().apply(fromClients);
    await the().remove(fromGold, notFromSilver);
    await all([...gold, ...silver]);
  });

  afterAll(() => TestLab.down(lab, name));

  const questions = (): ["tcp" | "udp", string, string][] => [
    ["tcp", server.v4, port],
    ["udp", server.v6, port],
  ];

  async function all(pods: readonly Place[]): Promise<void> {
    await Promise.all(pods.flatMap((pod) => questions().map((question) => the().reached(pod, question))));
  }

  async function none(pods: readonly Place[]): Promise<void> {
    await Promise.all(pods.flatMap((pod) => questions().map((question) => the().cutOff(pod, question))));
  }

  /** Connections that run, and new ones all the time, of pods that every state allows. */
  async function use(pods: readonly TestPod[]): Promise<{ stop(): Promise<void> }> {
    const started = pods.flatMap((pod) =>
      [server.v4, server.v6].map((to) =>
        the().start(pod, ["hold", to, port, "--for", "90000", "--every", "5", "--timeout", "3000"], {
          timeoutMs: 120_000,
        }),
      ),
    );
    held.push(...started);
    for (const one of started)
      await waitFor(() => one.stdout.includes("connected"), { what: "a held connection" });
    const stopped = new AbortController();
    const fresh = pods.map(async (pod) => {
      let count = 0;
      for (; !stopped.signal.aborted; count++) {
        for (const question of questions()) {
          const outcome = await the().probe(pod, [...question, "--timeout", "3000"]);
          expect(outcome, `${pod.name} ${question.join(" ")}`).toMatchObject({ code: 0 });
        }
      }
      return count;
    });
    const counted = Promise.all(fresh);
    counted.catch(() => undefined);
    return {
      stop: async () => {
        stopped.abort();
        for (const count of await counted) expect(count).toBeGreaterThan(1);
        for (const one of started) {
          expect(one.process.exitCode, one.stderr).toBeNull();
          one.process.kill("SIGTERM");
          const { code, stdout, stderr } = await one.ended;
          expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
          expect(Number(/(\d+) answers/.exec(stdout)?.[1])).toBeGreaterThan(20);
        }
      },
    };
  }

  /** New connections of pods that a change cuts off: once one is refused, none gets through. */
  function fade(pods: readonly TestPod[]): { gone(): Promise<void> } {
    const fading = Promise.all(
      pods.flatMap((pod) =>
        questions().map(async (question) => {
          let refused = 0;
          while (refused < 8) {
            const { code } = await the().probe(pod, [...question, "--timeout", "150"]);
            if (refused > 0) expect(code, `${pod.name} ${question.join(" ")}`).not.toBe(0);
            if (code !== 0) refused++;
          }
        }),
      ),
    );
    fading.catch(() => undefined);
    return { gone: () => fading.then(() => undefined) };
  }

  const identityOf = async (pod: TestPod): Promise<number> => {
    const endpoint = await the()
      .client.resource(resources.ciliumendpoints)
      .get(pod.name, { namespace: "default" });
    return endpoint.status?.identity?.id ?? 0;
  };
  const identities = async (): Promise<Record<string, string>[]> =>
    (await the().client.resource(resources.ciliumidentities).list()).items.map(
      (object) => (object["security-labels"] ?? {}) as Record<string, string>,
    );

  /** Gold and silver are of one class, or of two; and server's node knows them by the numbers they were published with. */
  async function settled(classes: 1 | 2): Promise<void> {
    let seen: unknown;
    await waitFor(
      async () => {
        const pods = [...gold, ...silver];
        const ids = await Promise.all(pods.map(identityOf));
        const rows = await the().agent("node1").json<IpcacheEntryView[]>("/v1/ipcache");
        const known = pods.map(({ v4 }) => rows.find(({ prefix }) => prefix === `${v4}/32`)?.identity);
        seen = { ids, known };
        return new Set(ids).size === classes && ids.every((id, i) => known[i] === id);
      },
      { timeoutMs: 30_000, everyMs: 200, what: `${classes} classes` },
    ).catch((cause: unknown) => {
      throw new Error(`not ${classes} classes: ${JSON.stringify(seen)}`, { cause });
    });
  }

  it("labels that no policy names make no identity, and are shown all the same", async () => {
    await settled(1);
    const before = (await identities()).length;
    const extra = await the().pods(
      ...[1, 2, 3].map((i) => ({
        name: `job-${i}`,
        node: `node${(i % 2) + 1}`,
        labels: { app: "client", build: `job-${i}`, [`only-${i}`]: "x" },
      })),
    );
    await all(extra);
    const after = await identities();
    expect(after).toHaveLength(before);
    expect(JSON.stringify(after)).not.toMatch(/build|only-|tier/);
    const listed = await the().agent("node1").endpoints();
    expect(listed.find(({ pod }) => pod === "server")?.labels).toContain("k8s:build=server");
    // Of a pod of another node, too.
    const far = gold.find(({ node }) => node === "node2");
    const labels = async (): Promise<string[]> => {
      const flows = (await the()
        .agent("node1")
        .flows([{ source_pod: [`default/${far?.name}`] }])) as { source?: { labels?: string[] } }[];
      return flows.at(-1)?.source?.labels ?? [];
    };
    let seen: string[] = [];
    await waitFor(
      async () => {
        await all(gold);
        seen = await labels();
        return [`k8s:app=client`, `k8s:build=${far?.name}`, "k8s:tier=gold"].every((l) => seen.includes(l));
      },
      { timeoutMs: 10_000, everyMs: 200, what: "a flow with the far pod's labels" },
    ).catch((cause: unknown) => {
      throw new Error(`labels: ${JSON.stringify(seen)}`, { cause });
    });
    for (const { name: pod } of extra) await the().deletePod(pod);
  });

  it("split when a policy names another key, and merge after the last one went; who is allowed throughout loses nothing", async () => {
    await settled(1);
    const users = await use(gold);
    const fading = fade(silver);
    await the().apply(fromGold);
    await the().remove(fromClients);
    await fading.gone();
    await settled(2);
    await none(silver);
    await the().apply(fromClients);
    await the().remove(fromGold);
    await all(silver);
    await settled(1);
    await users.stop();
  }, 90_000);

  it("a denial by another key holds for pods whose own agent hangs", async () => {
    await settled(1);
    const users = await use(gold);
    const pid = the().agentPid("node2");
    if (pid === undefined) throw new Error("no agent runs on node2");
    process.kill(pid, "SIGSTOP");
    try {
      const fading = fade(silver);
      await the().apply(notFromSilver);
      await fading.gone();
      const [first, second] = silver.filter(({ node }) => node === "node2");
      expect([first && (await identityOf(first)), second]).toEqual([
        await identityOf(gold.find(({ node }) => node === "node2") ?? server),
        undefined,
      ]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await settled(2);
    await none(silver);
    await the().remove(notFromSilver);
    await all(silver);
    await settled(1);
    await users.stop();
  }, 90_000);

  it("agents that die in the middle of it change nothing", async () => {
    await settled(1);
    const users = await use(gold);
    const kill = (node: string): number => {
      const pid = the().agentPid(node);
      if (pid === undefined) throw new Error(`no agent runs on ${node}`);
      process.kill(pid, "SIGKILL");
      return pid;
    };
    const restarted = async (node: string, former: number): Promise<void> => {
      await waitFor(() => (the().agentPid(node) ?? former) !== former, {
        timeoutMs: 30_000,
        what: `another agent on ${node}`,
      });
      await waitFor(() => the().agent(node).isReady(), { timeoutMs: 30_000, what: `the agent of ${node}` });
    };
    // The judge is away when the policy comes; then both are, in the middle of the split.
    const judge = kill("node1");
    await the().apply(notFromSilver);
    const owner = kill("node2");
    const fading = fade(silver);
    await restarted("node1", judge);
    await restarted("node2", owner);
    await fading.gone();
    await settled(2);
    await none(silver);
    // And while they merge.
    await the().remove(notFromSilver);
    const [first, second] = [kill("node2"), kill("node1")];
    await restarted("node2", first);
    await restarted("node1", second);
    await all(silver);
    await settled(1);
    await users.stop();
  }, 120_000);
});

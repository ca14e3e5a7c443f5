/** Policies about nodes, with real connections: nodes by labels, and policies about the node itself. */
import { waitFor } from "@axoneme/base";
import { builtinResources, type KubeObject, resources } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Running } from "./support/command.ts";
import { labName, type Place, port, TestLab, type TestPod, world } from "./support/lab.ts";

interface Listed {
  readonly id: number;
  readonly scope: string;
  readonly labels: readonly string[];
}

const families = ["v4", "v6"] as const;

describe.each(["native", "tunnel"] as const)("policies about nodes, %s routing", (routingMode) => {
  const name = labName(`it-nodes-${routingMode}`);
  let lab: TestLab | undefined;
  let server: TestPod;
  let far: TestPod;
  let near: TestPod;
  const applied: KubeObject[] = [];
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const node = (which: 1 | 2): Place => the().node(`node${which}`);
  const ask = (to: Place, family: "v4" | "v6" = "v4", proto = "tcp", onPort = port) => [
    proto,
    to[family],
    onPort,
  ];

  async function apply(...objects: object[]): Promise<void> {
    applied.push(...(objects as KubeObject[]));
    await the().apply(...(objects as KubeObject[]));
  }

  /** Sets labels of a Node; undefined takes one off. */
  async function label(which: 1 | 2, labels: Readonly<Record<string, string | null>>): Promise<void> {
    await the().client.resource(builtinResources.nodes).patch(`node${which}`, { metadata: { labels } });
  }

  const everyWay = (to: Place) =>
    families.flatMap((family) => ["tcp", "udp"].map((proto) => ask(to, family, proto)));

  /** In both families, by TCP and UDP. */
  async function open(from: Place, to: Place): Promise<void> {
    await Promise.all(everyWay(to).map((question) => the().reached(from, question)));
  }

  async function shut(from: Place, to: Place): Promise<void> {
    await Promise.all(everyWay(to).map((question) => the().cutOff(from, question)));
  }

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode, agentConfig: { hostPolicyTrial: 6 } });
    [server, near, far] = (await lab.pods(
      { name: "server", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    for (const place of [lab.world, node(1), node(2)]) await lab.serve(place);
    await lab.reached(far, ["tcp", server.v4, port]);
  });

  afterEach(async () => {
    for (const running of held.splice(0)) running.kill();
    await the().remove(...applied.splice(0));
    for (const which of [1, 2] as const) await label(which, { role: null, zone: null });
    for (const from of [node(2), far]) await open(from, server);
  });

  afterAll(() => TestLab.down(lab, name));

  describe("by labels", () => {
    const cnp = (policy: string, spec: object) => ({
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name: policy, namespace: "default" },
      spec: { endpointSelector: { matchLabels: { app: "server" } }, ...spec },
    });
    const identities = async () =>
      ((await the().axon(["identity", "list", "--node", "node1", "-o", "json"])) as Listed[]).filter(
        ({ scope }) => scope === "node",
      );

    it("fromNodes lets in nodes that have the labels, as long as they have them", async () => {
      await label(2, { role: "db", zone: "a" });
      expect(await identities()).toEqual([]);
      await apply(cnp("from-db", { ingress: [{ fromNodes: [{ matchLabels: { role: "db" } }] }] }));
      await shut(far, server);
      await open(node(2), server);
      expect(await identities()).toMatchObject([{ labels: ["node:role=db", "reserved:remote-node"] }]);
      await label(2, { role: "web" });
      await shut(node(2), server);
      await label(2, { role: "db" });
      await open(node(2), server);
      await the().remove(...applied.splice(0));
      await waitFor(async () => (await identities()).length === 0, { what: "the node's identity to go" });
    });

    it("toNodes lets out to them, and entities still mean them", async () => {
      await label(2, { role: "db" });
      await apply(cnp("to-web", { egress: [{ toNodes: [{ matchLabels: { role: "web" } }] }] }));
      await shut(server, node(2));
      await label(2, { role: "web" });
      await open(server, node(2));
      await shut(server, far);
      await apply(cnp("no-nodes", { egressDeny: [{ toEntities: ["remote-node"] }] }));
      await shut(server, node(2));
    });

    it("flows and the ipcache name the identity, and an agent that starts keeps it", async () => {
      await label(2, { role: "db" });
      await apply(cnp("from-db", { ingress: [{ fromNodes: [{ matchLabels: { role: "db" } }] }] }));
      await open(node(2), server);
      const [before] = await identities();
      const pid = the().agentPid("node1");
      process.kill(pid ?? 0, "SIGKILL");
      await waitFor(() => the().agentPid("node1") !== pid && the().agent("node1").isReady(), {
        timeoutMs: 60_000,
        what: "the next agent",
      });
      await open(node(2), server);
      expect(await identities()).toMatchObject([{ id: before?.id }]);
      await waitFor(
        async () => {
          await the().reached(node(2), ask(server));
          const flows = await the()
            .agent("node1")
            .flows([{ source_label: ["node:role=db"] }]);
          return flows.some(({ ingress_allowed_by: by }) => by?.[0]?.name === "from-db");
        },
        { what: "a flow of the node by its labels" },
      );
    });
  });

  describe("host policies", () => {
    const onNode1 = (policy: string, spec: object) => ({
      apiVersion: "cilium.io/v2",
      kind: "CiliumClusterwideNetworkPolicy",
      // Connections of tests that are just ending are sessions, too.
      metadata: { name: policy, annotations: { "policy.axoneme.io/confirmed": "true" } },
      spec: { nodeSelector: { matchLabels: { role: "guarded" } }, ...spec },
    });
    const tcp8080 = [{ ports: [{ port, protocol: "TCP" }] }];
    const worldOnly = { ingress: [{ fromEntities: ["world"], toPorts: tcp8080 }] };
    const apiServer = { toEntities: ["kube-apiserver"] };

    /** From the world's own address: the way to a node starts at the bridge's, which is the API server's. */
    const fromWorld = (family: "v4" | "v6", proto = "tcp") => [
      ...ask(node(1), family, proto),
      "--source",
      world[family],
    ];

    /** A connection to the host that goes on until it is cut. */
    async function hold(from: Place, to: string, ...more: string[]): Promise<Running> {
      const args = ["hold", to, port, "--for", "8000", "--every", "50", "--timeout", "1500", ...more];
      const running = the().start(from, args, { timeoutMs: 30_000 });
      held.push(running);
      await waitFor(() => running.stdout.includes("connected"), { what: "a held connection" });
      return running;
    }

    it("ingress: from the world, another node and pods; as long as the node has the label", async () => {
      await apply(onNode1("world-only", worldOnly));
      await open(node(2), node(1));
      await label(1, { role: "guarded" });
      for (const from of [node(2), near, far]) await shut(from, node(1));
      for (const family of families) {
        await the().reached(the().world, fromWorld(family));
        await the().cutOff(the().world, fromWorld(family, "udp"));
        await the().cutOff(the().world, ["ping", node(1)[family]]);
      }
      // What the node asks for is answered, its pods are not the host, and other nodes have no such policy.
      for (const to of [the().world, node(2), server, far]) await open(node(1), to);
      for (const from of [node(2), far, near]) await open(from, server);
      await open(the().world, node(2));
      await label(1, { role: null });
      for (const from of [node(2), near, far]) await open(from, node(1));
    });

    it("egress: to entities, pods and the world; what comes in is answered", async () => {
      await label(1, { role: "guarded" });
      const egress = [
        apiServer,
        { toEntities: ["world"], toPorts: tcp8080 },
        { toEndpoints: [{ matchLabels: { app: "far" } }] },
      ];
      await apply(onNode1("out", { egress }));
      for (const to of [node(2), server]) await shut(node(1), to);
      await open(node(1), far);
      for (const family of families) {
        await the().reached(node(1), ask(the().world, family));
        await the().cutOff(node(1), ask(the().world, family, "udp"));
      }
      for (const from of [the().world, node(2), near]) await open(from, node(1));
      for (const to of [the().world, node(2), far]) await open(server, to);
      expect(await the().agent("node1").isReady()).toBe(true);
    });

    it("Services of pods are reached under the node's address, whatever it denies", async () => {
      await the().apply({
        ...{ apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "default" } },
        spec: {
          type: "NodePort",
          selector: { app: "server" },
          ports: [{ port: 80, targetPort: Number(port), nodePort: 30080 }],
        },
      } as KubeObject);
      await the().reached(the().world, ["tcp", node(1).v4, "30080"]);
      await label(1, { role: "guarded" });
      await apply(onNode1("nothing", { ingress: [{}], egress: [apiServer] }));
      await shut(the().world, node(1));
      expect(await the().reached(the().world, ["tcp", node(1).v4, "30080"])).toContain("server");
      await the().reached(near, ["tcp", node(1).v4, "30080"]);
      await the().remove({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web", namespace: "default" },
      } as KubeObject);
    });

    it("connections from before go on where the policy allows them, whoever speaks first, and end where it does not", async () => {
      await label(1, { role: "guarded" });
      const into = await hold(the().world, node(1).v4, "--source", world.v4);
      const out = await hold(node(1), the().world.v6);
      const other = await hold(node(2), node(1).v6);
      await apply(
        onNode1("strict", { ...worldOnly, egress: [apiServer, { toEntities: ["world"], toPorts: tcp8080 }] }),
      );
      const { code, stderr } = await other.ended;
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/after \d+ answers/) });
      await the().cutOff(node(1), ask(node(2)));
      for (const running of [into, out]) expect(await running.ended).toMatchObject({ code: 0 });
    });

    it("the host is an endpoint with its policy's rows, and flows name what decided", async () => {
      await label(1, { role: "guarded" });
      await apply(onNode1("world-only", worldOnly));
      await shut(node(2), node(1));
      await the().reached(the().world, fromWorld("v4"));
      const shown = await the().axon(["endpoint", "get", "host", "--node", "node1", "-o", "json"]);
      expect(shown).toMatchObject({
        ...{ kind: "host", identity: 1, enforcement: "ingress", pod: "node1" },
        labels: expect.arrayContaining(["k8s:role=guarded", "reserved:host"]),
        policy: expect.arrayContaining([
          expect.objectContaining({ direction: "ingress", port, policies: ["world-only"] }),
        ]),
      });
      const flowsOf = async (source: Place) =>
        the()
          .agent("node1")
          .flows([{ source_ip: [source.v4], destination_ip: [node(1).v4] }]);
      const by = [{ name: "world-only", kind: "CiliumClusterwideNetworkPolicy" }];
      await waitFor(async () => (await flowsOf(node(2))).length > 0, { what: "flows of the host" });
      const denied = (await flowsOf(node(2))).filter(({ verdict }) => verdict === "DROPPED");
      expect(
        denied.some(({ ingress_denied_by }) => JSON.stringify(ingress_denied_by) === JSON.stringify(by)),
      ).toBe(true);
      const allowed = await flowsOf({ ...the().world, v4: world.v4 });
      expect(
        allowed.some(({ ingress_allowed_by }) => JSON.stringify(ingress_allowed_by) === JSON.stringify(by)),
      ).toBe(true);
    });
  });

  describe("a host policy that would lock the node out", () => {
    const guarded = { nodeSelector: { matchLabels: { role: "guarded" } } };
    /** As the nodes reach it: under the bridge's address. */
    const apiServer = () => ["tcp", node(1).v4.replace(/\d+$/, "1"), "6443"];
    /** It resets what is no TLS; who is cut off from it hears nothing. */
    const apiServerIs = (what: "reset" | "timed out") =>
      waitFor(
        async () => (await the().probe(node(1), [...apiServer(), "--timeout", "500"])).stderr.includes(what),
        { timeoutMs: 15_000, everyMs: 50, what: `the API server to be ${what}` },
      );
    const ccnp = (policy: string, spec: object, annotations: object = {}) => ({
      apiVersion: "cilium.io/v2",
      kind: "CiliumClusterwideNetworkPolicy",
      metadata: { name: policy, annotations },
      spec: { ...guarded, ...spec },
    });
    const stateOf = async (policy: string) =>
      (await the().agent("node1").policies()).find((one) => one.name === policy)?.message ?? "";
    const conditionOf = async (policy: string) => {
      const object = await the().client.resource(resources.ciliumclusterwidenetworkpolicies).get(policy);
      const { conditions = [] } =
        (object as { status?: { conditions?: { type: string; reason: string; message: string }[] } })
          .status ?? {};
      return conditions.find(({ type }) => type === "host.axoneme.io/node1");
    };

    it("is taken back when it cuts off the API server, and says so", async () => {
      await label(1, { role: "guarded" });
      await apply(ccnp("no-api", { egressDeny: [{ toEntities: ["kube-apiserver"] }] }));
      await waitFor(async () => /^on trial/.test(await stateOf("no-api")), {
        timeoutMs: 10_000,
        what: "the trial",
      });
      await apiServerIs("timed out");
      await waitFor(async () => /^taken back/.test(await stateOf("no-api")), {
        timeoutMs: 20_000,
        what: "its end",
      });
      expect(await stateOf("no-api")).toContain(`the API server at ${apiServer().slice(1).join(":")}`);
      await apiServerIs("reset");
      const told = await waitFor(
        async () =>
          (await conditionOf("no-api"))?.reason === "Reverted" ? conditionOf("no-api") : undefined,
        {
          timeoutMs: 60_000,
          what: "the condition",
        },
      );
      expect(told?.message).toContain("was about to cut off the API server");
      await waitFor(
        async () => {
          const { items } = await the()
            .client.resource(builtinResources.events)
            .list({ namespace: "default" });
          return items.some(
            ({ reason, involvedObject }) =>
              reason === "HostPolicyReverted" && involvedObject.name === "no-api",
          );
        },
        { timeoutMs: 60_000, what: "the event" },
      );
      // Node 2 has no such label, and nothing to say.
      expect(
        (await the().agent("node2").policies()).find((one) => one.name === "no-api")?.message,
      ).toBeUndefined();
    });

    it("a session of an administrator counts, a policy that keeps it does not", async () => {
      await label(1, { role: "guarded" });
      const session = the().start(
        the().world,
        ["hold", node(1).v4, port, "--for", "30000", "--timeout", "25000", "--source", world.v4],
        {
          timeoutMs: 40_000,
        },
      );
      held.push(session);
      await waitFor(() => session.stdout.includes("connected"), { what: "a session" });
      const rule = { fromEntities: ["world"], toPorts: [{ ports: [{ port, protocol: "TCP" }] }] };
      await apply(ccnp("kept", { ingress: [rule, { fromEntities: ["cluster"] }] }));
      await the().cutOff(the().world, ["udp", node(1).v4, port, "--source", world.v4]);
      expect(await stateOf("kept")).toBe("");
      await apply(ccnp("no-admin", { ingressDeny: [{ fromEntities: ["world"] }] }));
      await waitFor(async () => /^on trial/.test(await stateOf("no-admin")), {
        timeoutMs: 10_000,
        what: "the trial",
      });
      expect(await stateOf("no-admin")).toContain(`the session of ${world.v4}:`);
      await waitFor(async () => /^taken back/.test(await stateOf("no-admin")), {
        timeoutMs: 20_000,
        what: "its end",
      });
      await the().reached(the().world, ["tcp", node(1).v4, port, "--source", world.v4]);
      const { code, stdout } = await the().axonRun(["policy", "confirm", "no-admin", "--node", "node1"]);
      expect({ code, stdout }).toEqual({ code: 0, stdout: "node1: no-admin confirmed\n" });
      await the().cutOff(the().world, ["tcp", node(1).v4, port, "--source", world.v4]);
      expect((await the().axonRun(["policy", "confirm", "no-admin"])).code).toBe(3);
      expect(await stateOf("no-admin")).toBe("");
    });

    it("an agent that dies in the middle leaves a node that the next one reaches the API server from", async () => {
      await label(1, { role: "guarded" });
      await apply(ccnp("no-api", { egressDeny: [{ toEntities: ["kube-apiserver"] }] }));
      await waitFor(async () => /^on trial/.test(await stateOf("no-api")), {
        timeoutMs: 10_000,
        what: "the trial",
      });
      const pid = the().agentPid("node1");
      process.kill(pid ?? 0, "SIGKILL");
      await waitFor(() => the().agentPid("node1") !== pid && the().agent("node1").isReady(), {
        timeoutMs: 60_000,
        what: "the next agent",
      });
      await waitFor(async () => /^taken back/.test(await stateOf("no-api").catch(() => "")), {
        timeoutMs: 30_000,
        what: "the trial's end",
      });
      await apiServerIs("reset");
    });
  });
});

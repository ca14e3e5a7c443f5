/** Policy with real packets: each way of allowing and denying, replies, connections that a change meets, and flows. */
import { waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { SeenFlow } from "./support/agent.ts";
import type { Running } from "./support/command.ts";
import { labName, type Place, port, TestLab, type TestPod, world } from "./support/lab.ts";

/** A NetworkPolicy on the pods with `app: server` (or others). */
function np(name: string, spec: object, app = "server"): KubeObject {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { podSelector: { matchLabels: { app } }, ...spec },
  } as KubeObject;
}

function cnp(name: string, spec: object, app = "server"): KubeObject {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { endpointSelector: { matchLabels: { app } }, ...spec },
  } as KubeObject;
}

describe.each(["native", "tunnel"] as const)("policy, %s routing", (routingMode) => {
  const name = labName(`it-policy-${routingMode}`);
  let lab: TestLab | undefined;
  let server: TestPod;
  let near: TestPod;
  let far: TestPod;
  let friend: TestPod;
  const applied: KubeObject[] = [];
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode });
    await lab.namespace("friends", { team: "friends" });
    [server, near, far, friend] = (await lab.pods(
      { name: "server", node: "node1", ports: [{ name: "web", containerPort: Number(port) }] },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
      { name: "friend", node: "node2", namespace: "friends" },
    )) as [TestPod, TestPod, TestPod, TestPod];
    for (const place of [lab.world, lab.node("node1"), lab.node("node2")]) await lab.serve(place);
    await lab.serve(server, "9000");
    await lab.serve(server, "9005");
    for (const from of [near, far, friend]) await lab.reached(from, ["tcp", server.v4, port]);
  });

  afterEach(async () => {
    for (const running of held.splice(0)) running.kill();
    await the().remove(...applied.splice(0));
    await open(near, far, friend);
  });

  afterAll(() => TestLab.down(lab, name));

  async function apply(...objects: KubeObject[]): Promise<void> {
    applied.push(...objects);
    await the().apply(...objects);
  }

  const ask = (to: Place, family: "v4" | "v6" = "v4", onPort = port) => ["tcp", to[family], onPort];

  /** These reach the server, in both families. */
  async function open(...from: Place[]): Promise<void> {
    const families = ["v4", "v6"] as const;
    await Promise.all(from.flatMap((one) => families.map((f) => the().reached(one, ask(server, f)))));
  }

  /** These do not, in both families and by TCP, UDP and ping. */
  async function shut(...from: Place[]): Promise<void> {
    const questions = [ask(server), ask(server, "v6"), ["udp", server.v4, port], ["ping", server.v6]];
    await Promise.all(from.flatMap((one) => questions.map((question) => the().cutOff(one, question))));
  }

  describe("ingress", () => {
    it("without a policy everybody reaches the server", () => open(near, far, friend, the().node("node2")));

    it("default deny shuts everybody out, also the own replies' way stays open", async () => {
      await apply(np("deny-in", { policyTypes: ["Ingress"] }));
      await shut(near, far, friend, the().node("node2"));
      // The server's own connections are answered: a reply is not a new connection.
      for (const to of [near, far, the().world]) {
        await the().reached(server, ask(to));
        await the().reached(server, ["udp", to.v6, port]);
        await the().reached(server, ["ping", to.v4]);
      }
    });

    it("the node's own processes reach its pods whatever policy says: probes must work", async () => {
      await apply(np("deny-in", { policyTypes: ["Ingress"] }));
      await shut(near);
      await open(the().node("node1"));
    });

    it("by pod selector", async () => {
      const from = [{ podSelector: { matchLabels: { app: "near" } } }];
      await apply(np("from-near", { ingress: [{ from }] }));
      await shut(far, friend);
      await open(near);
    });

    it("by pod selector on the other node", async () => {
      const from = [{ podSelector: { matchLabels: { app: "far" } } }];
      await apply(np("from-far", { ingress: [{ from }] }));
      await shut(near, friend);
      await open(far);
    });

    it("by namespace selector", async () => {
      const from = [{ namespaceSelector: { matchLabels: { team: "friends" } } }];
      await apply(np("from-friends", { ingress: [{ from }] }));
      await shut(near, far);
      await open(friend);
    });

    it("by the address of a pod, or of a node, whoever has it", async () => {
      const node = the().node("node2");
      const cidrs = [far.v4, node.v4]
        .map((v4) => `${v4}/32`)
        .concat([far.v6, node.v6].map((v6) => `${v6}/128`));
      await apply(
        np("from-addresses", { ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }] }),
      );
      await shut(near, friend);
      await open(far);
      // Through a tunnel a node comes with its address among the pods.
      if (routingMode === "native") await open(node);
      else await shut(node);
    });

    it("denied by the address of a pod, and the node's own probes pass a denied 0.0.0.0/0", async () => {
      const spec = {
        ingress: [{ fromEntities: ["all"] }],
        ingressDeny: [{ fromCIDR: [`${far.v4}/32`, `${far.v6}/128`] }],
      };
      await apply(cnp("not-far", spec));
      await shut(far);
      await open(near, friend, the().node("node2"));
      await apply(cnp("not-far", { ...spec, ingressDeny: [{ fromCIDR: ["0.0.0.0/0", "::/0"] }] }));
      await shut(near, far);
      await open(the().node("node1"));
    });

    it("by port, and no other port", async () => {
      await apply(np("port", { ingress: [{ ports: [{ protocol: "TCP", port: Number(port) }] }] }));
      await the().cutOff(far, ask(server, "v4", "9000"));
      await the().cutOff(far, ["udp", server.v4, port]);
      await open(near, far);
    });

    it("by a range of ports", async () => {
      await apply(np("range", { ingress: [{ ports: [{ protocol: "TCP", port: 8990, endPort: 9003 }] }] }));
      await the().cutOff(far, ask(server));
      await the().cutOff(far, ask(server, "v4", "9005"));
      await the().reached(far, ask(server, "v4", "9000"));
      await the().reached(near, ask(server, "v6", "9000"));
    });

    it("by the name of a port", async () => {
      await apply(np("named", { ingress: [{ ports: [{ protocol: "TCP", port: "web" }] }] }));
      await the().cutOff(far, ask(server, "v4", "9000"));
      await open(near, far);
    });

    it("by entity: world, cluster, host", async () => {
      await apply(cnp("entity", { ingress: [{ fromEntities: ["cluster"] }] }));
      await the().cutOff(the().world, ask(server));
      await open(near, far, friend, the().node("node2"));
      await apply(cnp("entity", { ingress: [{ fromEntities: ["host"] }] }));
      await shut(near, far);
      await open(the().node("node1"));
    });

    it("ingressDeny is stronger than any allow", async () => {
      const fromEndpoints = [{ matchLabels: { app: "far" } }];
      await apply(
        cnp("deny-far", { ingress: [{ fromEntities: ["all"] }], ingressDeny: [{ fromEndpoints }] }),
      );
      await shut(far);
      await open(near, friend);
    });

    it("enableDefaultDeny false denies what it names and nothing else", async () => {
      const fromEndpoints = [{ matchLabels: { app: "far" } }];
      const spec = { enableDefaultDeny: { ingress: false }, ingressDeny: [{ fromEndpoints }] };
      await apply(cnp("only-far", spec));
      await shut(far);
      await open(near, friend);
    });

    it("two policies allow what either allows", async () => {
      await apply(
        np("one", { ingress: [{ from: [{ podSelector: { matchLabels: { app: "near" } } }] }] }),
        np("two", { ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "friends" } } }] }] }),
      );
      await shut(far);
      await open(near, friend);
    });
  });

  describe("egress", () => {
    it("default deny keeps the pod in, and lets answers out", async () => {
      await apply(np("deny-out", { policyTypes: ["Egress"] }));
      const all = [near, far, the().world, the().node("node2")];
      const questions = all.flatMap((to) => [ask(to), ["udp", to.v6, port], ["ping", to.v4]]);
      await Promise.all(questions.map((question) => the().cutOff(server, question)));
      await open(near, far);
    });

    it("by ipBlock with an exception", async () => {
      const to = [
        { ipBlock: { cidr: "192.0.2.0/24", except: ["192.0.2.128/25"] } },
        { ipBlock: { cidr: "2001:db8::/32", except: ["2001:db8::/64"] } },
      ];
      await apply(np("block", { policyTypes: ["Egress"], egress: [{ to }] }));
      await the().cutOff(server, ask(the().world, "v6"));
      await the().cutOff(server, ask(far));
      await the().reached(server, ask(the().world));
    });

    it("by toCIDRSet with an exception", async () => {
      const toCIDRSet = [{ cidr: "192.0.2.0/24", except: ["192.0.2.1/32"] }, { cidr: "2001:db8::/32" }];
      await apply(cnp("cidr", { egress: [{ toCIDRSet }] }));
      await the().cutOff(server, ask(the().world));
      await the().reached(server, ask(the().world, "v6"));
    });

    it("by entity: the world but not the cluster", async () => {
      await apply(cnp("world", { egress: [{ toEntities: ["world"] }] }));
      for (const to of [near, far]) await the().cutOff(server, ask(to));
      await the().reached(server, ask(the().world));
      await the().reached(server, ask(the().world, "v6"));
    });

    it("by endpoint and port", async () => {
      const toEndpoints = [{ matchLabels: { app: "far" } }];
      const toPorts = [{ ports: [{ port, protocol: "UDP" }] }];
      await apply(cnp("far-udp", { egress: [{ toEndpoints, toPorts }] }));
      await the().cutOff(server, ask(far));
      await the().cutOff(server, ["udp", near.v4, port]);
      await the().reached(server, ["udp", far.v4, port]);
      await the().reached(server, ["udp", far.v6, port]);
    });

    it("egressDeny of a CIDR leaves the rest of the world open", async () => {
      await apply(
        cnp("no-v4", { egress: [{ toEntities: ["all"] }], egressDeny: [{ toCIDR: ["192.0.2.1/32"] }] }),
      );
      await the().cutOff(server, ask(the().world));
      await the().reached(server, ask(the().world, "v6"));
      await the().reached(server, ask(far));
    });
  });

  describe("connections that live while policy changes", () => {
    async function hold(from: Place, to: string): Promise<Running> {
      const args = ["hold", to, port, "--for", "60000", "--every", "10", "--timeout", "1500"];
      const running = the().start(from, args, { timeoutMs: 90_000 });
      held.push(running);
      await waitFor(() => running.stdout.includes("connected"), { what: "a held connection" });
      return running;
    }

    it.each(["near", "far"] as const)("one from %s is cut when a deny arrives", async (who) => {
      const from = { near, far }[who];
      const connections = [await hold(from, server.v4), await hold(from, server.v6)];
      await apply(np("deny-in", { policyTypes: ["Ingress"] }));
      for (const one of connections) {
        const { code, stderr } = await one.ended;
        expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/after \d+ answers/) });
      }
    });

    it("they are kept when an unrelated policy comes and goes", async () => {
      await apply(
        np("from-far", { ingress: [{ from: [{ podSelector: { matchLabels: { app: "far" } } }] }] }),
      );
      await shut(near);
      const connections = [await hold(far, server.v4), await hold(far, server.v6)];
      for (let round = 0; round < 5; round++) {
        await the().apply(np("unrelated", { policyTypes: ["Ingress", "Egress"] }, "friend-of-nobody"));
        await the().apply(np("neighbour", { policyTypes: ["Ingress"] }, "near"));
        await the().cutOff(far, ask(near));
        await the().remove(np("unrelated", {}), np("neighbour", {}));
        await the().reached(far, ask(near));
      }
      for (const one of connections) {
        expect(one.process.exitCode, one.stderr).toBeNull();
        one.process.kill("SIGTERM");
        expect(await one.ended).toMatchObject({ code: 0, stderr: "" });
      }
    });
  });

  describe("labels and namespaces that change", () => {
    it("a pod that gets the allowed label gets in, and is cut off when it loses it", async () => {
      await apply(
        np("by-label", { ingress: [{ from: [{ podSelector: { matchLabels: { vip: "yes" } } }] }] }),
      );
      await shut(far);
      const pods = the().client.resource((await import("@axoneme/kube")).resources.pods);
      await pods.patch("far", { metadata: { labels: { vip: "yes" } } }, { namespace: "default" });
      await open(far);
      await pods.patch("far", { metadata: { labels: { vip: null } } }, { namespace: "default" });
      await shut(far);
    });
  });

  describe("flows", () => {
    async function flow(what: string, matches: (flow: SeenFlow) => boolean): Promise<SeenFlow> {
      return waitFor(
        async () =>
          (
            await the()
              .agent("node1")
              .flows([{ destination_pod: ["default/server"] }])
          ).find(matches),
        { timeoutMs: 10_000, what },
      );
    }

    it("a drop by default deny and a drop by a deny rule name the pods, the verdict and the policy", async () => {
      await apply(np("nobody", { policyTypes: ["Ingress"] }));
      await shut(far);
      const dropped = await flow(
        "a dropped flow from far",
        (f) =>
          f.verdict === "DROPPED" &&
          f.source?.pod_name === "far" &&
          f.ingress_denied_by?.[0]?.name === "nobody",
      );
      expect(dropped.drop_reason_desc).toBe("POLICY_DENIED");
      await apply(cnp("not-far", { ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: "far" } }] }] }));
      await the().cutOff(far, ask(server));
      const denied = await flow(
        "a flow that a deny rule dropped",
        (f) =>
          f.source?.pod_name === "far" &&
          f.ingress_denied_by?.some(({ name: by }) => by === "not-far") === true,
      );
      expect(denied.verdict).toBe("DROPPED");
      expect(denied.drop_reason_desc).toBe("POLICY_DENY");
    });

    it("an allowed connection names the policy that allowed it", async () => {
      await apply(
        np("let-near-in", { ingress: [{ from: [{ podSelector: { matchLabels: { app: "near" } } }] }] }),
      );
      await shut(far);
      await open(near);
      const allowed = await flow(
        "an allowed flow from near",
        (f) => f.verdict === "FORWARDED" && f.ingress_allowed_by?.[0]?.name === "let-near-in",
      );
      expect(allowed.source?.pod_name).toBe("near");
    });
  });

  it("the world's addresses are the ones the policies above name", () => {
    expect(the().world).toMatchObject(world);
  });
});

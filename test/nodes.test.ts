/** Policies about nodes, with real connections: nodes by labels. */
import { waitFor } from "@axoneme/base";
import { builtinResources, type KubeObject } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { labName, type Place, port, TestLab, type TestPod } from "./support/lab.ts";

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
  const applied: KubeObject[] = [];

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

  /** In both families, by TCP and UDP. */
  async function open(from: Place, to: Place): Promise<void> {
    for (const family of families) {
      for (const proto of ["tcp", "udp"]) await the().reached(from, ask(to, family, proto));
    }
  }

  async function shut(from: Place, to: Place): Promise<void> {
    for (const family of families) {
      for (const proto of ["tcp", "udp"]) await the().cutOff(from, ask(to, family, proto));
    }
  }

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode });
    [server, far] = (await lab.pods({ name: "server", node: "node1" }, { name: "far", node: "node2" })) as [
      TestPod,
      TestPod,
    ];
    for (const place of [lab.world, node(1), node(2)]) await lab.serve(place);
    await lab.reached(far, ["tcp", server.v4, port]);
  });

  afterEach(async () => {
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
});

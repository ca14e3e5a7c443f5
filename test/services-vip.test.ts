/** Load-balancer addresses that we give out and announce ourselves, reached by whoever is on the nodes' network. */
import { waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answersIn, expectAnswer, type Question } from "./support/cells.ts";
import { labName, type Place, TestLab } from "./support/lab.ts";
import { Scene, ways } from "./support/scene.ts";
import { type Family, families, type Protocol, protocols, serviceFacts } from "./support/services.ts";
import { forgetNeighbours, loseNode, macOf, neighbourOf } from "./support/wire.ts";

const name = labName("it-svc-vip");
/** Of the announcing node's neighbours, none may wait longer for another one: the lease's length and a try. */
const failoverMs = 25_000;

describe("addresses of load balancers", () => {
  let lab: TestLab | undefined;
  let scene: Scene | undefined;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const on = (): Scene => {
    if (scene === undefined) throw new Error("the scene is not set");
    return scene;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { nodes: 3 });
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      { name: "web-1", node: "node1", labels: { app: "web" } },
      { name: "web-2", node: "node2", labels: { app: "web" } },
      { name: "web-3", node: "node3", labels: { app: "web" } },
    );
    await lab.apply(pool(), announcements);
  });

  afterAll(() => TestLab.down(lab, name));

  /** A block of the nodes' own network: nobody routes, neighbours must be asked. */
  function pool(): KubeObject {
    const { v4, v6 } = the().node("node1");
    const net4 = v4.slice(0, v4.lastIndexOf("."));
    const net6 = v6.slice(0, v6.lastIndexOf("::"));
    return {
      apiVersion: "cilium.io/v2",
      kind: "CiliumLoadBalancerIPPool",
      metadata: { name: "pool" },
      spec: {
        blocks: [
          { start: `${net4}.200`, stop: `${net4}.219` },
          { start: `${net6}::200`, stop: `${net6}::219` },
        ],
      },
    } as KubeObject;
  }

  const announcements = {
    apiVersion: "cilium.io/v2alpha1",
    kind: "CiliumL2AnnouncementPolicy",
    metadata: { name: "announce" },
    spec: {
      loadBalancerIPs: true,
      externalIPs: true,
      serviceSelector: { matchExpressions: [{ key: "silent", operator: "DoesNotExist" }] },
    },
  } as KubeObject;

  const web = ["web-1", "web-2", "web-3"];

  /** The addresses that the operator gave a Service. */
  async function given(service: string): Promise<Record<Family, string>> {
    const ingress = await waitFor(
      async () => {
        const facts = await serviceFacts(the(), service);
        return facts.ingress.length === 2 && facts.ingress;
      },
      { timeoutMs: 10_000, everyMs: 30, what: `two load-balancer addresses of ${service}` },
    );
    return {
      v4: ingress.find((ip) => !ip.includes(":")) ?? "",
      v6: ingress.find((ip) => ip.includes(":")) ?? "",
    };
  }

  const ask = (from: Place, protocol: Protocol, address: string): Question => ({
    from,
    protocol,
    address,
    port: 80,
  });

  /** The node whose hardware address the world has for an address. */
  async function announcer(address: string): Promise<string | undefined> {
    const mac = await neighbourOf(the(), address);
    for (const node of the().nodes.keys()) if ((await macOf(the(), node)) === mac) return node;
    return undefined;
  }

  describe("given out by the operator", () => {
    beforeAll(() =>
      on().make(
        { name: "web", endpoints: 3, spec: { type: "LoadBalancer" } },
        {
          name: "asked",
          selector: { app: "web" },
          endpoints: 3,
          annotations: { "lbipam.cilium.io/ips": ownNetwork("210") },
          spec: { type: "LoadBalancer" },
        },
        ...[80, 81].map((port) => ({
          name: `shared-${port}`,
          selector: { app: "web" },
          endpoints: 3,
          port,
          annotations: { "lbipam.cilium.io/sharing-key": "one" },
          spec: { type: "LoadBalancer" as const },
        })),
        {
          name: "foreign",
          selector: { app: "web" },
          spec: { type: "LoadBalancer", loadBalancerClass: "example.com/other" },
        },
        {
          name: "silent",
          selector: { app: "web" },
          endpoints: 3,
          labels: { silent: "yes" },
          spec: { type: "LoadBalancer" },
        },
      ),
    );

    function ownNetwork(host: string): string {
      const { v4, v6 } = the().node("node1");
      return `${v4.slice(0, v4.lastIndexOf("."))}.${host},${v6.slice(0, v6.lastIndexOf("::"))}::${host}`;
    }

    it.each(ways)(
      "a Service gets an address of each family and is reached there (%s)",
      async (_way, protocol, family) => {
        const vip = await given("web");
        for (const from of [...on().inside(), on().world, on().node(2)])
          await answersIn(the(), ask(from, protocol, vip[family]), { by: web });
      },
    );

    it("requested addresses are given", async () => {
      const vip = await given("asked");
      expect(`${vip.v4},${vip.v6}`).toBe(ownNetwork("210"));
      for (const family of families) await answersIn(the(), ask(on().world, "tcp", vip[family]), { by: web });
    });

    it("Services with one sharing key share addresses, each on its ports", async () => {
      const [one, two] = [await given("shared-80"), await given("shared-81")];
      expect(one).toEqual(two);
      for (const family of families) {
        for (const port of [80, 81]) {
          for (const from of [on().world, on().pod("client")])
            await answersIn(the(), { ...ask(from, "tcp", one[family]), port }, { by: web });
        }
      }
    });

    it("a Service of another class gets no address of us", async () => {
      await given("web");
      expect((await serviceFacts(the(), "foreign")).ingress).toEqual([]);
    });

    it("an address that no policy announces is not answered for", async () => {
      const vip = await given("silent");
      for (const family of families) {
        await expectAnswer(the(), ask(on().pod("client"), "tcp", vip[family]), { by: web });
        const outcome = await the().probe(on().world, ["tcp", vip[family], "80", "--timeout", "500"]);
        expect(outcome.code).not.toBe(0);
        expect(await announcer(vip[family])).toBeUndefined();
      }
    });
  });

  describe("announced by one node", () => {
    it("the announcing node dies: another one takes over, neighbours are told, connections to living pods stay", async () => {
      const vip = await given("web");
      for (const family of families) await answersIn(the(), ask(on().world, "tcp", vip[family]), { by: web });
      const leader = await announcer(vip.v4);
      expect(leader).toBeDefined();
      // Both families are one Service's: one lease, one node.
      expect(await announcer(vip.v6)).toBe(leader);
      await loseNode(the(), leader ?? "");
      const others = web.filter((pod) => on().pod(pod).node !== leader);
      for (const family of families) {
        for (const protocol of protocols)
          await answersIn(the(), ask(on().world, protocol, vip[family]), { by: others }, failoverMs);
        expect(await announcer(vip[family])).not.toBe(leader);
      }
    }, 60_000);

    it("a policy that goes takes its announcements along", async () => {
      const { v4 } = await given("asked");
      await the().remove(announcements);
      await waitFor(
        async () => {
          await forgetNeighbours(the());
          return (await the().probe(on().world, ["tcp", v4, "80", "--timeout", "400"])).code !== 0;
        },
        { timeoutMs: 10_000, everyMs: 50, what: "nobody to answer for the address" },
      );
      expect(await announcer(v4)).toBeUndefined();
    });
  });
});

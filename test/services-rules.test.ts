/** Rules of Services: who may come, who answers, and what a connection keeps. Each with real connections. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  answersIn,
  expectAnswer,
  expectRefused,
  expectSilence,
  probeArgs,
  type Question,
  refusedIn,
  silentIn,
  spreadOf,
  unreachedIn,
} from "./support/cells.ts";
import { labName, type Place, TestLab, world } from "./support/lab.ts";
import { Scene, vipOf, ways } from "./support/scene.ts";
import {
  type Family,
  families,
  type Protocol,
  protocols,
  setIngress,
  sliceObject,
} from "./support/services.ts";
import { addNodeAddress, ownByWorld, removeNodeAddress } from "./support/wire.ts";

const name = labName("it-svc-rules");
/** The source of a pod that reaches itself through its Service, as it sees it on the packet path. */
const hairpin = { v4: "169.254.42.1", v6: "fd00:6178:6f6e::1" } as const;
const web = ["web-1", "web-2", "web-3"];

describe("rules of Services", () => {
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
    lab = await TestLab.up(name);
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      { name: "other", node: "node2" },
      { name: "web-1", node: "node1", labels: { app: "web", group: "near" }, ports: named(8080) },
      {
        name: "web-2",
        node: "node2",
        labels: { app: "web" },
        serves: [8080, 9090],
        ports: named(9090),
      },
      { name: "web-3", node: "node2", labels: { app: "web" }, ports: named(8080) },
      { name: "unready", node: "node2", isUnready: true },
    );
  });

  afterAll(() => TestLab.down(lab, name));

  function named(containerPort: number) {
    return ["TCP", "UDP"].map((protocol) => ({
      name: `web-${protocol.toLowerCase()}`,
      containerPort,
      protocol,
    }));
  }

  describe("ports and endpoints", () => {
    beforeAll(() =>
      on().make(
        {
          name: "ports",
          selector: { app: "web" },
          endpoints: 3,
          spec: {
            ports: protocols.flatMap((protocol) => [
              {
                name: `named-${protocol}`,
                protocol: protocol.toUpperCase(),
                port: 80,
                targetPort: `web-${protocol}`,
              },
              { name: `number-${protocol}`, protocol: protocol.toUpperCase(), port: 81, targetPort: 8080 },
            ]),
          },
        },
        { name: "headless", selector: { app: "web" }, spec: { clusterIP: "None", clusterIPs: ["None"] } },
        { name: "by-hand", selector: null },
        { name: "unready", endpoints: 1, spec: { type: "NodePort" } },
        {
          name: "published-two",
          selector: { app: "unready" },
          spec: {
            publishNotReadyAddresses: true,
            ports: protocols.flatMap((protocol) =>
              [80, 81].map((port) => ({
                name: `${protocol}-${port}`,
                protocol: protocol.toUpperCase(),
                port,
                targetPort: 8080,
              })),
            ),
          },
        },
        { name: "published", selector: { app: "unready" }, spec: { publishNotReadyAddresses: true } },
        {
          name: "others",
          selector: { app: "web" },
          labels: { "service.kubernetes.io/service-proxy-name": "somebody-else" },
        },
      ),
    );

    it.each(ways)(
      "a named target port is each pod's own number, a numeric one is the same for all (%s)",
      async (_way, protocol, family) => {
        for (const from of on().inside()) {
          const byName = await spreadOf(the(), on().cluster(from, "ports", protocol, family, 80), 40);
          expect([...byName.keys()].sort(), from.name).toEqual(["web-1", "web-2", "web-3"]);
          const byNumber = await spreadOf(the(), on().cluster(from, "ports", protocol, family, 81), 40);
          expect([...byNumber.keys()].sort(), from.name).toEqual(["web-1", "web-2", "web-3"]);
        }
      },
    );

    it.each(ways)(
      "from one source port to two ports of a Service with one backend, each answers for itself (%s)",
      async (_way, protocol, family) => {
        // A socket that translated itself would meet its own closed connection; datagrams have none.
        const places = protocol === "tcp" ? [on().bare("client")] : [on().bare("client"), on().pod("client")];
        for (const [i, from] of places.entries()) {
          for (const port of protocol === "tcp" ? [80, 81] : [80, 81, 80, 81]) {
            const question = on().cluster(from, "published-two", protocol, family, port);
            await expectAnswer(
              the(),
              { ...question, sourcePort: 44_000 + i, timeoutMs: 1000 },
              { by: ["unready"] },
            );
          }
        }
      },
    );

    it.each(families)("a port the Service does not have is not served (%s)", async (family) => {
      const outcome = await the().probe(
        on().pod("client"),
        probeArgs("tcp", {
          from: on().pod("client"),
          address: on().facts("ports")[family],
          port: 82,
          timeoutMs: 300,
        }),
      );
      expect(outcome.code).not.toBe(0);
    });

    it("a headless Service is left alone: it has no address, its pods answer on their own", async () => {
      expect(await on().listed("headless")).toEqual([]);
      for (const family of families) {
        const from = on().pod("client");
        await expectAnswer(
          the(),
          { from, protocol: "tcp", address: on().pod("web-2")[family], port: 8080 },
          { by: ["web-2"], sees: from[family] },
        );
      }
    });

    it("a Service of another proxy is left alone", async () => {
      expect(await on().listed("others")).toEqual([]);
    });

    it.each(families)(
      "slices written by hand: a pod, then a server outside of the cluster (%s)",
      async (family) => {
        await the().apply(sliceObject("by-hand", family, [{ address: on().pod("web-3")[family] }]));
        for (const protocol of protocols) {
          for (const from of on().inside())
            await answersIn(the(), on().cluster(from, "by-hand", protocol, family), { by: ["web-3"] });
        }
        await the().serve(on().world, family === "v4" ? "8181" : "8182");
        await the().apply(
          sliceObject("by-hand", family, [{ address: world[family] }], family === "v4" ? 8181 : 8182),
        );
        for (const protocol of protocols) {
          for (const from of on().inside())
            await answersIn(the(), on().cluster(from, "by-hand", protocol, family), { by: ["world"] });
        }
      },
    );

    it.each(ways)(
      "a Service whose pods are not ready refuses at once (%s)",
      async (_way, protocol, family) => {
        for (const from of [...on().inside(), on().pod("other")]) {
          await expectRefused(the(), on().cluster(from, "unready", protocol, family));
          await expectRefused(the(), on().nodePort(from, "unready", protocol, on().node(1)[family]));
        }
        await expectRefused(the(), on().nodePort(on().world, "unready", protocol, on().node(1)[family]));
      },
    );

    it.each(ways)(
      "publishNotReadyAddresses serves them all the same (%s)",
      async (_way, protocol, family) => {
        for (const from of on().inside())
          await expectAnswer(the(), on().cluster(from, "published", protocol, family), { by: ["unready"] });
      },
    );
  });

  describe("who may come", () => {
    beforeAll(async () => {
      const ranges = ["192.0.2.1/32", "2001:db8::1/128"];
      await on().make(
        {
          name: "ranges",
          selector: { app: "web" },
          vip: 11,
          endpoints: 3,
          spec: { type: "LoadBalancer", loadBalancerSourceRanges: ranges },
        },
        {
          name: "ranges-pods",
          selector: { app: "web" },
          vip: 12,
          endpoints: 3,
          spec: {
            type: "LoadBalancer",
            loadBalancerSourceRanges: families.map(
              (f) => `${on().pod("client")[f]}/${f === "v4" ? 32 : 128}`,
            ),
          },
        },
        {
          name: "no-ports",
          selector: { app: "web" },
          vip: 13,
          endpoints: 3,
          spec: { type: "LoadBalancer", allocateLoadBalancerNodePorts: false },
        },
        { name: "proxied", selector: { app: "web" }, endpoints: 3, spec: { type: "LoadBalancer" } },
      );
    });
    it.each(ways)(
      "loadBalancerSourceRanges: whoever is in a range passes, all others meet silence (%s)",
      async (_way, protocol, family) => {
        await expectAnswer(the(), on().vip(on().world, 11, protocol, family, world[family]), { by: web });
        await expectSilence(the(), on().vip(on().world, 11, protocol, family));
        await expectAnswer(the(), on().vip(on().node(1), 11, protocol, family), { by: web });
      },
    );

    it.each(ways)("loadBalancerSourceRanges count for pods too (%s)", async (_way, protocol, family) => {
      await expectAnswer(the(), on().vip(on().pod("client"), 12, protocol, family), { by: web });
      await expectAnswer(the(), on().vip(on().bare("client"), 12, protocol, family), { by: web });
      await expectRefused(the(), on().vip(on().pod("client"), 11, protocol, family));
      await expectSilence(the(), on().vip(on().bare("client"), 11, protocol, family));
      await expectRefused(the(), on().vip(on().pod("other"), 12, protocol, family));
    });

    it.each(ways)(
      "loadBalancerSourceRanges do not count for cluster addresses and node ports (%s)",
      async (_way, protocol, family) => {
        await expectAnswer(the(), on().cluster(on().pod("client"), "ranges", protocol, family), { by: web });
        const node1 = on().node(1)[family];
        await expectAnswer(the(), on().nodePort(on().world, "ranges", protocol, node1), { by: web });
      },
    );

    it.each(ways)(
      "a load balancer without node ports is served on its address (%s)",
      async (_way, protocol, family) => {
        expect(on().facts("no-ports").nodePort).toEqual({ tcp: 0, udp: 0 });
        await expectAnswer(the(), on().vip(on().world, 13, protocol, family, world[family]), { by: web });
        await expectAnswer(the(), on().vip(on().pod("client"), 13, protocol, family), { by: web });
      },
    );

    it("ipMode Proxy: clients inside go to the load balancer itself", async () => {
      const addresses = families.map((family) => vipOf(14, family));
      for (const address of addresses) await ownByWorld(the(), address);
      await the().serve(on().world, "1480");
      await setIngress(the(), "proxied", addresses, "VIP");
      const question = (from: Place, protocol: Protocol, address: string): Question => ({
        from,
        protocol,
        address,
        port: 80,
      });
      const [v4 = "", v6 = ""] = addresses;
      for (const address of [v4, v6])
        await answersIn(the(), question(on().pod("client"), "tcp", address), { by: web });
      await setIngress(the(), "proxied", addresses, "Proxy");
      // Nothing listens on the world's port 80: the world refuses, no backend answers.
      for (const address of [v4, v6]) {
        for (const from of on().inside()) await refusedIn(the(), question(from, "tcp", address));
        const own = { from: on().pod("client"), protocol: "tcp" as const, address, port: 1480 };
        await expectAnswer(the(), own, { by: ["world"] });
      }
    });

    it("prefixes of an EdgeDenyList meet silence on node ports, and only they", async () => {
      const list = {
        apiVersion: "axoneme.io/v1alpha1",
        kind: "EdgeDenyList",
        metadata: { name: "deny" },
        spec: { cidrs: ["192.0.2.1/32", "2001:db8::1/128"] },
      };
      const ask = (family: Family, source?: string): Question =>
        on().nodePort(on().world, "ranges", "tcp", on().node(1)[family], source);
      for (const family of families) await expectAnswer(the(), ask(family, world[family]), { by: web });
      await the().apply(list);
      for (const family of families) {
        await silentIn(the(), ask(family, world[family]));
        await expectAnswer(the(), ask(family), { by: web });
      }
      await the().remove(list);
      for (const family of families) await answersIn(the(), ask(family, world[family]), { by: web });
    });
  });

  describe("traffic policies", () => {
    beforeAll(async () => {
      const local = { type: "LoadBalancer" as const, externalTrafficPolicy: "Local" };
      await on().make(
        { name: "ext-local", selector: { group: "near" }, vip: 21, endpoints: 1, spec: local },
        { name: "ext-local-all", selector: { app: "web" }, vip: 22, endpoints: 3, spec: local },
        {
          name: "int-local",
          selector: { group: "near" },
          endpoints: 1,
          spec: { internalTrafficPolicy: "Local" },
        },
        {
          name: "int-local-all",
          selector: { app: "web" },
          endpoints: 3,
          spec: { internalTrafficPolicy: "Local", type: "NodePort" },
        },
      );
    });

    it.each(ways)(
      "externalTrafficPolicy Local keeps the client's address (%s)",
      async (_way, protocol, family) => {
        const source = world[family];
        const [node1, node2] = [on().node(1)[family], on().node(2)[family]];
        const outside = on().world;
        const byNear = { by: ["web-1"], sees: source };
        await expectAnswer(the(), on().nodePort(outside, "ext-local", protocol, node1, source), byNear);
        await expectAnswer(
          the(),
          { from: outside, protocol, address: vipOf(21, family), port: 80, source },
          byNear,
        );
        await expectAnswer(the(), on().nodePort(outside, "ext-local-all", protocol, node1, source), byNear);
        await expectAnswer(the(), on().nodePort(outside, "ext-local-all", protocol, node2, source), {
          by: ["web-2", "web-3"],
          sees: source,
        });
      },
    );

    it.each(ways)(
      "externalTrafficPolicy Local: a node without a backend is silent (%s)",
      async (_way, protocol, family) => {
        const node2 = on().node(2)[family];
        await expectSilence(the(), on().nodePort(on().world, "ext-local", protocol, node2, world[family]));
      },
    );

    it.each(ways)(
      "externalTrafficPolicy Local: clients inside get every backend (%s)",
      async (_way, protocol, family) => {
        for (const from of [
          on().pod("client"),
          on().bare("client"),
          on().pod("other"),
          on().node(1),
          on().node(2),
        ]) {
          const vip: Question = { from, protocol, address: vipOf(21, family), port: 80 };
          await expectAnswer(the(), vip, { by: ["web-1"] });
          const all = await spreadOf(the(), { ...vip, address: vipOf(22, family) }, 40);
          expect([...all.keys()].sort(), from.name).toEqual(["web-1", "web-2", "web-3"]);
        }
        // A node port is inside when the client's own node has it.
        const own = on().node(2)[family];
        await expectAnswer(the(), on().nodePort(on().pod("other"), "ext-local", protocol, own), {
          by: ["web-1"],
        });
        await expectAnswer(the(), on().nodePort(on().node(2), "ext-local", protocol, own), {
          by: ["web-1"],
        });
      },
    );

    it("healthCheckNodePort answers as kube-proxy's: 200 and the number of local backends, or 503", async () => {
      const check = async (node: string, service: string): Promise<string> => {
        const port = on().facts(service).healthCheckNodePort;
        const { stdout } = await the().probe(
          on().world,
          probeArgs("http", { from: on().world, address: the().node(node).v4, port }),
        );
        return stdout;
      };
      const one = await check("node1", "ext-local");
      expect(one, one).toMatch(/^HTTP\/1\.1 200 /);
      expect(one, one).toMatch(/x-load-balancing-endpoint-weight: 1/i);
      expect(JSON.parse(one.slice(one.indexOf("{"), one.lastIndexOf("}") + 1))).toMatchObject({
        service: { namespace: "default", name: "ext-local" },
        localEndpoints: 1,
      });
      expect(await check("node2", "ext-local")).toMatch(/^HTTP\/1\.1 503 /);
      expect(await check("node2", "ext-local-all")).toMatch(/x-load-balancing-endpoint-weight: 2/i);
    });

    it.each(ways)(
      "internalTrafficPolicy Local: only backends of the client's node (%s)",
      async (_way, protocol, family) => {
        for (const from of on().inside()) {
          expect(await spreadOf(the(), on().cluster(from, "int-local-all", protocol, family), 10)).toEqual(
            new Map([["web-1", 10]]),
          );
        }
        const far = await spreadOf(
          the(),
          on().cluster(on().pod("other"), "int-local-all", protocol, family),
          30,
        );
        expect([...far.keys()].sort()).toEqual(["web-2", "web-3"]);
      },
    );

    it.each(ways)(
      "internalTrafficPolicy Local: a node without a backend refuses (%s)",
      async (_way, protocol, family) => {
        for (const from of on().inside())
          await expectAnswer(the(), on().cluster(from, "int-local", protocol, family), { by: ["web-1"] });
        const bareOther = on().bare("other");
        for (const from of [on().pod("other"), bareOther, on().node(2)])
          await expectRefused(the(), on().cluster(from, "int-local", protocol, family));
      },
    );

    it.each(ways)(
      "internalTrafficPolicy Local does not count for node ports (%s)",
      async (_way, protocol, family) => {
        const outside = on().nodePort(on().world, "int-local-all", protocol, on().node(1)[family]);
        const spread = await spreadOf(the(), outside, 40);
        expect([...spread.keys()].sort()).toEqual(["web-1", "web-2", "web-3"]);
      },
    );
  });

  describe("hairpin and node ports", () => {
    beforeAll(() =>
      on().make(
        { name: "self", selector: { app: "client" }, vip: 31, endpoints: 1, spec: { type: "LoadBalancer" } },
        { name: "node-port", selector: { app: "web" }, endpoints: 3, spec: { type: "NodePort" } },
      ),
    );

    it.each(ways)("a pod reaches itself through its Service (%s)", async (_way, protocol, family) => {
      const byItself = { by: ["client"] };
      await expectAnswer(the(), on().cluster(on().pod("client"), "self", protocol, family), byItself);
      for (const from of [on().pod("client"), on().bare("client")]) {
        await expectAnswer(the(), on().vip(from, 31, protocol, family), byItself);
        await expectAnswer(the(), on().nodePort(from, "self", protocol, on().node(1)[family]), byItself);
      }
      await expectAnswer(the(), on().cluster(on().bare("client"), "self", protocol, family), {
        ...byItself,
        sees: hairpin[family],
      });
    });

    it("an address that a node gets later serves node ports too, until it goes", async () => {
      const { v4 } = on().node(1);
      const prefix = v4.slice(0, v4.lastIndexOf("."));
      const number = prefix.slice(prefix.lastIndexOf(".") + 1);
      const later = [`${prefix}.77/24`, `fd00:172:30:${number}::77/64`];
      for (const text of later) await addNodeAddress(the(), "node1", text);
      for (const text of later) {
        const address = text.slice(0, text.indexOf("/"));
        for (const protocol of protocols) {
          for (const from of [
            on().world,
            on().pod("client"),
            on().bare("client"),
            on().node(1),
            on().pod("other"),
          ])
            await answersIn(the(), on().nodePort(from, "node-port", protocol, address), {
              by: ["web-1", "web-2", "web-3"],
            });
        }
      }
      for (const text of later) await removeNodeAddress(the(), "node1", text);
      for (const text of later) {
        const address = text.slice(0, text.indexOf("/"));
        await unreachedIn(the(), on().nodePort(on().node(1), "node-port", "tcp", address));
      }
    });

    it.each(families)("a server of the node's own keeps its port beside node ports (%s)", async (family) => {
      const from = on().pod("client");
      await the().serve(on().node(1), family === "v4" ? "7070" : "7071");
      const port = family === "v4" ? 7070 : 7071;
      for (const address of [on().node(1)[family]]) {
        for (const protocol of protocols)
          await expectAnswer(the(), { from, protocol, address, port }, { by: ["node1"] });
      }
    });
  });
});

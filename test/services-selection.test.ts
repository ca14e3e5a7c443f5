/** Which backend a connection gets, and keeps: affinity, topology, terminating backends, redirects, algorithms. */
import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  answersIn,
  expectAnswer,
  expectRefused,
  type Question,
  refusedIn,
  spreadOf,
} from "./support/cells.ts";
import { labName, type Place, TestLab, world } from "./support/lab.ts";
import { Scene, ways } from "./support/scene.ts";
import { endpointsListed, families, type Protocol, protocols, sliceObject } from "./support/services.ts";
import { ownByWorld } from "./support/wire.ts";

const name = labName("it-svc-select");
const web = ["web-1", "web-2", "web-3"];

describe("selection of backends", () => {
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
    const nodes = lab.client.resource(resources.nodes);
    for (const [node, zone] of [
      ["node1", "east"],
      ["node2", "west"],
    ] as const)
      await nodes.patch(node, { metadata: { labels: { "topology.kubernetes.io/zone": zone } } });
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      { name: "other", node: "node2" },
      { name: "web-1", node: "node1", labels: { app: "web" } },
      { name: "web-2", node: "node2", labels: { app: "web" } },
      { name: "web-3", node: "node2", labels: { app: "web" } },
    );
  });

  afterAll(() => TestLab.down(lab, name));

  /** The only server that answers many questions. */
  async function onlyOne(question: Question, count = 15): Promise<string> {
    const spread = await spreadOf(the(), question, count);
    expect([...spread.keys()], JSON.stringify([...spread])).toHaveLength(1);
    return [...spread.keys()][0] ?? "";
  }

  describe("session affinity", () => {
    const sticky = (timeoutSeconds: number) => ({
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds } },
    });

    beforeAll(() =>
      on().make(
        ...protocols.map((protocol) => ({
          name: `sticky-${protocol}`,
          selector: { app: "web" },
          endpoints: 3,
          vip: protocol === "tcp" ? 1 : 2,
          spec: { type: "LoadBalancer" as const, ...sticky(600) },
        })),
        { name: "brief", selector: { app: "web" }, endpoints: 3, spec: sticky(1) },
        { name: "moving", selector: { role: "moving" }, spec: { ...sticky(600), type: "NodePort" } },
      ),
    );

    it.each(ways)(
      "a client keeps its backend, whatever it dials and on whatever path (%s)",
      async (_way, protocol, family) => {
        const service = `sticky-${protocol}`;
        const number = protocol === "tcp" ? 1 : 2;
        const pod = on().pod("client");
        const first = await onlyOne(on().cluster(pod, service, protocol, family));
        for (const from of [pod, on().bare("client")]) {
          expect(await onlyOne(on().cluster(from, service, protocol, family)), from.name).toBe(first);
          expect(await onlyOne(on().vip(from, number, protocol, family)), from.name).toBe(first);
          expect(await onlyOne(on().nodePort(from, service, protocol, on().node(1)[family]))).toBe(first);
        }
      },
    );

    it.each(ways)("the packet path's choice holds for sockets too (%s)", async (_way, protocol, family) => {
      const service = `sticky-${protocol}`;
      const bare = on().bare("other");
      const first = await onlyOne(on().cluster(bare, service, protocol, family));
      expect(await onlyOne(on().cluster(on().pod("other"), service, protocol, family))).toBe(first);
    });

    it.each(ways)("a client outside and a node keep their backends (%s)", async (_way, protocol, family) => {
      const service = `sticky-${protocol}`;
      const node1 = on().node(1)[family];
      const first = await onlyOne(on().nodePort(on().world, service, protocol, node1, world[family]));
      const number = protocol === "tcp" ? 1 : 2;
      expect(await onlyOne(on().vip(on().world, number, protocol, family, world[family]))).toBe(first);
      await onlyOne(on().cluster(on().node(1), service, protocol, family));
    });

    it.each(ways)("another client may get another backend (%s)", async (_way, protocol, family) => {
      // Thirty clients that all get the same one of three would come by chance once in 3^29 runs.
      const service = `sticky-${protocol}`;
      const found = new Set<string>();
      for (let i = 1; i <= 30 && found.size < 2; i++) {
        const source = family === "v4" ? `192.0.2.${100 + i}` : `2001:db8::${100 + i}`;
        await ownByWorld(the(), source);
        const question = on().nodePort(on().world, service, protocol, on().node(1)[family], source);
        found.add((await expectAnswer(the(), question, { by: web })).by);
      }
      expect(found.size).toBe(2);
    });

    it.each(families)("after the timeout another backend may be chosen (%s)", async (family) => {
      const question = on().cluster(on().pod("client"), "brief", "tcp", family);
      const { by } = await expectAnswer(the(), question, { by: web });
      await waitFor(async () => (await expectAnswer(the(), question, { by: web })).by !== by, {
        timeoutMs: 30_000,
        // Each try comes after the timeout, so that it is a choice of its own.
        everyMs: 1200,
        what: "another backend",
      });
    });

    it("a client keeps its backend while others come and go, and moves when its own goes", async () => {
      const pods = the().client.resource(resources.pods);
      const label = async (pod: string, role: string | null): Promise<void> => {
        await pods.patch(pod, { metadata: { labels: { role } } }, { namespace: "default" });
      };
      const listed = async (...names: readonly string[]): Promise<void> => {
        for (const one of web) await label(one, names.includes(one) ? "moving" : null);
        await endpointsListed(the(), "moving", names.length);
        await on().settle();
      };
      const questions = families.flatMap((family) =>
        protocols.flatMap((protocol) => [
          on().cluster(on().pod("client"), "moving", protocol, family),
          on().cluster(on().bare("other"), "moving", protocol, family),
          on().nodePort(on().world, "moving", protocol, on().node(1)[family], world[family]),
        ]),
      );
      const all = async (backend: string): Promise<void> => {
        for (const question of questions) await expectAnswer(the(), question, { by: [backend] });
      };
      await listed("web-2");
      await all("web-2");
      await listed("web-1", "web-2", "web-3");
      await all("web-2");
      await listed("web-2", "web-3");
      await all("web-2");
      await listed("web-3");
      await all("web-3");
    }, 60_000);
  });

  describe("topology", () => {
    beforeAll(() =>
      on().make(
        {
          name: "close",
          selector: { app: "web" },
          endpoints: 3,
          spec: { trafficDistribution: "PreferClose", type: "NodePort" },
        },
        { name: "hinted", selector: null },
      ),
    );

    it.each(ways)(
      "trafficDistribution PreferClose: backends of the client's zone (%s)",
      async (_way, protocol, family) => {
        for (const from of on().inside()) {
          const spread = await spreadOf(the(), on().cluster(from, "close", protocol, family), 15);
          expect([...spread.keys()], from.name).toEqual(["web-1"]);
        }
        const west = await spreadOf(the(), on().cluster(on().pod("other"), "close", protocol, family), 30);
        expect([...west.keys()].sort()).toEqual(["web-2", "web-3"]);
      },
    );

    it.each(families)("hints that leave a zone without a backend do not count there (%s)", async (family) => {
      const hinted = (zones: Readonly<Record<string, string>>) =>
        sliceObject(
          "hinted",
          family,
          Object.entries(zones).map(([pod, zone]) => ({
            address: on().pod(pod)[family],
            nodeName: on().pod(pod).node,
            hints: { forZones: [{ name: zone }] },
          })),
        );
      const question = on().cluster(on().pod("client"), "hinted", "tcp", family);
      await the().apply(hinted({ "web-1": "west", "web-2": "east" }));
      await on().settle();
      expect([...(await spreadOf(the(), question, 15)).keys()]).toEqual(["web-2"]);
      await the().apply(hinted({ "web-1": "west", "web-2": "west" }));
      await on().settle();
      expect([...(await spreadOf(the(), question, 30)).keys()].sort()).toEqual(["web-1", "web-2"]);
    });
  });

  describe("terminating endpoints", () => {
    const ending = { ready: false, serving: true, terminating: true };
    const ended = { ready: false, serving: false, terminating: true };

    beforeAll(async () => {
      await on().make(
        { name: "by-conditions", selector: null, spec: { type: "NodePort", externalTrafficPolicy: "Local" } },
        { name: "last" },
      );
    });

    async function conditions(of: Readonly<Record<string, object>>): Promise<void> {
      for (const family of families) {
        const endpoints = Object.entries(of).map(([pod, state]) => ({
          address: on().pod(pod)[family],
          nodeName: on().pod(pod).node,
          conditions: state,
        }));
        await the().apply(sliceObject("by-conditions", family, endpoints));
      }
      await on().settle();
    }

    it("ready ones are preferred, serving ones are fallen back on, the rest is not used", async () => {
      const each = async (check: (question: Question) => Promise<unknown>): Promise<void> => {
        for (const family of families)
          for (const protocol of protocols)
            for (const from of on().inside())
              await check(on().cluster(from, "by-conditions", protocol, family));
      };
      await conditions({ "web-1": { ready: true, serving: true, terminating: false }, "web-2": ending });
      await each((question) => onlyOne(question, 10).then((by) => expect(by).toBe("web-1")));
      await conditions({ "web-1": ended, "web-2": ending });
      await each((question) => onlyOne(question, 10).then((by) => expect(by).toBe("web-2")));
      await conditions({ "web-1": ended });
      await each((question) => expectRefused(the(), question));
    });

    it("externalTrafficPolicy Local: a node with only terminating backends still serves", async () => {
      await conditions({ "web-1": ending, "web-2": { ready: true, serving: true, terminating: false } });
      for (const family of families) {
        for (const protocol of protocols) {
          const question = on().nodePort(
            on().world,
            "by-conditions",
            protocol,
            on().node(1)[family],
            world[family],
          );
          await expectAnswer(the(), question, { by: ["web-1"], sees: world[family] });
        }
      }
    });

    it("the last pod of a Service serves until its end", async () => {
      await on().addPods({ name: "last", node: "node2", graceSeconds: 60 });
      await endpointsListed(the(), "last", 1);
      await on().settle();
      const pods = the().client.resource(resources.pods);
      await pods.deleteIfExists("last", { namespace: "default", gracePeriodSeconds: 60 });
      const slices = the().client.resource(resources.endpointslices);
      const labelSelector = "kubernetes.io/service-name=last";
      await waitFor(
        async () =>
          (await slices.list({ namespace: "default", labelSelector })).items.every(({ endpoints = [] }) =>
            endpoints.every(({ conditions: state }) => state?.terminating === true),
          ),
        { timeoutMs: 10_000, everyMs: 30, what: "the pod to be terminating" },
      );
      await on().settle();
      const ask = (from: Place, protocol: Protocol) => on().cluster(from, "last", protocol, "v4");
      for (const from of on().inside())
        for (const protocol of protocols) await expectAnswer(the(), ask(from, protocol), { by: ["last"] });
      await the().deletePod("last");
      for (const from of on().inside()) await refusedIn(the(), ask(from, "tcp"));
    });
  });

  describe("host ports", () => {
    beforeAll(async () => {
      const { v4 } = on().node(1);
      await on().addPods(
        {
          name: "port-tcp",
          node: "node1",
          ports: [{ name: "a", containerPort: 8080, protocol: "TCP", hostPort: 9001 }],
        },
        {
          name: "port-udp",
          node: "node1",
          ports: [{ name: "a", containerPort: 8080, protocol: "UDP", hostPort: 9001 }],
        },
        {
          name: "port-bound",
          node: "node1",
          ports: [{ name: "a", containerPort: 8080, protocol: "TCP", hostPort: 9002, hostIP: v4 }],
        },
        {
          name: "port-loopback",
          node: "node1",
          ports: [{ name: "a", containerPort: 8080, protocol: "TCP", hostPort: 9003, hostIP: "127.0.0.1" }],
        },
      );
    });

    const everybody = (): Place[] => [...on().inside(), on().pod("other"), on().node(2), on().world];

    it.each(ways)(
      "two pods share a number over two protocols, on every address of the node (%s)",
      async (_way, protocol, family) => {
        const by = [`port-${protocol}`];
        for (const from of everybody()) {
          const question = { from, protocol, address: on().node(1)[family], port: 9001 };
          await answersIn(the(), question, { by });
        }
        const loopback = family === "v4" ? "127.0.0.1" : "::1";
        await expectAnswer(the(), { from: on().node(1), protocol, address: loopback, port: 9001 }, { by });
        await expectRefused(the(), { from: on().node(2), protocol, address: loopback, port: 9001 });
      },
    );

    it("a host port bound to an address is served there only", async () => {
      const ask = (from: Place, address: string): Question => ({
        from,
        protocol: "tcp",
        address,
        port: 9002,
      });
      for (const from of everybody())
        await answersIn(the(), ask(from, on().node(1).v4), { by: ["port-bound"] });
      await expectRefused(the(), ask(on().world, on().node(1).v6));
      await expectRefused(the(), ask(on().node(1), "127.0.0.1"));
    });

    it("a host port bound to 127.0.0.1 is served to the node only", async () => {
      const ask = (from: Place, address: string): Question => ({
        from,
        protocol: "tcp",
        address,
        port: 9003,
      });
      await answersIn(the(), ask(on().node(1), "127.0.0.1"), { by: ["port-loopback"] });
      await expectRefused(the(), ask(on().world, on().node(1).v4));
      await expectRefused(the(), ask(on().pod("client"), "127.0.0.1"));
    });

    it("a host port goes with its pod", async () => {
      await the().deletePod("port-bound");
      for (const from of everybody())
        await refusedIn(the(), { from, protocol: "tcp", address: on().node(1).v4, port: 9002 });
    });
  });

  describe("by annotation", () => {
    beforeAll(() =>
      on().make(
        {
          name: "maglev",
          selector: { app: "web" },
          endpoints: 3,
          annotations: { "service.cilium.io/lb-algorithm": "maglev" },
          spec: { type: "NodePort" },
        },
        {
          name: "direct",
          selector: { app: "web" },
          endpoints: 3,
          annotations: { "service.cilium.io/forwarding-mode": "dsr" },
          spec: { type: "NodePort" },
        },
      ),
    );

    it.each(ways)(
      "Maglev: both nodes choose the same backend for a connection (%s)",
      async (_way, protocol, family) => {
        const found = new Set<string>();
        for (let sourcePort = 42_000; sourcePort < 42_012; sourcePort++) {
          const [one, two] = await Promise.all(
            ([1, 2] as const).map((number) =>
              expectAnswer(
                the(),
                {
                  ...on().nodePort(on().world, "maglev", protocol, on().node(number)[family], world[family]),
                  sourcePort,
                },
                { by: web },
              ),
            ),
          );
          expect(one?.by).toBe(two?.by);
          found.add(one?.by ?? "");
        }
        expect(found.size).toBeGreaterThan(1);
      },
    );

    it.each(ways)(
      "direct server return for one Service: its backends see the client (%s)",
      async (_way, protocol, family) => {
        for (const number of [1, 2] as const) {
          for (let i = 0; i < 12; i++) {
            const address = on().node(number)[family];
            const question = on().nodePort(on().world, "direct", protocol, address, world[family]);
            await expectAnswer(the(), question, { by: web, sees: world[family] });
          }
        }
      },
    );
  });

  describe("local redirects", () => {
    const policy = (policyName: string, spec: object): KubeObject =>
      ({
        apiVersion: "cilium.io/v2",
        kind: "CiliumLocalRedirectPolicy",
        metadata: { name: policyName, namespace: "default" },
        spec,
      }) as KubeObject;
    const ports = protocols.map((protocol) => ({
      port: "8080",
      protocol: protocol.toUpperCase(),
      name: protocol,
    }));
    const fronts = protocols.map((protocol) => ({
      port: "53",
      protocol: protocol.toUpperCase(),
      name: protocol,
    }));
    const target = { v4: "169.254.20.10", v6: "fd00:20::10" } as const;

    beforeAll(async () => {
      await on().addPods(
        { name: "cache-1", node: "node1", labels: { app: "cache" } },
        { name: "cache-2", node: "node2", labels: { app: "cache" } },
      );
      await on().make({ name: "dns", selector: { app: "web" }, port: 53, endpoints: 3 });
    });

    it.each(families)("an address is redirected to the pod of the client's node (%s)", async (family) => {
      const redirect = policy(`address-${family}`, {
        redirectFrontend: { addressMatcher: { ip: target[family], toPorts: fronts } },
        redirectBackend: { localEndpointSelector: { matchLabels: { app: "cache" } }, toPorts: ports },
      });
      await the().apply(redirect);
      for (const protocol of protocols) {
        const ask = (from: Place): Question => ({ from, protocol, address: target[family], port: 53 });
        for (const from of on().inside()) await answersIn(the(), ask(from), { by: ["cache-1"] });
        for (const from of [on().pod("other"), on().bare("other")])
          await answersIn(the(), ask(from), { by: ["cache-2"] });
      }
    });

    it.each(families)(
      "a Service is redirected, its own backends skip it, and it is whole when the policy goes (%s)",
      async (family) => {
        const redirect = policy("service", {
          skipRedirectFromBackend: true,
          redirectFrontend: { serviceMatcher: { serviceName: "dns", namespace: "default" } },
          redirectBackend: { localEndpointSelector: { matchLabels: { app: "cache" } }, toPorts: ports },
        });
        await the().apply(redirect);
        for (const protocol of protocols) {
          const ask = (from: Place): Question => on().cluster(from, "dns", protocol, family, 53);
          for (const from of [on().pod("client"), on().bare("client")])
            await answersIn(the(), ask(from), { by: ["cache-1"] });
          await answersIn(the(), ask(on().pod("other")), { by: ["cache-2"] });
          for (const from of [on().pod("cache-1"), on().bare("cache-1")])
            await answersIn(the(), ask(from), { by: web });
        }
        await the().remove(redirect);
        for (const protocol of protocols)
          await answersIn(the(), on().cluster(on().pod("client"), "dns", protocol, family, 53), { by: web });
      },
    );
  });

  it("a Service of SCTP is accepted, and said not to be programmed where its port is translated", async () => {
    await on().make({
      name: "sctp",
      selector: { app: "web" },
      spec: { ports: [{ name: "s", protocol: "SCTP", port: 3868, targetPort: 3869 }] },
    });
    const args = ["service", "list", "--name", "sctp", "--node", "node1"];
    const problems = await waitFor(async () => {
      const outcome = await the().axonRun([...args, "--problems"]);
      return outcome.code === 1 ? outcome.stdout : undefined;
    });
    expect(problems).toMatch(/SCTP/);
    const events = the().client.resource(resources.events);
    await waitFor(
      async () =>
        (await events.list({ namespace: "default" })).items.some(
          ({ involvedObject, type }) => involvedObject.name === "sctp" && type === "Warning",
        ),
      { timeoutMs: 10_000, everyMs: 50, what: "a warning about the Service" },
    );
  });
});

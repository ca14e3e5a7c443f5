/** Only some kinds of Services are ours, on some of the node's addresses: the rest is left to whoever runs beside us. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectAnswer, expectRefused, type Question } from "./support/cells.ts";
import { labName, TestLab } from "./support/lab.ts";
import { Scene, vipOf, ways } from "./support/scene.ts";
import { families, setIngress } from "./support/services.ts";
import { addNodeAddress, ownByWorld, routeFromWorld } from "./support/wire.ts";

const name = labName("it-svc-partial");
const foreign = { v4: "10.77.0.11", v6: "fd77::11" } as const;

describe("a partial replacement of kube-proxy", () => {
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
    const agentConfig = {
      serviceKinds: ["ClusterIP", "NodePort"],
      nodePortAddresses: ["172.30.0.0/16", "fd00:172:30::/32"],
    };
    lab = await TestLab.up(name, { agentConfig });
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      {
        name: "web",
        node: "node1",
        ports: [{ name: "a", containerPort: 8080, protocol: "TCP", hostPort: 9001 }],
      },
    );
    for (const family of families) {
      await addNodeAddress(lab, "node1", `${foreign[family]}/${family === "v4" ? 24 : 64}`);
      // The node may choose it as a source.
      await routeFromWorld(lab, foreign[family], "node1");
      // What lies behind an address that we do not serve is the world, which refuses.
      for (const number of [1, 2]) await ownByWorld(lab, vipOf(number, family));
    }
    const externalIPs = families.map((family) => vipOf(2, family));
    await scene.make({ name: "web", endpoints: 1, spec: { type: "LoadBalancer", externalIPs } });
    await setIngress(
      lab,
      "web",
      families.map((family) => vipOf(1, family)),
    );
    await scene.settle();
  });

  afterAll(() => TestLab.down(lab, name));

  it.each(ways)("cluster addresses are served (%s)", async (_way, protocol, family) => {
    for (const from of on().inside())
      await expectAnswer(the(), on().cluster(from, "web", protocol, family), { by: ["web"] });
  });

  it.each(ways)(
    "node ports are served on the chosen addresses of the node (%s)",
    async (_way, protocol, family) => {
      for (const from of [...on().inside(), on().world]) {
        await expectAnswer(the(), on().nodePort(from, "web", protocol, on().node(1)[family]), {
          by: ["web"],
        });
      }
      for (const from of on().inside())
        await expectRefused(the(), on().nodePort(from, "web", protocol, foreign[family]));
    },
  );

  it.each(ways)(
    "load-balancer and external addresses are left alone (%s)",
    async (_way, protocol, family) => {
      for (const from of on().inside()) {
        for (const number of [1, 2]) await expectRefused(the(), on().vip(from, number, protocol, family));
      }
    },
  );

  it.each(families)("host ports are left alone (%s)", async (family) => {
    for (const from of [...on().inside(), on().world]) {
      const question: Question = { from, protocol: "tcp", address: on().node(1)[family], port: 9001 };
      await expectRefused(the(), question);
    }
  });

  it("the frontends listed are those of the chosen kinds", async () => {
    const listed = (await on().listed("web")) as { readonly type: string }[];
    expect(new Set(listed.map(({ type }) => type))).toEqual(new Set(["ClusterIP", "NodePort"]));
  });
});

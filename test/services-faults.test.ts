/** What connections through Services notice when backends, agents and nodes go. */
import { waitFor } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { answersIn, probeArgs, type Question, spreadOf } from "./support/cells.ts";
import type { Running } from "./support/command.ts";
import { labName, type Place, TestLab, world } from "./support/lab.ts";
import { Scene } from "./support/scene.ts";
import { endpointsListed, type Family, families, familyName, type Protocol } from "./support/services.ts";
import { agentBack, findNode, killAgent, loseNode, untilNode } from "./support/wire.ts";

/** A way to a Service: who asks, and what it dials. */
const paths = ["a pod", "a pod without socket programs", "a node", "the world through node1"] as const;
type Path = (typeof paths)[number];

const rows: [string, Path, Family][] = paths.flatMap((path) =>
  families.map((family): [string, Path, Family] => [`${path}, ${familyName[family]}`, path, family]),
);

describe.each(["native", "tunnel"] as const)("faults under Services, %s routing", (routingMode) => {
  const name = labName(`it-svc-fault-${routingMode}`);
  let lab: TestLab | undefined;
  let scene: Scene | undefined;
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const on = (): Scene => {
    if (scene === undefined) throw new Error("the scene is not set");
    return scene;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode, nodeGraceMs: 6000, nodes: 3 });
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      { name: "near", node: "node1", labels: { app: "near", role: "web" } },
      { name: "far", node: "node2", labels: { app: "far", role: "web" } },
      { name: "lost", node: "node3", labels: { app: "lost", role: "web" } },
    );
    const nodePort = { type: "NodePort" as const };
    await scene.make(
      { name: "near", spec: nodePort, endpoints: 1 },
      { name: "far", spec: nodePort, endpoints: 1 },
      { name: "web", selector: { role: "web" }, spec: nodePort, endpoints: 3 },
      { name: "moving", selector: { moving: "yes" }, spec: nodePort },
    );
  });

  afterEach(() => {
    for (const running of held.splice(0)) running.kill();
  });

  afterAll(() => TestLab.down(lab, name));

  function question(path: Path, service: string, protocol: Protocol, family: Family): Question {
    if (path === "the world through node1") {
      return on().nodePort(on().world, service, protocol, on().node(1)[family], world[family]);
    }
    const from: Readonly<Record<Exclude<Path, "the world through node1">, Place>> = {
      "a pod": on().pod("client"),
      "a pod without socket programs": on().bare("client"),
      "a node": on().node(1),
    };
    return on().cluster(from[path], service, protocol, family);
  }

  function start(command: string, of: Question, ...more: readonly string[]): Running {
    const args = [...probeArgs(command, of), "--for", "120000", ...more];
    const running = the().start(of.from, args, { timeoutMs: 130_000 });
    held.push(running);
    return running;
  }

  /** The first server that answered. */
  async function firstAnswer(running: Running): Promise<string> {
    return waitFor(
      () => {
        if (running.process.exitCode !== null) throw new Error(running.stderr);
        return /^(\S+) sees/m.exec(running.stdout)?.[1];
      },
      { timeoutMs: 10_000, what: "a first answer" },
    );
  }

  /** Connections that ask every few milliseconds and end with an error at the first answer that is missing. */
  async function hold(...questions: readonly Question[]): Promise<Running[]> {
    const started = questions.map((one) => start("hold", { ...one, timeoutMs: 3000 }, "--every", "10"));
    await Promise.all(started.map(firstAnswer));
    return started;
  }

  async function release(connections: readonly Running[]): Promise<void> {
    for (const one of connections) {
      expect(one.process.exitCode, one.stderr).toBeNull();
      one.process.kill("SIGTERM");
      const { code, stdout, stderr } = await one.ended;
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(Number(/(\d+) answers/.exec(stdout)?.[1])).toBeGreaterThan(10);
    }
  }

  /** Makes exactly these pods the backends of the Service "moving". */
  async function move(...to: readonly string[]): Promise<void> {
    const pods = the().client.resource(resources.pods);
    for (const pod of ["near", "far", "lost"]) {
      const labels = { moving: to.includes(pod) ? "yes" : null };
      await pods.patch(pod, { metadata: { labels } }, { namespace: "default" });
    }
    await endpointsListed(the(), "moving", to.length);
    await on().settle();
  }

  describe("a backend is removed", () => {
    it("established TCP connections of pods and nodes to it are closed, those to others live", async () => {
      await move("near", "far");
      const open: Running[] = [];
      for (const path of ["a pod", "a node"] as const)
        for (const family of families)
          for (let i = 0; i < 6; i++) open.push(...(await hold(question(path, "moving", "tcp", family))));
      const servers = await Promise.all(open.map(firstAnswer));
      expect(new Set(servers)).toEqual(new Set(["near", "far"]));
      await move("near");
      const closed = open.filter((_one, i) => servers[i] === "far");
      await waitFor(() => closed.every((one) => one.process.exitCode !== null), {
        timeoutMs: 5000,
        what: "the connections to the removed backend to be closed",
      });
      for (const one of closed) expect((await one.ended).stderr).toMatch(/reset|abort/i);
      await release(open.filter((_one, i) => servers[i] === "near"));
    });

    it.each(rows)(
      "UDP moves to a live backend with the next datagram, connected or not (%s)",
      async (_row, path, family) => {
        await move("far");
        const of = { ...question(path, "moving", "udp", family), timeoutMs: 200 };
        const connected = start("flow", of, "--every", "10");
        const unconnected = start(
          "flow",
          { ...of, sourcePort: 45_000 },
          "--every",
          "10",
          "--unconnected",
          "yes",
        );
        for (const flow of [connected, unconnected]) expect(await firstAnswer(flow)).toBe("far");
        await move("near");
        await hasMoved(unconnected, "far", "near");
        // Between a node's own socket and the wire nobody translates: it is closed, and its program opens another.
        if (path === "a node") await isClosed(connected);
        else await hasMoved(connected, "far", "near");
      },
    );

    /** The flow goes to another server and stays there; at most what was on its way is lost. */
    async function hasMoved(flow: Running, from: string, to: string): Promise<void> {
      await waitFor(() => flow.stdout.includes(`${to} sees`), {
        timeoutMs: 3000,
        what: `the datagrams to move to ${to}: ${flow.stdout}${flow.stderr}`,
      });
      flow.process.kill("SIGTERM");
      const { stdout } = await flow.ended;
      expect(stdout.match(/^\S+(?= sees)/gm)).toEqual([from, to]);
      expect(Number(/(\d+) missing/.exec(stdout)?.[1])).toBeLessThan(5);
    }

    async function isClosed(flow: Running): Promise<void> {
      await waitFor(() => flow.process.exitCode !== null, {
        timeoutMs: 3000,
        what: `the socket to be closed: ${flow.stdout}${flow.stderr}`,
      });
      expect((await flow.ended).stderr).toMatch(/abort|address required/i);
    }

    it.each(rows)("UDP also moves when the pod itself is gone (%s)", async (_row, path, family) => {
      const pod = `short-${rows.findIndex((row) => row[1] === path && row[2] === family)}`;
      await move();
      await on().addPods({ name: pod, node: "node2", labels: { moving: "yes" } });
      await endpointsListed(the(), "moving", 1);
      await on().settle();
      const flow = start(
        "flow",
        { ...question(path, "moving", "udp", family), timeoutMs: 200 },
        "--every",
        "10",
      );
      expect(await firstAnswer(flow)).toBe(pod);
      const pods = the().client.resource(resources.pods);
      await pods.patch("near", { metadata: { labels: { moving: "yes" } } }, { namespace: "default" });
      await the().deletePod(pod);
      if (path === "a node") await isClosed(flow);
      else await hasMoved(flow, pod, "near");
    });
  });

  it.each(["node1", "node2"])(
    "the agent of %s is killed and comes back: no answer is missing on any path",
    async (node) => {
      const connections = await hold(
        ...paths.flatMap((path) =>
          families.flatMap((family) => ["near", "far"].map((to) => question(path, to, "tcp", family))),
        ),
      );
      const former = killAgent(the(), node);
      let rounds = 0;
      const asked = (async () => {
        // New connections work while the agent is away.
        for (; (the().agentPid(node) ?? former) === former || rounds < 2; rounds++) {
          for (const path of paths)
            for (const protocol of ["tcp", "udp"] as const)
              expect((await spreadOf(the(), question(path, "far", protocol, "v4"), 3)).get("far")).toBe(3);
        }
      })();
      await agentBack(the(), node, former);
      await asked;
      expect(rounds).toBeGreaterThan(1);
      await release(connections);
    },
  );

  it("a Service that changes while the agent is away is right once it is back", async () => {
    await move("near");
    const former = killAgent(the(), "node1");
    const pods = the().client.resource(resources.pods);
    for (const [pod, moving] of [
      ["near", null],
      ["far", "yes"],
    ] as const)
      await pods.patch(pod, { metadata: { labels: { moving } } }, { namespace: "default" });
    await agentBack(the(), "node1", former);
    for (const path of paths)
      for (const family of families)
        await answersIn(the(), question(path, "moving", "tcp", family), { by: ["far"] });
  });

  it("a node is lost: connections to others live, new ones go there, and it comes back into the Service", async () => {
    const open = await hold(
      ...paths.flatMap((path) => families.map((family) => question(path, "near", "tcp", family))),
      ...paths.flatMap((path) => families.map((family) => question(path, "far", "tcp", family))),
    );
    await loseNode(the(), "node3");
    await untilNode(the(), "node3", "Unknown");
    for (const path of paths) {
      const all = question(path, "web", "tcp", "v4");
      await answersIn(the(), all, { by: ["near", "far"] });
      await waitFor(
        async () => {
          const spread = await spreadOf(the(), { ...all, timeoutMs: 500 }, 30).catch(() => undefined);
          return spread !== undefined && !spread.has("lost");
        },
        { timeoutMs: 10_000, what: `${path} to be spared the lost node` },
      );
    }
    await release(open);
    await findNode(the(), "node3");
    await waitFor(
      async () => (await spreadOf(the(), question("a pod", "web", "tcp", "v4"), 30)).has("lost"),
      { timeoutMs: 15_000, what: "the node that was lost to serve again" },
    );
  }, 90_000);
});

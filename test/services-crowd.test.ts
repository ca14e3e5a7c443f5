/**
 * Ten thousand open connections through Services while an agent restarts, backends come and go, and a node is lost:
 * whatever does not end at the lost node or at a removed backend must live.
 */
import { delay, waitFor } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { probeArgs, type Question } from "./support/cells.ts";
import type { Running } from "./support/command.ts";
import { labName, TestLab, world } from "./support/lab.ts";
import { Scene } from "./support/scene.ts";
import { endpointsListed, families } from "./support/services.ts";
import { agentBack, killAgent, loseNode, untilNode } from "./support/wire.ts";

const name = labName("it-svc-crowd");
const crowdSize = 1250;

describe("ten thousand connections", () => {
  let lab: TestLab | undefined;
  let scene: Scene | undefined;
  const crowds: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const on = (): Scene => {
    if (scene === undefined) throw new Error("the scene is not set");
    return scene;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { nodes: 3, nodeGraceMs: 6000 });
    const role = { role: "web" };
    scene = await Scene.of(
      lab,
      { name: "client", node: "node1" },
      // Of its own: the pod's sockets would not know which ports its packets already use towards a backend.
      { name: "per-packet", node: "node1" },
      { name: "web-1", node: "node1", labels: role },
      { name: "web-2", node: "node2", labels: role },
      { name: "web-3", node: "node2", labels: role },
      { name: "doomed", node: "node3", labels: role },
    );
    await scene.make({ name: "web", selector: role, endpoints: 4, spec: { type: "NodePort" } });
  });

  afterAll(async () => {
    for (const crowd of crowds) crowd.kill();
    await TestLab.down(lab, name);
  });

  interface Count {
    readonly alive: number;
    readonly lost: number;
    readonly changed: number;
  }

  function counts(text: string, when: string): Map<string, Count> {
    const found = new Map<string, Count>();
    const lines = text.matchAll(new RegExp(`^${when} (\\S+) alive (\\d+) lost (\\d+) changed (\\d+)$`, "gm"));
    for (const [, server = "", alive, lost, changed] of lines)
      found.set(server, { alive: Number(alive), lost: Number(lost), changed: Number(changed) });
    return found;
  }

  function crowd(question: Question): Running {
    const args = [...probeArgs("crowd", { ...question, timeoutMs: 8000 }), "--count", String(crowdSize)];
    const running = the().start(question.from, [...args, "--for", "300000", "--every", "3000"], {
      timeoutMs: 320_000,
    });
    crowds.push(running);
    return running;
  }

  /** A backend that comes, takes new connections, and goes, again and again. */
  async function churn(rounds: number): Promise<void> {
    const pods = the().client.resource(resources.pods);
    for (let i = 0; i < rounds; i++) {
      const added = i % 2 === 0;
      const labels = { role: added ? "web" : null };
      await pods.patch("client", { metadata: { labels } }, { namespace: "default" });
      await endpointsListed(the(), "web", added ? 5 : 4);
      await on().settle();
    }
  }

  it("none that should live is lost", async () => {
    const questions = families.flatMap((family) => [
      on().cluster(on().pod("client"), "web", "tcp", family),
      on().cluster(on().bare("per-packet"), "web", "tcp", family),
      on().cluster(on().node(1), "web", "tcp", family),
      on().nodePort(on().world, "web", "tcp", on().node(1)[family], world[family]),
    ]);
    const all = questions.map(crowd);
    await waitFor(() => all.every((one) => /^start unanswered/m.test(one.stdout)), {
      timeoutMs: 40_000,
      what: "ten thousand connections",
    });
    for (const [i, one] of all.entries()) {
      expect(one.stdout, `${questions[i]?.from.name}: ${one.stdout}`).toContain("start unanswered 0");
      const start = [...counts(one.stdout, "start").values()];
      expect(start.reduce((sum, { alive }) => sum + alive, 0)).toBe(crowdSize);
      expect(start.length).toBe(4);
    }
    for (const node of ["node1", "node2"]) {
      const former = killAgent(the(), node);
      await Promise.all([agentBack(the(), node, former), node === "node1" ? undefined : churn(4)]);
    }
    await churn(6);
    await loseNode(the(), "node3");
    await untilNode(the(), "node3", "Unknown");
    // A whole round of questions after the last fault.
    await delay(4000);
    for (const one of all) one.process.kill("SIGTERM");
    for (const [i, one] of all.entries()) {
      const { stdout, code } = await one.ended;
      const label = `${questions[i]?.from.name} ${questions[i]?.address}: ${stdout}`;
      expect(code, label).toBe(0);
      for (const [server, { lost, changed }] of counts(stdout, "end")) {
        expect({ server, changed }, label).toEqual({ server, changed: 0 });
        if (server !== "doomed") expect({ server, lost }, label).toEqual({ server, lost: 0 });
      }
    }
  }, 110_000);
});

/** Explained, previewed and suggested: what `axon why` and `axon policy` say beside what connections do. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { dump, loadAll } from "js-yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, port, TestLab, type TestPod, world } from "./support/lab.ts";

const onlyWeb = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "only-web", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "cart" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }], ports: [{ port: 8080 }] }],
  },
};
const noWorld = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "no-world", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "web" } },
    egress: [{ toEntities: ["all"] }],
    egressDeny: [{ toCIDR: [`${world.v4}/32`] }],
  },
};
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "cart", namespace: "default" },
  spec: { clusterIP: "10.96.5.5", selector: { app: "cart" }, ports: [{ port: 80, targetPort: 8080 }] },
};

interface Why {
  readonly verdict: string;
  readonly service?: string;
  readonly sides: readonly {
    readonly node: string;
    readonly direction: string;
    readonly verdict: string;
    readonly isEnforced: boolean;
    readonly kernel: string;
    readonly rule?: Record<"kind" | "namespace" | "name" | "path", string>;
    readonly others: readonly { readonly name: string; readonly path: string; readonly lost?: string }[];
  }[];
  readonly unknown?: readonly string[];
  readonly missing: readonly { readonly metadata: { readonly name: string } }[];
}

describe("why", () => {
  const name = labName("it-why");
  const dir = mkdtempSync(join(tmpdir(), "axon-why-"));
  let lab: TestLab | undefined;
  let cart: TestPod;
  let web: TestPod;
  let intruder: TestPod;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  async function why(...args: string[]): Promise<{ code: number; answer: Why }> {
    const { code, stdout, stderr } = await the().axonRun(["why", ...args, "-o", "json"]);
    if (stdout === "") throw new Error(stderr);
    return { code, answer: JSON.parse(stdout) as Why };
  }
  const file = (text: string, objects: readonly object[]): string => {
    const path = join(dir, text);
    writeFileSync(path, objects.map((object) => dump(object)).join("---\n"));
    return path;
  };
  const get = (from: TestPod, ip: string) => the().probe(from, ["tcp", ip, port, "--timeout", "500"]);

  beforeAll(async () => {
    lab = await TestLab.up(name);
    [cart, web, intruder] = (await lab.pods(
      { name: "cart", node: "node1" },
      { name: "web", node: "node2" },
      { name: "intruder", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    await lab.apply(service);
    for (const from of [web, intruder]) await lab.reached(from, ["tcp", cart.v4, port]);
  });

  afterAll(async () => {
    await TestLab.down(lab, name);
    rmSync(dir, { recursive: true, force: true });
  });

  it("preview: what a policy would cut off is what it cuts off", async () => {
    const args = ["policy", "preview", "-f", file("only-web.yaml", [onlyWeb]), "-o", "json"];
    const { code, stdout } = await waitFor(
      async () => {
        const run = await the().axonRun(args);
        return run.stdout.includes("default/intruder") ? run : undefined;
      },
      { timeoutMs: 15_000, everyMs: 300, what: "both connections to be recorded" },
    );
    const preview = JSON.parse(stdout) as {
      nowDenied: number;
      pods: readonly { name: string; after: object }[];
      flows: readonly { source: string; destination: string; after: string; rule: string }[];
    };
    expect(code).toBe(5);
    expect(preview.pods).toEqual([
      expect.objectContaining({ name: "default/cart", after: { ingress: true, egress: false } }),
    ]);
    expect(preview.flows.map(({ source, destination, after }) => [source, destination, after])).toEqual([
      ["default/intruder", "default/cart", "denied"],
    ]);
    expect(preview.flows[0]?.rule).toContain("only-web");

    await the().apply(onlyWeb);
    await the().cutOff(intruder, ["tcp", cart.v4, port]);
    expect((await get(web, cart.v4)).code).toBe(0);
  });

  it("names the rule that allows, on both sides", async () => {
    const { code, answer } = await why("default/web", "default/cart", "8080");
    expect([code, answer.verdict]).toEqual([0, "allowed"]);
    expect(answer.sides).toEqual([
      expect.objectContaining({ direction: "egress", verdict: "allow", kernel: "allow" }),
      expect.objectContaining({
        direction: "ingress",
        verdict: "allow",
        kernel: "allow",
        rule: expect.objectContaining({ name: "only-web", path: "spec.ingress[0]" }),
      }),
    ]);
  });

  it("names the policy whose default deny it is, and what would have to be added", async () => {
    const { code, answer } = await why("intruder", "default/cart", "8080/tcp");
    expect([code, answer.verdict]).toEqual([5, "denied"]);
    expect(answer.sides[1]).toMatchObject({
      verdict: "default-deny",
      kernel: "default-deny",
      rule: { name: "only-web", path: "spec" },
    });
    const [addition] = answer.missing;
    if (addition === undefined) throw new Error("nothing is suggested");
    await the().apply(addition as never);
    await the().reached(intruder, ["tcp", cart.v4, port]);
    expect((await why("intruder", "default/cart", "8080")).answer.verdict).toBe("allowed");
    await the().remove(addition as never);
    await the().cutOff(intruder, ["tcp", cart.v4, port]);
  });

  it("follows the address of a Service to the pod behind it", async () => {
    const { answer } = await why("intruder", "10.96.5.5", "80");
    expect(answer).toMatchObject({ service: "default/cart", verdict: "denied" });
    expect((await why("web", "10.96.5.5", "80")).answer.verdict).toBe("allowed");
  });

  it("names the rule that denies, and those that it beats", async () => {
    await the().apply(noWorld);
    const { code, answer } = await waitFor(
      async () => {
        const one = await why("web", world.v4, "8080");
        return one.answer.verdict === "denied" ? one : undefined;
      },
      { timeoutMs: 10_000, everyMs: 200, what: "the denial to be in force" },
    );
    expect(code).toBe(5);
    expect(answer.sides).toEqual([
      expect.objectContaining({
        verdict: "deny",
        kernel: "deny",
        rule: expect.objectContaining({ name: "no-world", path: "spec.egressDeny[0]" }),
      }),
    ]);
    expect(answer.sides[0]?.others.map(({ path }) => path)).toContain("spec.egress[0]");
    expect(answer.missing).toEqual([]);
    expect((await why("web", "192.0.2.77", "8080")).answer.verdict).toBe("allowed");
  });

  it("says it in words", async () => {
    const { stdout, code } = await the().axonRun(["why", "intruder", "default/cart", "8080"]);
    expect(code).toBe(5);
    expect(stdout).toContain("DENIED");
    expect(stdout).toContain("NetworkPolicy default/only-web");
    expect(stdout).toContain("this would allow it:");
    const unknown = await the().axonRun(["why", "nobody/here", "default/cart", "80"]);
    expect(unknown.code).toBe(3);
    expect(unknown.stderr).toContain("nobody/here");
  });

  it("without the agents, the API server's word makes the same answers, and says what is not known", async () => {
    const path = ["--kubeconfig", the().paths.kubeconfig];
    const told = ({ answer }: Awaited<ReturnType<typeof why>>) => ({
      verdict: answer.verdict,
      service: answer.service,
      missing: answer.missing,
      sides: answer.sides.map(({ node, direction, verdict, isEnforced, rule, others }) => ({
        ...{ node, direction, verdict, isEnforced, others: others.map((other) => [other.name, other.lost]) },
        rule: rule && [rule.kind, rule.namespace, rule.name, rule.path],
      })),
    });
    const questions = [
      ["intruder", cart.v4, "8080"],
      ["web", "10.96.5.5", "80"],
      ["web", world.v4, "8080"],
      ["host", "default/cart", "8080"],
    ];
    const answers = await Promise.all(
      questions.map((question) => Promise.all([why(...question), why(...question, ...path)])),
    );
    for (const [i, [agents, cluster]] of answers.entries()) {
      expect(told(cluster), questions[i]?.join(" ")).toEqual(told(agents));
      expect(cluster.code).toBe(agents.code);
      expect(cluster.answer.unknown?.length).toBeGreaterThan(0);
    }
    const byName = await why("web", "cart.default.svc.cluster.local", "80", ...path);
    expect(byName.answer).toMatchObject({ service: "default/cart", verdict: "allowed" });
    const preview = await the().axonRun([
      "policy",
      "preview",
      "-f",
      file("one.yaml", [{ ...onlyWeb, metadata: { name: "another", namespace: "default" } }]),
      "-o",
      "json",
      ...path,
    ]);
    expect(JSON.parse(preview.stdout)).toMatchObject({
      pods: [{ name: "default/cart", after: { ingress: true, egress: false } }],
      unknown: expect.arrayContaining([expect.stringContaining("recorded connections")]),
    });
  });

  it("suggest: a namespace goes on as it is seen to do, and nothing else", async () => {
    await the().remove(onlyWeb, noWorld);
    await the().reached(intruder, ["tcp", cart.v4, port]);
    await the().reached(web, ["tcp", cart.v6, port]);
    const { stdout, code, stderr } = await the().axonRun(["policy", "suggest", "default"]);
    expect([code, stderr]).toEqual([0, ""]);
    const policies = loadAll(stdout) as object[];
    expect(policies.length).toBe(3);
    const preview = await the().axonRun([
      "policy",
      "preview",
      "-f",
      file("all.yaml", policies),
      "-o",
      "json",
    ]);
    expect(preview.code, preview.stdout).toBe(0);
    await the().apply(...(policies as never[]));
    await the().cutOff(cart, ["tcp", web.v4, port]);
    for (const from of [web, intruder]) await the().reached(from, ["tcp", cart.v4, port]);
    await the().remove(...(policies as never[]));
  });
});

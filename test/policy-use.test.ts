/** Rules with real packets: what they decided is counted, and what was seen can be asked about. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const yaml = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress:
    - fromEndpoints: [{ matchLabels: { app: nobody } }]
    - fromEndpoints: [{ matchLabels: { app: near } }]
      toPorts:
        - ports: [{ port: "${port}", protocol: TCP }]
  ingressDeny:
    - fromEndpoints: [{ matchLabels: { app: far } }]
`;

const policy: KubeObject = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "server", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [
      { fromEndpoints: [{ matchLabels: { app: "nobody" } }] },
      {
        fromEndpoints: [{ matchLabels: { app: "near" } }],
        toPorts: [{ ports: [{ port, protocol: "TCP" }] }],
      },
    ],
    ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: "far" } }] }],
  },
} as KubeObject;

interface Unused {
  watch: { isEnough: boolean; blindSeconds: number };
  rules: { name: string; path: string; action: string; endpoints: number }[];
}

describe("what rules decided, and flows that are asked about", () => {
  const name = labName("it-policy-use");
  const dir = mkdtempSync(join(tmpdir(), "axon-policy-use-"));
  const manifest = join(dir, "server.yaml");
  let lab: TestLab;
  let server: TestPod;
  let near: TestPod;
  let far: TestPod;
  let up: TestLab | undefined;

  beforeAll(async () => {
    writeFileSync(manifest, yaml);
    up = await TestLab.up(name, {});
    lab = up;
    [server, near, far] = (await lab.pods(
      { name: "server", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    await lab.reached(far, ["tcp", server.v4, port]);
    await lab.apply(policy);
    await lab.cutOff(far, ["tcp", server.v4, port]);
    await lab.reached(near, ["tcp", server.v6, port]);
  });

  afterAll(async () => {
    rmSync(dir, { recursive: true });
    await TestLab.down(up, name);
  });

  const unused = async (...args: string[]) =>
    (await lab.axon(["policy", "unused", "-o", "json", ...args])) as Unused;

  it("rules that decided nothing are listed, on all nodes together; the others are not", async () => {
    const { rules, watch } = await waitFor(
      async () => {
        const answer = await unused();
        return answer.rules.length === 1 ? answer : undefined;
      },
      { timeoutMs: 15_000, what: "two of three rules to be counted" },
    );
    expect(rules).toMatchObject([{ name: "server", path: "spec.ingress[0]", action: "allow", endpoints: 1 }]);
    expect(watch.isEnough).toBe(true);
    // Nobody has watched for so long, and it says so.
    expect((await unused("--since", "7d")).watch.isEnough).toBe(false);
    const [list] = (await lab.axon(["policy", "list", "--node", "node1", "-o", "json"])) as {
      use: { allowed: number; denied: number; lastUsed?: string };
    }[];
    expect(list?.use.allowed).toBeGreaterThan(0);
    expect(list?.use.denied).toBeGreaterThan(0);
  });

  it("counts outlive the agent", async () => {
    const before = lab.agentPid("node1");
    if (before === undefined) throw new Error("the agent does not run");
    process.kill(before, "SIGTERM");
    await waitFor(() => (lab.agentPid("node1") ?? before) !== before, {
      timeoutMs: 30_000,
      what: "another agent",
    });
    const { rules } = await waitFor(async () => unused().catch(() => undefined), {
      timeoutMs: 30_000,
      what: "the new agent's answer",
    });
    await waitFor(async () => (await unused().catch(() => undefined))?.rules.length === 1, {
      timeoutMs: 30_000,
      what: "the rules of before to be known as used",
    });
    expect(rules.length).toBeLessThanOrEqual(3);
  });

  it("a dropped flow is asked about by its number and from a pipe: rule, fields, line, and what stands in the way", async () => {
    const dropped = ["hubble", "observe", "--verdict", "dropped", "--from-pod", "default/far", "--last", "1"];
    const line = await waitFor(
      async () => {
        await lab.probe(far, ["tcp", server.v4, port, "--timeout", "300"]);
        const { stdout } = await lab.axonRun([...dropped, "-o", "json"]);
        return stdout.split("\n").find((text) => text.includes('"uuid"'));
      },
      { timeoutMs: 15_000, what: "a dropped flow" },
    );
    const { flow } = JSON.parse(line) as { flow: { uuid: string } };
    const file = join(dir, "flows.json");
    writeFileSync(file, line);
    const byFile = await lab.axonRun(["why", "-f", file, "--manifests", manifest, "-o", "json"]);
    expect(byFile.code).toBe(5);
    expect(JSON.parse(byFile.stdout)).toMatchObject({
      verdict: "denied",
      seen: { uuid: flow.uuid, verdict: "DROPPED" },
      sides: [
        { direction: "egress", verdict: "allow" },
        {
          direction: "ingress",
          verdict: "deny",
          kernel: "deny",
          rule: {
            name: "server",
            path: "spec.ingressDeny[0]",
            fields: ["spec.ingressDeny[0].fromEndpoints[0]"],
            file: manifest,
            line: 12,
          },
        },
      ],
    });
    const byNumber = await lab.axonRun(["why", "--flow", flow.uuid]);
    expect(byNumber.code).toBe(5);
    expect(byNumber.stdout).toContain("spec.ingressDeny[0] stands in the way of ingress");
    const allowed = await lab.axonRun(["why", "default/near", "default/server", port, "-o", "json"]);
    expect(JSON.parse(allowed.stdout)).toMatchObject({
      sides: [
        {},
        {
          rule: {
            path: "spec.ingress[1]",
            fields: ["spec.ingress[1].fromEndpoints[0]", "spec.ingress[1].toPorts[0]"],
          },
        },
      ],
    });
  });

  it("a Service is asked about by its name: the pod behind it, or which ports it serves", async () => {
    await lab.apply({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "shop", namespace: "default" },
      spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: Number(port), protocol: "TCP" }] },
    } as KubeObject);
    const question = ["why", "default/near", "default/shop", "80", "-o", "json"];
    const stdout = await waitFor(
      async () => {
        const outcome = await lab.axonRun(question);
        return outcome.code === 0 && outcome.stdout.includes('"service"') ? outcome.stdout : undefined;
      },
      { timeoutMs: 15_000, what: "the Service to be served" },
    );
    expect(JSON.parse(stdout)).toMatchObject({
      service: "default/shop",
      port: Number(port),
      verdict: "allowed",
      sides: [{ direction: "egress" }, { direction: "ingress", rule: { path: "spec.ingress[1]" } }],
    });
    const other = await lab.axonRun(["why", "default/near", "default/shop", "81"]);
    expect(other).toMatchObject({ code: 3, stderr: expect.stringContaining("it serves 80/tcp") });
  });
});

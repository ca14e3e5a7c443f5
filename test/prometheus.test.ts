/** Dashboards and alerting rules against a real Prometheus that scrapes a lab: every query finds data. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { dump } from "js-yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dashboards } from "../deploy/source/dashboards.ts";
import { queriesOf } from "../deploy/source/panels.ts";
import { built, type Outcome, Running, root, run } from "./support/command.ts";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const tools = join(root, "build/tools/prometheus/usr/bin");
const rules = join(root, "deploy/prometheus/alerts.yaml");
const metricsPort = 9962;
const server = "http://127.0.0.1:9090";
/** Of Grafana's variables, as a person sees a dashboard first. */
const filledIn = (expr: string) => expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*");

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

describe("Prometheus", () => {
  const name = labName("it-prometheus");
  const dir = mkdtempSync(join(tmpdir(), "axon-prometheus-"));
  let lab: TestLab | undefined;
  let prometheus: Running | undefined;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const inNet = (program: string, args: readonly string[]): [string, string[]] => [
    built("axon-exec"),
    ["--netns", the().world.netns, "--", join(tools, program), ...args],
  ];

  async function query(expr: string): Promise<Sample[]> {
    const { code, stdout, stderr }: Outcome = await run(
      ...inNet("promtool", ["query", "instant", "-o", "json", server, expr]),
    );
    if (code !== 0) throw new Error(`${expr}: ${stderr}`);
    return JSON.parse(stdout) as Sample[];
  }

  beforeAll(async () => {
    lab = await TestLab.up(name, { agentConfig: { metricsAddress: `0.0.0.0:${metricsPort}` } });
    const targets = [...lab.nodes.values()].map(({ v4 }) => `${v4}:${metricsPort}`);
    const config = {
      global: { scrape_interval: "1s", evaluation_interval: "1s" },
      rule_files: [rules],
      scrape_configs: [{ job_name: "axoneme-agent", static_configs: [{ targets }] }],
    };
    writeFileSync(join(dir, "prometheus.yml"), dump(config));
    const options = [
      `--config.file=${join(dir, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(dir, "data")}`,
      "--web.listen-address=127.0.0.1:9090",
    ];
    prometheus = new Running(...inNet("prometheus", options), { timeoutMs: 600_000 });
    await waitFor(async () => (await query('up{job="axoneme-agent"} == 1')).length === targets.length, {
      timeoutMs: 30_000,
      everyMs: 200,
      what: "Prometheus to scrape both agents",
    });
    const pods = (await lab.pods(
      { name: "server", node: "node1" },
      { name: "near", node: "node1" },
      { name: "far", node: "node2" },
    )) as [TestPod, TestPod, TestPod];
    await changeThings(pods);
  });

  afterAll(async () => {
    prometheus?.process.kill("SIGKILL");
    await prometheus?.ended;
    await TestLab.down(lab, name);
    rmSync(dir, { recursive: true, force: true });
  });

  /** Something of everything that dashboards show, once Prometheus looks: rates need two scrapes. */
  async function changeThings([target, near, far]: readonly [TestPod, TestPod, TestPod]): Promise<void> {
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "only-near", namespace: "default" },
      spec: {
        podSelector: { matchLabels: { app: "server" } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: "near" } } }] }],
      },
    };
    const cilium = {
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name: "far-to-all", namespace: "default" },
      spec: { endpointSelector: { matchLabels: { app: "far" } }, egress: [{ toEntities: ["all"] }] },
    };
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "server", namespace: "default" },
      spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: Number(port) }] },
    };
    await the().apply(policy, cilium, service);
    await the().cutOff(far, ["tcp", target.v4, port]);
    for (const ip of [target.v4, target.v6]) await the().reached(near, ["tcp", ip, port]);
    await the().reached(near, ["ping", target.v4]);
    const again = { ...policy, metadata: { ...policy.metadata, name: "second" } };
    await the().apply(again);
    await the().remove(again);
    await the().pods({ name: "passing", node: "node2" });
    await the().deletePod("passing");
  }

  it.each(dashboards.flatMap((board) => queriesOf(board).map((one) => ({ board: board.title, ...one }))))(
    "$board: $panel has data",
    async ({ expr }) => {
      const found = await waitFor(
        async () => {
          const samples = (await query(filledIn(expr))).map(({ value }) => Number(value[1]));
          // A quantile of what nothing happened to is no number.
          const finite = samples.filter((value) => !Number.isNaN(value));
          return finite.length > 0 ? finite : undefined;
        },
        { timeoutMs: 15_000, everyMs: 300, what: `data for ${expr}` },
      );
      for (const value of found) expect(value).toBeGreaterThanOrEqual(0);
    },
  );

  it("the alerting rules are well formed, and quiet in a lab that is well", async () => {
    const { code, stdout, stderr } = await run(join(tools, "promtool"), ["check", "rules", rules]);
    expect([code, stderr], stdout).toEqual([0, ""]);
    const loaded = await query("count(count by (alertname) (ALERTS)) or vector(0)");
    expect(loaded).toHaveLength(1);
    expect(await query('ALERTS{alertstate="firing"}')).toEqual([]);
  });

  it("an alert fires when an agent is gone", async () => {
    const text = readFileSync(rules, "utf8");
    const expr = /alert: AxonemeAgentDown\n\s+expr: (.+)/.exec(text)?.[1] ?? "";
    expect(await query(expr)).toEqual([]);
    const pid = the().agentPid("node2");
    if (pid === undefined) throw new Error("node2 has no agent");
    process.kill(pid, "SIGSTOP");
    try {
      const down = await waitFor(
        async () => {
          const samples = await query(expr);
          return samples.length > 0 ? samples : undefined;
        },
        { timeoutMs: 20_000, everyMs: 300, what: "the stopped agent to be missed" },
      );
      expect(down[0]?.metric["instance"]).toBe(`${the().node("node2").v4}:${metricsPort}`);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock, silentLogger } from "@axoneme/base";
import { emptyResolver } from "@axoneme/flow";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FlowMetrics, followMetricsFile, type MetricsFile } from "../src/index.ts";
import { parseMetricsFile } from "../src/metrics/config.ts";
import { batchOf, type TestRecord } from "./records.ts";

let dir: string;
let path: string;
let registry: Registry;
let metrics: FlowMetrics;
let file: MetricsFile;
let state: string | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "axon-metrics-"));
  path = join(dir, "dynamic-metrics.yaml");
  registry = new Registry();
  const resolver = {
    ...emptyResolver("node1"),
    endpointById: (id: number) => ({ namespace: id === 1 ? "shop" : "bank", podName: `pod-${id}` }),
  };
  metrics = new FlowMetrics({ registry, resolver, specs: [] });
  writeFileSync(path, "metrics:\n- name: flow\n- name: drop\n  contextOptions: []\n  includeFilters: []\n");
  const onState = (problem: string | undefined): void => {
    state = problem;
  };
  const clock = new FakeClock(0);
  file = await followMetricsFile({ path, metrics, log: silentLogger, clock, onState });
});
afterEach(() => {
  file.stop();
  rmSync(dir, { recursive: true });
});

const add = (...records: TestRecord[]): void => metrics.count(batchOf(records), records.length);
const write = async (text: string): Promise<void> => {
  writeFileSync(path, text);
  await file.look();
};

async function series(name: string): Promise<string[]> {
  const text = await registry.metrics();
  return text.split("\n").filter((line) => line.startsWith(`${name}{`));
}

const drop = { type: 1, subtype: 132, srcEp: 1 };

describe("a file that changes", () => {
  it("other metrics keep their series; what is changed begins anew; what is gone is gone", async () => {
    add(drop, drop);
    expect(await series("hubble_drop_total")).toEqual([
      'hubble_drop_total{reason="INVALID_SOURCE_IP",protocol="UDP"} 2',
    ]);
    await write(
      "metrics:\n- name: drop\n- name: flow\n  contextOptions:\n  - {name: sourceContext, values: [namespace]}\n- name: tcp\n",
    );
    add(drop, { type: 4, proto: 6, tcpFlags: 2 });
    expect(await series("hubble_drop_total")).toEqual([
      'hubble_drop_total{reason="INVALID_SOURCE_IP",protocol="UDP"} 3',
    ]);
    expect((await series("hubble_flows_processed_total")).join("\n")).toMatch(
      /subtype="Invalid source ip".*source="shop"} 1/,
    );
    expect(await series("hubble_tcp_flags_total")).toHaveLength(1);
    await write("metrics:\n- name: drop\n");
    add(drop);
    expect(await series("hubble_flows_processed_total")).toEqual([]);
    expect((await series("hubble_drop_total"))[0]).toMatch(/ 4$/);
  });

  it("one that is wrong leaves in force what was, and says so once it is looked at", async () => {
    add(drop);
    for (const [text, why] of [
      ["metrics: [", /is not YAML/],
      ["metrics:\n- name: nothing\n", /"nothing" is unknown/],
      ["metrics:\n- name: flow\n  contextOptions:\n  - {name: sourceContext, values: [moon]}\n", /moon/],
      [
        "metrics:\n- name: flow\n  includeFilters:\n  - {verdicts: [DROPPED]}\n",
        /includeFilters\[0\].*verdicts/,
      ],
      ["metrics:\n- name: flow\n  includeFilters:\n  - {source_ip: [nonsense]}\n", /nonsense/],
      ["metrics:\n- name: flow\n- name: flow\n", /listed twice/],
      ["metrics:\n- name: flow\n  more: 1\n", /"more" is unknown/],
    ] as const) {
      await write(text);
      expect(state).toMatch(why);
    }
    rmSync(path);
    await file.look();
    expect(state).toMatch(/ENOENT/);
    add(drop);
    expect((await series("hubble_drop_total"))[0]).toMatch(/ 2$/);
    await write("[]");
    expect(state).toBeUndefined();
    expect(await series("hubble_drop_total")).toEqual([]);
  });
});

it("filters choose the flows that a metric counts", async () => {
  await write(`
metrics:
- name: drop
  includeFilters:
  - {source_pod: [shop/]}
  - {destination_port: ["53"]}
  excludeFilters:
  - {protocol: [tcp]}
- name: flow
`);
  add(drop, { ...drop, srcEp: 2 }, { ...drop, srcEp: 2, dport: 53 }, { ...drop, proto: 6 }, { type: 4 });
  expect(await series("hubble_drop_total")).toEqual([
    'hubble_drop_total{reason="INVALID_SOURCE_IP",protocol="UDP"} 2',
  ]);
  const all = await series("hubble_flows_processed_total");
  expect(all.map((line) => Number(line.split(" ").at(-1))).reduce((a, b) => a + b)).toBe(5);
});

it("filters decide about each flow of a record, and about DNS", async () => {
  await write(`
metrics:
- name: policy
  includeFilters: [{traffic_direction: [INGRESS]}]
- name: dns
  includeFilters: [{experimental: {cel_expression: ["_flow.l7.dns.query.endsWith('.org.')"]}}]
`);
  add({ type: 5, flags: 3, srcEp: 1, dstEp: 2 });
  expect(await series("hubble_policy_verdicts_total")).toEqual([
    expect.stringContaining('direction="ingress"'),
  ]);
  for (const query of ["a.example.org.", "a.example.com."])
    metrics.countLayer7({ time: "2026-11-20T12:00:00Z", uuid: "", l7: { type: "REQUEST", dns: { query } } });
  expect((await series("hubble_dns_queries_total"))[0]).toMatch(/ 1$/);
});

it("reads options as the command line has them", () => {
  const { specs, later } = parseMetricsFile(`
- name: flows-to-world
  contextOptions:
  - {name: labelsContext, values: [source_namespace, traffic_direction]}
  - {name: destinationContext, values: [dns, ip]}
  - {name: any-drop}
  - {name: port, values: ["false"]}
- {name: httpV2}
`);
  expect(specs[0]).toMatchObject({
    name: "flows-to-world",
    context: { labels: ["source_namespace", "traffic_direction"], destination: { any: ["dns", "ip"] } },
  });
  expect([...(specs[0]?.options ?? [])]).toEqual(["any-drop"]);
  expect(later).toEqual(["httpV2"]);
});
